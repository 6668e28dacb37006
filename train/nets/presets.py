"""Nets that published Fashion-MNIST projects train, in sizes for edge devices."""

from __future__ import annotations

import keras
from keras import layers

from hemline.train.nets.design import Design

_SCALE = 1 / 255  # no offset, so that it can be folded into the first kernel


def build_mlp(shape: tuple[int, int, int], classes: int, design: Design) -> keras.Model:
    """Build one hidden layer of 32 units; 25,450 parameters for 28 × 28 gray and 10 classes."""
    pixels = keras.Input(shape, name="image")
    x = layers.Flatten()(layers.Rescaling(_SCALE)(pixels))
    x = layers.Dense(design.units(32), activation="relu")(x)
    if share := design.drop(0.0):
        x = layers.Dropout(share)(x)
    return keras.Model(pixels, _logits(x, classes), name="mlp")


def build_cnn(shape: tuple[int, int, int], classes: int, design: Design) -> keras.Model:
    """Build three convolutions, two of them pooled, and a hidden layer; no batch normalization."""
    normalized = design.normalizes(False)
    pixels = keras.Input(shape, name="image")
    x = layers.Rescaling(_SCALE)(pixels)
    x = layers.ReLU()(_convolution(x, design.units(32), "same", normalized=normalized))
    x = layers.MaxPooling2D(2)(x)
    x = layers.ReLU()(_convolution(x, design.units(64), "same", normalized=normalized))
    x = layers.MaxPooling2D(2)(x)
    x = layers.ReLU()(_convolution(x, design.units(64), "same", normalized=normalized))
    x = layers.Dropout(design.drop(0.25))(x)
    x = layers.Dense(design.units(64), activation="relu")(layers.Flatten()(x))
    x = layers.Dropout(design.drop(0.5))(x)
    return keras.Model(pixels, _logits(x, classes), name="cnn")


def build_deep_cnn(shape: tuple[int, int, int], classes: int, design: Design) -> keras.Model:
    """Build five convolutions and two hidden layers; 538,346 parameters for 28 × 28 gray and 10.

    Without padding, as in the project that published it.
    """
    normalized, units = design.normalizes(True), design.units
    pixels = keras.Input(shape, name="image")
    x = layers.Rescaling(_SCALE)(pixels)
    for filters in (32, 64):
        x = layers.ReLU()(_convolution(x, units(filters), "valid", normalized=normalized))
        x = layers.ReLU()(_convolution(x, units(filters), "valid", normalized=False))
        x = layers.Dropout(design.drop(0.25))(layers.MaxPooling2D(2)(x))
    x = layers.ReLU()(_convolution(x, units(128), "valid", normalized=normalized))
    x = layers.Dropout(design.drop(0.25))(x)
    x = layers.Dense(units(512))(layers.Flatten()(x))
    x = layers.ReLU()(layers.BatchNormalization()(x) if normalized else x)
    x = layers.Dropout(design.drop(0.5))(x)
    x = layers.Dense(units(256), activation="relu")(x)
    x = layers.Dropout(design.drop(0.5))(x)
    return keras.Model(pixels, _logits(x, classes), name="deep_cnn")


def _convolution(
    x: keras.KerasTensor, filters: int, padding: str, *, normalized: bool
) -> keras.KerasTensor:
    x = layers.Conv2D(filters, 3, padding=padding)(x)
    return layers.BatchNormalization()(x) if normalized else x


def _logits(x: keras.KerasTensor, classes: int) -> keras.KerasTensor:
    return layers.Dense(classes, dtype="float32", name="logits")(x)
