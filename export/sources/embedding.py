"""Give a model a second output: the embedding, which is what its last Dense layer reads."""

from __future__ import annotations

import keras
import numpy as np
import numpy.typing as npt

from hemline.contract.specs import EMBEDDING, LOGITS
from hemline.contract.stamp import StampedFile
from hemline.errors import HemlineError
from hemline.runtime import Classifier
from hemline.runtime.backends import BACKENDS
from hemline.train.predictor import Predictor


def embedder(model: keras.Model) -> keras.Model:
    """Return the model from pixels to its embedding, float (n, size), with shared weights.

    Raises HemlineError for a model whose last Dense layer is missing or reads no vectors.
    """
    dense = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    if not dense or len(dense[-1].input.shape) != 2:
        reason = "reads no vectors" if dense else "is missing"
        raise HemlineError(
            f"{model.name} has no embedding: its last Dense layer {reason}; "
            "export it without --with-embedding"
        )
    return keras.Model(model.input, dense[-1].input)


def with_embedding(model: keras.Model) -> keras.Model:
    """Return the model with its logits and its embedding as outputs of these names."""
    outputs = {LOGITS: model.outputs[0], EMBEDDING: embedder(model).outputs[0]}
    return keras.Model(model.input, outputs, name=model.name)


class EmbeddingCheck:
    """Images with the Keras model's embeddings, that every file of an export is held to.

    One runtime is enough: logits are made from the embedding, so that verification of the logits in
    every runtime judges its values; what could be wrong here is which output it is, and its scale.
    """

    def __init__(self, model: keras.Model, images: npt.NDArray[np.uint8]) -> None:
        """Embed uint8 images (n, height, width, channels) with the Keras model."""
        self._images = images
        self._expected = Predictor(embedder(model)).logits(images)

    def require(self, file: StampedFile, *, share: float) -> None:
        """Raise HemlineError unless a file embeds the images as the Keras model does.

        share: largest difference, as a share of the model's largest value.
        """
        backend = next(row for row in BACKENDS.values() if row.format == file.stamp.format)
        with Classifier(file, backend, threads=1) as classifier:
            found = classifier.embed(self._images)
        if found.shape != self._expected.shape:
            raise HemlineError(
                f"{file.stamp.name} embeds images in {found.shape[1]} values, the Keras model in "
                f"{self._expected.shape[1]}: report this"
            )
        difference = float(np.abs(found - self._expected).max())
        allowed = share * float(np.abs(self._expected).max())
        if not difference <= allowed:
            raise HemlineError(
                f"the embedding of {file.stamp.name} differs from the Keras model's by "
                f"{difference:.3g} (tolerance {allowed:.3g}): report this"
            )
