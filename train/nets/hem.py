"""The hem family: small full convolutions that every runtime has fast kernels for.

Measured on two cores (see results/training/). Depthwise convolutions and smooth activations are
left out: they train slowly on CPUs, and some runtimes have no fast 8-bit kernels for them.
"""

from __future__ import annotations

from dataclasses import dataclass

import keras
from keras import layers

from hemline.train.nets.design import Design

_BN_MOMENTUM = 0.98  # averages over about 50 steps: the last ones have a rate near 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Hem:
    """A member of the family.

    stem: channels of the convolution at full resolution.
    stages: channels and convolutions of each stage, which begins at half the resolution before; of
        all but its first convolution, each pair is added to what it reads.
    """

    stem: int
    stages: tuple[tuple[int, int], ...]


HEM_50K = Hem(stem=16, stages=((24, 2), (40, 3)))


def build_hem_50k(shape: tuple[int, int, int], classes: int, design: Design) -> keras.Model:
    """Build the default model, float pixels 0 … 255 to logits; 47,370 parameters for 10 classes."""
    return _build("hem_50k", HEM_50K, shape, classes, design)


def _build(
    name: str, hem: Hem, shape: tuple[int, int, int], classes: int, design: Design
) -> keras.Model:
    pixels = keras.Input(shape, name="image")
    x = layers.Rescaling(1 / 90)(pixels)  # about unit variance; no offset, so that it can be folded
    x = layers.ReLU()(_convolution(x, design.units(hem.stem), design))
    for channels, convolutions in hem.stages:
        x = _stage(x, design.units(channels), convolutions + design.depth, design)
    x = layers.GlobalAveragePooling2D()(x)
    if share := design.drop(0.0):
        x = layers.Dropout(share)(x)
    logits = layers.Dense(classes, dtype="float32", name="logits")(x)
    return keras.Model(pixels, logits, name=name)


def _stage(
    x: keras.KerasTensor, filters: int, convolutions: int, design: Design
) -> keras.KerasTensor:
    strides = 2 if design.pooling == "stride" else 1
    if strides == 1:
        pool = layers.AveragePooling2D if design.pooling == "average" else layers.MaxPooling2D
        x = pool(2)(x)
    x = layers.ReLU()(_convolution(x, filters, design, strides=strides))
    for at in range(1, convolutions, 2):
        before, is_pair = x, at + 1 < convolutions
        x = _convolution(x, filters, design)
        if is_pair:
            x = _convolution(layers.ReLU()(x), filters, design)
            x = x if design.residual is False else layers.Add()([before, x])
        x = layers.ReLU()(x)
    return x


def _convolution(
    x: keras.KerasTensor, filters: int, design: Design, *, strides: int = 1
) -> keras.KerasTensor:
    x = layers.Conv2D(
        filters,
        design.kernel or 3,
        strides=strides,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
    )(x)
    return layers.BatchNormalization(momentum=_BN_MOMENTUM)(x)
