"""Operators that compute each value for itself, in TensorFlow."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from hemline.export.graph.rebuilding.context import Context, Operator, held_last, maps
from hemline.export.graph.rebuilding.values import Axes, Value, broadcast


def _unary(function: Callable[[Any], Any]) -> Operator:
    def row(at: Context, x: Value) -> Value:
        del at
        return x.with_tensor(function(x.tensor))

    return row


def _with_attributes(function: Callable[[Context, Any], Any]) -> Operator:
    return lambda at, x: x.with_tensor(function(at, x.tensor))


def clip(at: Context, x: Value, low: Value | None = None, high: Value | None = None) -> Value:
    """Keep values within limits; those of ReLU and ReLU6 have operators of their own."""
    del at
    least = -math.inf if low is None else float(low.tensor)
    most = math.inf if high is None else float(high.tensor)
    if (least, most) == (0, 6):
        return x.with_tensor(tf.nn.relu6(x.tensor))
    if (least, most) == (0, math.inf):
        return x.with_tensor(tf.nn.relu(x.tensor))
    return x.with_tensor(tf.clip_by_value(x.tensor, least, most))


def _hard_sigmoid(at: Context, x: Any) -> Any:
    alpha, beta = at.get("alpha", 0.2), at.get("beta", 0.5)
    if math.isclose(alpha, 1 / 6, rel_tol=1e-5) and math.isclose(beta, 0.5):
        return tf.nn.relu6(x + 3.0) * np.float32(1 / 6)
    return tf.clip_by_value(x * alpha + beta, 0.0, 1.0)


def _hard_swish(x: Any) -> Any:
    return x * tf.nn.relu6(x + 3.0) * np.float32(1 / 6)  # as TFLite fuses it


def prelu(at: Context, x: Value, slope: Value) -> Value:
    """Multiply negative values by a slope."""
    del at
    (tensor, weights), axes = broadcast([x, slope])
    found = tf.nn.relu(tensor) - weights * tf.nn.relu(-tensor)
    return Value(tensor=found, axes=axes, shape=x.shape)


# --- several values


def _binary(function: Callable[[Any, Any], Any]) -> Operator:
    def row(at: Context, x: Value, y: Value) -> Value:
        del at
        if x.rows is not None and y.is_constant and y.tensor.size == 1:
            return x.with_tensor(function(x.tensor, y.tensor.reshape(())))
        (first, second), axes = broadcast([x, y])
        return result(function(first, second), axes)

    return row


def result(tensor: Any, axes: Axes) -> Value:
    """Return a tensor that has all dimensions, in an order, as a value."""
    shape: list[int | None] = [1] * len(axes)
    for axis, size in zip(axes, tensor.shape, strict=True):
        shape[axis] = size
    return Value(tensor=tensor, axes=axes, shape=tuple(shape))


def _many(function: Callable[[Any, Any], Any]) -> Operator:
    two = _binary(function)

    def row(at: Context, *values: Value) -> Value:
        found = values[0]
        for value in values[1:]:
            found = two(at, found, value)  # type: ignore[assignment] # one value
        return found

    return row


def resize(at: Context, x: Value, *rest: Value | None) -> Value:
    """Resize a map; `rest` is region, scales and sizes, of which the sizes decide here."""
    del rest
    tensor = held_last(x)
    sides = at.graph.shape(at.node.output)[2:]
    way = (at.get("mode", "nearest"), at.get("coordinate_transformation_mode", "half_pixel"))
    if way[0] == "nearest" and all(
        side % old == 0 for side, old in zip(sides, tensor.shape[1:3], strict=True)
    ):
        return maps(tf.compat.v1.image.resize_nearest_neighbor(tensor, sides))
    options = _BILINEAR.get(way)
    if options is None or at.get("antialias"):
        raise at.node.refusal(f"{way[0]} resizing with {way[1]} coordinates is not supported")
    return maps(tf.compat.v1.image.resize_bilinear(tensor, sides, **options))


_BILINEAR: dict[tuple[str, str], dict[str, bool]] = {
    ("linear", "half_pixel"): {"half_pixel_centers": True},
    ("linear", "pytorch_half_pixel"): {"half_pixel_centers": True},
    ("linear", "align_corners"): {"align_corners": True},
    ("linear", "asymmetric"): {},
}


absolute = _unary(tf.abs)
elu = _with_attributes(
    lambda at, x: (
        tf.nn.elu(x)
        if at.get("alpha", 1.0) == 1
        else tf.where(x > 0, x, at.get("alpha") * (tf.exp(tf.minimum(x, 0.0)) - 1))
    )
)
exponential = _unary(tf.exp)
gelu = _unary(lambda x: tf.nn.gelu(x, approximate=False))
gelu_tanh = _unary(lambda x: tf.nn.gelu(x, approximate=True))
hard_sigmoid = _with_attributes(_hard_sigmoid)
hard_swish = _unary(_hard_swish)
identity = _unary(tf.identity)
leaky_relu = _with_attributes(lambda at, x: tf.nn.leaky_relu(x, at.get("alpha", 0.01)))
logarithm = _unary(tf.math.log)
mish = _unary(lambda x: x * tf.tanh(tf.nn.softplus(x)))
negative = _unary(tf.negative)
reciprocal = _unary(lambda x: 1.0 / x)
relu = _unary(tf.nn.relu)
selu = _unary(tf.nn.selu)
sigmoid = _unary(tf.sigmoid)
softplus = _unary(tf.nn.softplus)
softsign = _unary(tf.nn.softsign)
square_root = _unary(tf.sqrt)
tanh = _unary(tf.tanh)

add = _binary(tf.add)
divide = _binary(tf.divide)
maximum = _many(tf.maximum)
minimum = _many(tf.minimum)
multiply = _binary(tf.multiply)
power = _binary(tf.pow)
subtract = _binary(tf.subtract)
