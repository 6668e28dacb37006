"""What quantization costs: labels and probabilities of a quantized model against its float one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax

from hemline.data.image_rows import ImageRows
from hemline.errors import DataError
from hemline.export.quantization import simulation
from hemline.export.quantization.diagnosis.document import Loss
from hemline.export.quantization.float_graph import FloatGraph
from hemline.export.quantization.quantized import Quantized

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


class Judge:
    """Compares quantized models with the float model on the same images."""

    def __init__(self, graph: FloatGraph, images: ImageRows, labels: Labels | None) -> None:
        """Run the float model; raises DataError where its outputs say nothing."""
        self.images, self.labels = images, labels
        self.reference = simulation.float_logits(graph, images)
        require_sense(self.reference)

    @property
    def float_accuracy(self) -> float | None:
        """Return the accuracy of the float model, 0 … 1; None without labels."""
        if self.labels is None:
            return None
        return float((self.reference.argmax(axis=1) == self.labels).mean())

    def loss(self, quantized: Quantized) -> Loss:
        """Return the loss of a quantized model."""
        return loss_of(simulation.logits(quantized, self.images), self.reference, self.labels)


def loss_of(found: Floats, reference: Floats, labels: Labels | None) -> Loss:
    """Return the loss of logits float32 (n, classes) against those of the float model."""
    fidelity = simulation.fidelity(found, reference, labels)
    p, q = (log_softmax(each.astype(np.float64), axis=1) for each in (reference, found))
    return Loss(
        drop_points=None if labels is None else fidelity.drop_points,
        changed_points=100 * (1 - fidelity.agreement),
        divergence=max(0.0, float((np.exp(p) * (p - q)).sum(axis=1).mean())),
    )


def require_sense(logits: Floats) -> None:
    """Raise DataError for float outputs that are not finite or the same for all images."""
    if not np.isfinite(logits).all():
        broken = int((~np.isfinite(logits).all(axis=1)).sum())
        raise DataError(
            f"the float model's outputs are not finite for {broken:,} of {len(logits):,} images: "
            "its weights are damaged, or the images are not of its kind"
        )
    if len(logits) > 1 and (logits == logits[0]).all():
        raise DataError(
            f"the float model gives the same outputs for all {len(logits):,} images: there is "
            "nothing that quantization could lose"
        )
