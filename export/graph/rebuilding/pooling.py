"""Pooling in TensorFlow, with the paddings that other frameworks have."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from hemline.export.graph.editing import Graph
from hemline.export.graph.rebuilding.context import Context, held_last, maps
from hemline.export.graph.rebuilding.padding import Pads, same_pads, widths
from hemline.export.graph.rebuilding.shaping import reduced
from hemline.export.graph.rebuilding.values import Value


def max_pool(at: Context, x: Value) -> Value:
    """Take the largest value of each window."""
    if set(at.get("dilations", [1, 1])) != {1}:
        raise at.node.refusal("only one without dilation is supported")
    tensor = held_last(x)
    kernel, strides = at.get("kernel_shape"), at.get("strides", [1, 1])
    pads = _pool_pads(at, tensor.shape[1:3])
    if not any(pads):
        return maps(tf.nn.max_pool2d(tensor, kernel, strides, "VALID"))
    if pads == same_pads(at, tensor.shape[1:3], tuple(kernel)):
        return maps(tf.nn.max_pool2d(tensor, kernel, strides, "SAME"))
    # Padding with -FLT_MAX ruins the range of 8 bits. Behind a ReLU 0 does the same; elsewhere
    # mirrored values, which the window holds anyway.
    mode = "CONSTANT" if is_not_negative(at.graph, at.node.inputs[0]) else "SYMMETRIC"
    return maps(tf.nn.max_pool2d(tf.pad(tensor, widths(pads), mode), kernel, strides, "VALID"))


def _pool_pads(at: Context, sides: tuple[int, ...]) -> Pads:
    """Return the pads of a pooling, with what rounding up adds behind."""
    top, left, bottom, right = at.get("pads", [0, 0, 0, 0])
    if not at.get("ceil_mode"):
        return top, left, bottom, right
    more = [
        _ceil_extra(side, size, stride, before, behind)
        for side, size, stride, before, behind in zip(
            sides,
            at.get("kernel_shape"),
            at.get("strides", [1, 1]),
            (top, left),
            (bottom, right),
            strict=True,
        )
    ]
    return top, left, bottom + more[0], right + more[1]


def _ceil_extra(side: int, size: int, stride: int, before: int, behind: int) -> int:
    count = -(-(side + before + behind - size) // stride) + 1
    if (count - 1) * stride >= side + before:
        count -= 1  # a window must begin within the map
    return max((count - 1) * stride + size - side - before - behind, 0)


def is_not_negative(graph: Graph, name: str) -> bool:
    """Return whether a value is surely 0 or more."""
    node = graph.maker(name)
    if node is None:
        return name == graph.image
    if node.op in ("Relu", "Sigmoid", "HardSigmoid", "Softmax", "Abs"):
        return True
    if node.op == "Clip":
        least = graph.scalar(node.input(1))
        return least is not None and least >= 0
    if node.op in ("MaxPool", "AveragePool", "Concat", "Reshape", "Transpose", "Slice", "Resize"):
        inputs = node.inputs if node.op == "Concat" else node.inputs[:1]
        return all(is_not_negative(graph, each) for each in inputs)
    return False


def average_pool(at: Context, x: Value) -> Value:
    """Take the mean of each window; padding counts where the node says so."""
    tensor = held_last(x)
    kernel, strides = at.get("kernel_shape"), at.get("strides", [1, 1])
    sides = tensor.shape[1:3]
    pads, counted = _pool_pads(at, sides), bool(at.get("count_include_pad"))
    if not any(pads):
        return maps(tf.nn.avg_pool2d(tensor, kernel, strides, "VALID"))
    if pads == same_pads(at, sides, tuple(kernel)) and not counted:
        return maps(tf.nn.avg_pool2d(tensor, kernel, strides, "SAME"))
    found = tf.nn.avg_pool2d(tf.pad(tensor, widths(pads)), kernel, strides, "VALID")
    shares = _counted_shares(at, sides, pads, counted=counted)
    return maps(found if np.allclose(shares, 1) else found / shares)


def _counted_shares(
    at: Context, sides: tuple[int, ...], pads: Pads, *, counted: bool
) -> npt.NDArray[np.float32]:
    """Return which share of each window counts in its mean, (1, h, w, 1)."""
    top, left, bottom, right = at.get("pads", [0, 0, 0, 0]) if counted else (0, 0, 0, 0)
    ones = np.zeros((sides[0] + pads[0] + pads[2], sides[1] + pads[1] + pads[3]), np.float32)
    first = (pads[0] - top, pads[1] - left)
    ones[
        first[0] : first[0] + sides[0] + top + bottom, first[1] : first[1] + sides[1] + left + right
    ] = 1
    windows = np.lib.stride_tricks.sliding_window_view(ones, at.get("kernel_shape"))
    down, across = at.get("strides", [1, 1])
    shares: npt.NDArray[np.float32] = windows[::down, ::across].mean(axis=(2, 3))
    return shares[np.newaxis, :, :, np.newaxis]


def global_average(at: Context, x: Value) -> Value:
    """Take the mean over whole maps."""
    return reduced(at, x, tuple(range(2, x.rank)), tf.reduce_mean, keeps=True)
