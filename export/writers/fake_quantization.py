"""A float graph in TensorFlow with fake quantization at the points of a plan."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from hemline.export.graph.rebuild import Hooks, saved_model
from hemline.export.quantization.annotation import AnnotatedGraph

Kernels = dict[str, npt.NDArray[np.float32]]


def save_annotated(annotated: AnnotatedGraph, folder: Path | str) -> Kernels:
    """Write a SavedModel from which the TFLite converter makes 8 bits without images.

    Return the weights of each layer as TensorFlow reads them, in float, the outputs last.
    """
    kernels: Kernels = {}

    def activation(name: str, value: tf.Tensor) -> tf.Tensor:
        if not annotated.is_point(name):
            return value
        grid = annotated.grid(name)
        return tf.quantization.fake_quant_with_min_max_vars(
            value, grid.low, grid.high, num_bits=grid.bits
        )

    def kernel(name: str, values: npt.NDArray[np.float32], channel_axis: int | None) -> tf.Tensor:
        del channel_axis  # the last one, where there is one
        kernels[name] = values
        found = annotated.kernels[name]
        fake_quant = (
            tf.quantization.fake_quant_with_min_max_vars
            if found.axis is None
            else tf.quantization.fake_quant_with_min_max_vars_per_channel
        )
        # 8 bits for a plan of fewer bits too, whose values are on the inner part of that grid: the
        # converter would put a fake quantization of 7 bits onto a grid of its own.
        on_grid = tf.constant(_on_grid(values, found.scale))
        return fake_quant(on_grid, -found.bound, found.bound, narrow_range=True)

    saved_model(annotated.proto, folder, Hooks(activation=activation, kernel=kernel))
    return kernels


def _on_grid(
    values: npt.NDArray[np.float32], scale: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Return values rounded to the grid, so that no other rounding of a half changes them."""
    return np.asarray(np.round(values.astype(np.float64) / scale) * scale, np.float32)
