"""Images that a model's own batch normalization describes, for calibration without data."""

from __future__ import annotations

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from hemline.pictures.generated import varied_images

Pixels = npt.NDArray[np.uint8]

_TOGETHER = 64  # images whose statistics are compared with those of the training
_STEPS = 150
_RATE = 8.0  # grey levels a step, as Adam takes them at first


def synthetic_images(model: keras.Model, count: int, seed: int) -> Pixels:
    """Return uint8 (count, h, w, c) images with which a model's values are as in training.

    Starting from drawn pictures, pixels are changed until mean and deviation of every channel in
    front of a batch normalization are those that it has stored (Cai et al., ZeroQ, 2020). A model
    without one gets the pictures as they are.
    """
    drawn = varied_images(model.input_shape[1:], count, seed=seed)
    layers = [each for each in model.layers if isinstance(each, keras.layers.BatchNormalization)]
    if not layers:
        return drawn
    observed = keras.Model(model.inputs, [layer.input for layer in layers])
    parts = np.array_split(drawn, max(1, count // _TOGETHER))
    return np.concatenate([_adapted(observed, layers, part) for part in parts])


def _adapted(observed: keras.Model, layers: list[keras.Layer], images: Pixels) -> Pixels:
    pixels = tf.Variable(images, dtype=tf.float32)
    optimizer = keras.optimizers.Adam(_RATE)

    def step() -> None:
        with tf.GradientTape() as tape:
            loss = _distance(tf.nest.flatten(observed(pixels, training=False)), layers)
        optimizer.apply_gradients([(tape.gradient(loss, pixels), pixels)])
        pixels.assign(tf.clip_by_value(pixels, 0.0, 255.0))

    optimizer.build([pixels])
    compiled = tf.function(step, autograph=False)
    for at in range(_STEPS):
        optimizer.learning_rate.assign(_RATE * (1 - at / _STEPS))
        compiled()
    found: Pixels = np.round(pixels.numpy()).astype(np.uint8)
    return found


def _distance(values: list[tf.Tensor], layers: list[keras.Layer]) -> tf.Tensor:
    """Return how far mean and deviation of all channels are from the stored ones, in deviations."""
    total = tf.constant(0.0)
    for each, layer in zip(values, layers, strict=True):
        mean, variance = tf.nn.moments(each, list(range(len(each.shape) - 1)))
        expected = tf.sqrt(layer.moving_variance + layer.epsilon)
        deviation = tf.sqrt(variance + layer.epsilon)
        total += tf.reduce_mean(((mean - layer.moving_mean) / expected) ** 2)
        total += tf.reduce_mean((deviation / expected - 1) ** 2)
    return total
