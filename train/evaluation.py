"""Run a Keras model over pixels, in large batches."""

from __future__ import annotations

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

_BATCH = 500  # measured: larger ones are not faster on two cores


class Predictor:
    """A model's forward pass, traced once."""

    def __init__(self, model: keras.Model) -> None:
        self._forward = tf.function(
            lambda batch: tf.cast(model(tf.cast(batch, tf.float32), training=False), tf.float32),
            input_signature=[tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8)],
        )

    def logits(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return float32 logits (n, classes) of uint8 images (n, height, width, channels)."""
        parts = range(0, len(images), _BATCH)
        rows = [np.asarray(self._forward(images[at : at + _BATCH])) for at in parts]
        joined: npt.NDArray[np.float32] = np.concatenate(rows)
        return joined
