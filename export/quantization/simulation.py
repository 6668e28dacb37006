"""Judge a quantized model without making its files: by its ONNX graph in ONNX Runtime.

The files of both formats give the same predictions as this graph, nearly always the same bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx

from hemline.contract.specs import LOGITS
from hemline.data.image_rows import ImageRows
from hemline.export.graph.functions import inlined
from hemline.export.graph.running import run_batches
from hemline.export.quantization.float_graph import FloatGraph
from hemline.export.quantization.quantized import Quantized
from hemline.export.writers.qdq import quantized_onnx, tap_name

Floats = npt.NDArray[np.float32]
_DIGITS = 9  # of points: 15 of 5,000 images are 0.3, which a budget of 0.3 allows


@dataclass(frozen=True, slots=True, kw_only=True)
class Fidelity:
    """How well a quantized model does what its float model does, on some images.

    images: how many.
    agreement: share with the label of the float model, 0 … 1.
    accuracy, float_accuracy: of both, 0 … 1; None without labels.
    """

    images: int
    agreement: float
    accuracy: float | None
    float_accuracy: float | None

    @property
    def drop_points(self) -> float:
        """Return the accuracy that quantization costs, in percentage points.

        Without labels: the share of images that it gives another label.
        """
        if self.accuracy is None or self.float_accuracy is None:
            return round(100 * (1 - self.agreement), _DIGITS)
        return round(100 * (self.float_accuracy - self.accuracy), _DIGITS)


def fidelity(logits: Floats, reference: Floats, labels: npt.NDArray[np.uint8] | None) -> Fidelity:
    """Compare logits (n, classes) with those of the float model and with labels (n,)."""
    found, expected = logits.argmax(axis=1), reference.argmax(axis=1)
    return Fidelity(
        images=len(found),
        agreement=float((found == expected).mean()),
        accuracy=None if labels is None else float((found == labels).mean()),
        float_accuracy=None if labels is None else float((expected == labels).mean()),
    )


def logits(quantized: Quantized, images: ImageRows) -> Floats:
    """Return the logits float32 (n, classes) for uint8 images (n, h, w, c)."""
    return _run(quantized_onnx(quantized.annotated), (LOGITS,), images)[LOGITS]


def values(quantized: Quantized, names: Iterable[str], images: ImageRows) -> dict[str, Floats]:
    """Return values of the graph by name, as rounded there; all of them are in memory together."""
    return _joined(batches(quantized, names, images))


def batches(
    quantized: Quantized, names: Iterable[str], images: ImageRows
) -> Iterator[dict[str, Floats]]:
    """Yield values of the graph by name, as rounded there, for some images at a time."""
    wanted = tuple(names)
    proto = quantized_onnx(quantized.annotated, taps=wanted)
    for found in run_batches(inlined(proto), tuple(map(tap_name, wanted)), images):
        yield {name: found[tap_name(name)] for name in wanted}


def float_logits(graph: FloatGraph, images: ImageRows) -> Floats:
    """Return the logits float32 (n, classes) of the float graph."""
    return _run(graph.proto, (LOGITS,), images)[LOGITS]


def _run(proto: onnx.ModelProto, names: tuple[str, ...], images: ImageRows) -> dict[str, Floats]:
    return _joined(run_batches(inlined(proto), names, images))


def _joined(batches: Iterable[dict[str, Floats]]) -> dict[str, Floats]:
    parts = list(batches)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
