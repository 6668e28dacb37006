"""Products of matrices, normalization and softmax in TensorFlow."""

from __future__ import annotations

import tensorflow as tf

from hemline.export.graph.rebuilding.context import Context, held_last, maps
from hemline.export.graph.rebuilding.values import Value


def dense(at: Context, x: Value, w: Value, b: Value | None = None) -> Value:
    """Multiply by weights; where columns lie in another order, the rows of the weights do, too."""
    if not at.has_weights or at.get("transA") or at.get("transB"):
        raise at.node.refusal("its weights are computed")
    weights = w.tensor
    columns = x
    if x.rows is not None:
        weights = weights[x.rows] if w.is_constant else tf.gather(weights, x.rows)
        columns = Value(tensor=x.tensor, axes=x.axes, shape=x.shape)
    hooked = at.kernel(at.weights_name, weights, None)
    found = tf.matmul(columns.in_order, hooked)
    return Value.plain(found if b is None else tf.nn.bias_add(found, b.tensor))


def matmul(at: Context, x: Value, y: Value) -> Value:
    """Multiply matrices, or by weights."""
    if at.has_weights and y.rank == 2:
        return dense(at, x, y)
    return Value.plain(tf.matmul(x.in_order, y.in_order))


def layer_normalization(at: Context, x: Value, scale: Value, offset: Value | None = None) -> Value:
    """Normalize along the last dimension."""
    if at.get("axis", -1) % x.rank != x.rank - 1:
        raise at.node.refusal("only the last dimension can be normalized")
    x = x if x.rows is None and x.axes[-1] == x.rank - 1 else x.held_as(tuple(range(x.rank)))
    mean = tf.reduce_mean(x.tensor, -1, keepdims=True)
    centred = x.tensor - mean
    variance = tf.reduce_mean(centred * centred, -1, keepdims=True)
    found = centred * tf.math.rsqrt(variance + at.get("epsilon", 1e-5)) * scale.tensor
    return x.with_tensor(found if offset is None else found + offset.tensor)


def instance_normalization(at: Context, x: Value, scale: Value, offset: Value) -> Value:
    """Normalize each map."""
    tensor = held_last(x)
    centred = tensor - tf.reduce_mean(tensor, (1, 2), keepdims=True)
    variance = tf.reduce_mean(centred * centred, (1, 2), keepdims=True)
    found = centred * tf.math.rsqrt(variance + at.get("epsilon", 1e-5))
    return maps(found * scale.tensor + offset.tensor)


def local_response_normalization(at: Context, x: Value) -> Value:
    """Divide by the energy of the channels around."""
    size = at.get("size")
    return maps(
        tf.nn.local_response_normalization(
            held_last(x),
            (size - 1) // 2,
            at.get("bias", 1.0),
            at.get("alpha", 1e-4) / size,
            at.get("beta", 0.75),
        )
    )


def softmax(at: Context, x: Value) -> Value:
    """Take the softmax along one dimension."""
    axis = at.get("axis", -1) % x.rank
    if x.rows is not None or x.axes[-1] != axis:
        others = tuple(each for each in range(x.rank) if each != axis)
        x = x.held_as((*others, axis))
    return x.with_tensor(tf.nn.softmax(x.tensor))
