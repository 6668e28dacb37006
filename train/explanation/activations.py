"""Activations of a Keras model: feature maps, and Grad-CAM.

Grad-CAM: Selvaraju et al., Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
Localization (2017), eq. 1 and 2.
"""

from __future__ import annotations

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

Pixels = npt.NDArray[np.uint8]
Maps = npt.NDArray[np.float32]


def feature_maps(model: keras.Model, layer: keras.Layer, pixels: Pixels) -> Maps:
    """Return the output of a layer, float32 (n, rows, columns, channels), of uint8 images."""
    until = keras.Model(model.inputs, layer.output)
    return np.asarray(until(tf.cast(pixels, tf.float32), training=False), np.float32)


def grad_cam(
    model: keras.Model, layer: keras.Layer, pixels: Pixels, classes: npt.NDArray[np.intp]
) -> Maps:
    """Return float32 (n, rows, columns), 0 … 1 in each image: evidence for a class by place.

    The maps of `layer` are weighted by the mean gradient of the logit of `classes` (n,); evidence
    against it is left out. An image without evidence for it is all 0.
    """
    both = keras.Model(model.inputs, [layer.output, model.output])
    with tf.GradientTape() as tape:
        maps, logits = both(tf.cast(pixels, tf.float32), training=False)
        asked = tf.gather(logits, tf.constant(classes), axis=1, batch_dims=1)
    weights = tf.reduce_mean(tape.gradient(asked, maps), axis=(1, 2), keepdims=True)
    heat = tf.nn.relu(tf.reduce_sum(weights * maps, axis=-1)).numpy()
    highest = heat.max(axis=(1, 2), keepdims=True)
    return np.asarray(np.divide(heat, highest, where=highest > 0, out=np.zeros_like(heat)))
