"""The hem family: small full convolutions that every runtime has fast kernels for.

Measured on two cores (see results/training/). Depthwise convolutions and smooth activations are
left out: they train slowly on CPUs, and some runtimes have no fast 8-bit kernels for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import keras
from keras import layers

from hemline.train.nets.design import Design

_BN_MOMENTUM = 0.98  # averages over about 50 steps: the last ones have a rate near 0
_KERNEL = 3  # side, pixels
_POOLS = {"max": layers.MaxPooling2D, "average": layers.AveragePooling2D}


class Stage(NamedTuple):
    """Convolutions at one resolution.

    channels: of each convolution.
    convolutions: of all but the first, each pair is added to what it reads.
    shrink: how it comes to half the resolution before: max or average pools, the first convolution
        strides, or none keeps the resolution.
    """

    channels: int
    convolutions: int
    shrink: str = "max"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hem:
    """A member of the family.

    name: of the Keras model.
    stem: channels of the convolution that reads the image.
    stem_stride: pixels from one of its places to the next.
    stages: what follows, in order.
    """

    name: str
    stem: int
    stem_stride: int = 1
    stages: tuple[Stage, ...]

    @property
    def convolutions(self) -> int:
        """Return how many there are, the stem among them."""
        return 1 + sum(stage.convolutions for stage in self.stages)

    def build(self, shape: tuple[int, int, int], classes: int, design: Design) -> keras.Model:
        """Build the model: float pixels 0 … 255 to logits."""
        pixels = keras.Input(shape, name="image")
        x = layers.Rescaling(1 / 90)(pixels)  # about unit variance; no offset, so it can be folded
        kernel, filters = design.kernel or _KERNEL, design.units(self.stem)
        x = _convolution(x, filters, kernel, "stem", strides=self.stem_stride)
        x = layers.ReLU()(x)
        for at, stage in enumerate(self.stages):
            x = _stage(x, stage, design, f"stage_{at + 1}")
        x = layers.GlobalAveragePooling2D()(x)
        if share := design.drop(0.0):
            x = layers.Dropout(share)(x)
        logits = layers.Dense(classes, dtype="float32", name="logits")(x)
        return keras.Model(pixels, logits, name=self.name)


HEM_20K = Hem(
    name="hem_20k",
    stem=16,
    stem_stride=2,
    stages=(Stage(16, 4, "none"), Stage(16, 2), Stage(24, 1)),
)
HEM_50K = Hem(
    name="hem_50k",
    stem=16,
    stem_stride=2,
    stages=(Stage(16, 2, "none"), Stage(32, 3), Stage(64, 1)),
)
HEM_100K = Hem(
    name="hem_100k",
    stem=16,
    stem_stride=2,
    stages=(Stage(24, 5, "none"), Stage(48, 3), Stage(48, 1)),
)
HEM_500K = Hem(
    name="hem_500k",
    stem=32,
    stages=(Stage(64, 5), Stage(96, 3), Stage(96, 1)),
)


def _stage(x: keras.KerasTensor, stage: Stage, design: Design, name: str) -> keras.KerasTensor:
    filters, kernel = design.units(stage.channels), design.kernel or _KERNEL
    shrink = stage.shrink
    if shrink != "none" and design.pooling != "model":
        shrink = design.pooling
    if shrink in _POOLS:
        x = _POOLS[shrink](2)(x)
    strides = 2 if shrink == "stride" else 1
    x = layers.ReLU()(_convolution(x, filters, kernel, f"{name}_conv_1", strides=strides))
    convolutions = stage.convolutions + design.depth
    for at in range(2, convolutions + 1, 2):
        before, is_pair = x, at < convolutions
        x = _convolution(x, filters, kernel, f"{name}_conv_{at}")
        if is_pair:
            x = _convolution(layers.ReLU()(x), filters, kernel, f"{name}_conv_{at + 1}")
            x = x if design.residual is False else layers.Add()([before, x])
        x = layers.ReLU()(x)
    return x


def _convolution(
    x: keras.KerasTensor, filters: int, kernel: int, name: str, *, strides: int = 1
) -> keras.KerasTensor:
    x = layers.Conv2D(
        filters,
        kernel,
        strides=strides,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=name,
    )(x)
    return layers.BatchNormalization(momentum=_BN_MOMENTUM, name=f"{name}_bn")(x)
