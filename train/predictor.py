"""Run a Keras model over pixels, in large batches."""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from hemline.data.image_rows import ImageRows

_BATCH = 250  # measured: larger ones are not faster on two cores
_VALUES = 1 << 21  # of a batch at most: 250 images of 28 × 28, or 13 of 224 × 224 × 3
_IN_FLIGHT = 2  # batches: while one waits for a core, the other works


class Predictor:
    """A model's forward pass, traced once."""

    def __init__(self, model: keras.Model, *, fixed: bool = False) -> None:
        """Take a model; `fixed` promises that its weights do not change any more.

        They are constants of the graph then, which folds batch normalization into the
        convolutions: the logits differ by rounding, and it takes a quarter less time.
        """
        call = with_constants(model) if fixed else functools.partial(model, training=False)
        self._forward = tf.function(
            lambda batch: tf.cast(call(tf.cast(batch, tf.float32)), tf.float32),
            input_signature=[tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8)],
        )
        self._traced = False

    def logits(self, images: ImageRows) -> npt.NDArray[np.float32]:
        """Return float32 logits (n, classes) of uint8 images (n, height, width, channels)."""
        step = max(1, min(_BATCH, _VALUES // max(1, images[:1].size)))

        def part(at: int) -> npt.NDArray[np.float32]:
            return np.asarray(self._forward(images[at : at + step]))

        # traced in this thread, as a distribution strategy is set for one thread
        begun = [] if self._traced else [part(0)]
        self._traced = True
        with ThreadPoolExecutor(_IN_FLIGHT) as pool:
            rest = pool.map(part, range(step * len(begun), len(images), step))
            return np.concatenate([*begun, *rest])


def with_constants(model: keras.Model) -> Callable[[tf.Tensor], tf.Tensor]:
    """Return the forward pass with weights that do not change any more, for a graph to fold."""
    trained = [variable.numpy() for variable in model.trainable_variables]
    other = [variable.numpy() for variable in model.non_trainable_variables]

    def call(pixels: tf.Tensor) -> tf.Tensor:
        weights = ([tf.constant(each) for each in part] for part in (trained, other))
        return model.stateless_call(*weights, pixels, training=False)[0]

    return call
