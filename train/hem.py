"""The hem family: small full convolutions that every runtime has fast kernels for.

Measured on two cores (see results/training.jsonl): hem-50k, recipe fast.
"""

from __future__ import annotations

import keras
from keras import layers

_BN_MOMENTUM = 0.98  # averages over about 50 steps: the last ones have a rate near 0


def build_hem_50k(shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Build the default model: float pixels 0 … 255 in, logits out; 49,722 parameters for 10 classes.

    Depthwise convolutions and smooth activations are left out: they train slowly on CPUs, and some
    runtimes have no fast 8-bit kernels for them.
    """
    pixels = keras.Input(shape, name="image")
    x = layers.Rescaling(1 / 90)(pixels)  # about unit variance; no offset, so that it can be folded
    x = _convolution(x, 16)
    x = layers.MaxPooling2D(2)(x)
    x = _convolution(x, 32)
    x = _convolution(x, 32)
    x = layers.MaxPooling2D(2)(x)
    x = _convolution(x, 48)
    x = _convolution(x, 48)
    x = layers.GlobalAveragePooling2D()(x)
    logits = layers.Dense(classes, dtype="float32", name="logits")(x)
    return keras.Model(pixels, logits, name="hem_50k")


def _convolution(x: keras.KerasTensor, filters: int) -> keras.KerasTensor:
    x = layers.Conv2D(filters, 3, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
    x = layers.BatchNormalization(momentum=_BN_MOMENTUM)(x)
    return layers.ReLU()(x)
