"""The hem family: small full convolutions that every runtime has fast kernels for.

Measured on two cores (see results/training/): hem-50k, recipe fast.
"""

from __future__ import annotations

import keras
from keras import layers

from hemline.train.nets.design import Design

_BN_MOMENTUM = 0.98  # averages over about 50 steps: the last ones have a rate near 0


def build_hem_50k(shape: tuple[int, int, int], classes: int, design: Design) -> keras.Model:
    """Build the default model, float pixels 0 … 255 to logits; 47,370 parameters for 10 classes.

    Depthwise convolutions and smooth activations are left out: they train slowly on CPUs, and some
    runtimes have no fast 8-bit kernels for them.
    """
    design.require_default("hem-50k", "batch_normalization", "resize")
    pixels = keras.Input(shape, name="image")
    x = layers.Rescaling(1 / 90)(pixels)  # about unit variance; no offset, so that it can be folded
    x = layers.ReLU()(_convolution(x, design.units(16)))
    x = layers.MaxPooling2D(2)(x)
    x = layers.ReLU()(_convolution(x, design.units(24)))
    x = layers.ReLU()(_convolution(x, design.units(24)))
    x = layers.MaxPooling2D(2)(x)
    x = layers.ReLU()(_convolution(x, design.units(40)))
    y = layers.ReLU()(_convolution(x, design.units(40)))
    x = layers.ReLU()(layers.Add()([x, _convolution(y, design.units(40))]))
    x = layers.GlobalAveragePooling2D()(x)
    if share := design.drop(0.0):
        x = layers.Dropout(share)(x)
    logits = layers.Dense(classes, dtype="float32", name="logits")(x)
    return keras.Model(pixels, logits, name="hem_50k")


def _convolution(x: keras.KerasTensor, filters: int) -> keras.KerasTensor:
    x = layers.Conv2D(filters, 3, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
    return layers.BatchNormalization(momentum=_BN_MOMENTUM)(x)
