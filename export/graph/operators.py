"""The operators of a graph in TensorFlow: one row for each of ONNX."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from hemline.export.graph.editing import Graph, Node
from hemline.export.graph.values import Axes, Value, broadcast, last

Kernel = Callable[[str, npt.NDArray[np.float32], "int | None"], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """A node on its way into TensorFlow.

    node: the node.
    graph: that it is of.
    kernel: what is called with its weights, see Hooks.
    """

    node: Node
    graph: Graph
    kernel: Kernel

    def get(self, name: str, default: Any = None) -> Any:
        """Return an attribute."""
        return self.node.attributes.get(name, default)

    @property
    def weights_name(self) -> str:
        """Return the name of the weights."""
        return self.node.inputs[1]


Operator = Callable[..., "Value | list[Value]"]
Pads = tuple[int, int, int, int]  # top, left, bottom, right


def maps(tensor: Any) -> Value:
    """Return a tensor (n, …, c) as a value (n, c, …)."""
    n, *spatial, channels = tensor.shape
    return Value(tensor=tensor, axes=last(len(tensor.shape)), shape=(n, channels, *spatial))


def _held_last(value: Value) -> Any:
    return value.ordered(last(value.rank))


# --- convolutions


def _convolution(at: Context, x: Value, w: Value, b: Value | None = None) -> Value:
    tensor = _held_last(x)
    groups, channels = at.get("group", 1), tensor.shape[-1]
    strides, dilations = at.get("strides", [1, 1]), at.get("dilations", [1, 1])
    kernel = w.tensor
    tensor, mode = _padded(at, tensor, kernel.shape[2:])
    if groups == 1:
        ordered = at.kernel(at.weights_name, kernel.transpose(2, 3, 1, 0), 3)
        found = tf.nn.conv2d(tensor, ordered, strides, mode, dilations=dilations)
    elif groups == channels and strides[0] == strides[1]:
        found = _depthwise(at, tensor, kernel, mode)
    else:
        found = _grouped(at, tensor, kernel, mode)
    return maps(found if b is None else tf.nn.bias_add(found, b.tensor))


def _depthwise(at: Context, tensor: Any, kernel: npt.NDArray[np.float32], mode: str) -> Any:
    """Convolve each channel alone; the hook sees (h, w, 1, outputs), as TFLite stores it."""
    channels = tensor.shape[-1]
    ordered = kernel.transpose(2, 3, 1, 0)
    hooked = at.kernel(at.weights_name, ordered, 3)
    stride = at.get("strides", [1, 1])[0]
    return tf.nn.depthwise_conv2d(
        tensor,
        tf.reshape(hooked, (*ordered.shape[:2], channels, len(kernel) // channels)),
        [1, stride, stride, 1],
        mode,
        dilations=at.get("dilations", [1, 1]),
    )


def _grouped(at: Context, tensor: Any, kernel: npt.NDArray[np.float32], mode: str) -> Any:
    groups = at.get("group", 1)
    hooked = at.kernel(at.weights_name, kernel.transpose(2, 3, 1, 0), 3)
    parts = [
        tf.nn.conv2d(
            one, weights, at.get("strides", [1, 1]), mode, dilations=at.get("dilations", [1, 1])
        )
        for one, weights in zip(
            tf.split(tensor, groups, -1), tf.split(hooked, groups, -1), strict=True
        )
    ]
    return tf.concat(parts, -1)


def _padded(at: Context, tensor: Any, kernel: tuple[int, ...]) -> tuple[Any, str]:
    """Return a tensor with the padding that TensorFlow's own mode does not do, and that mode."""
    pads = tuple(at.get("pads", [0, 0, 0, 0]))
    if not any(pads):
        return tensor, "VALID"
    if pads == _same_pads(at, tensor.shape[1:3], kernel):
        return tensor, "SAME"
    return tf.pad(tensor, _widths(pads)), "VALID"


def _widths(pads: Pads) -> list[list[int]]:
    top, left, bottom, right = pads
    return [[0, 0], [top, bottom], [left, right], [0, 0]]


def _same_pads(at: Context, sides: tuple[int, ...], kernel: tuple[int, ...]) -> Pads:
    """Return the pads that TensorFlow's mode SAME means."""
    strides, dilations = at.get("strides", [1, 1]), at.get("dilations", [1, 1])
    total = [
        max((-(-side // stride) - 1) * stride + dilation * (size - 1) + 1 - side, 0)
        for side, size, stride, dilation in zip(sides, kernel, strides, dilations, strict=True)
    ]
    top, left = (each // 2 for each in total)
    return top, left, total[0] - top, total[1] - left


# --- pooling


def _max_pool(at: Context, x: Value) -> Value:
    tensor = _held_last(x)
    kernel, strides = at.get("kernel_shape"), at.get("strides", [1, 1])
    pads = _pool_pads(at, tensor.shape[1:3])
    if not any(pads):
        return maps(tf.nn.max_pool2d(tensor, kernel, strides, "VALID"))
    if pads == _same_pads(at, tensor.shape[1:3], tuple(kernel)):
        return maps(tf.nn.max_pool2d(tensor, kernel, strides, "SAME"))
    # Padding with -FLT_MAX ruins the range of 8 bits. Behind a ReLU 0 does the same; elsewhere
    # mirrored values, which the window holds anyway.
    mode = "CONSTANT" if is_not_negative(at.graph, at.node.inputs[0]) else "SYMMETRIC"
    return maps(tf.nn.max_pool2d(tf.pad(tensor, _widths(pads), mode), kernel, strides, "VALID"))


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


def _average_pool(at: Context, x: Value) -> Value:
    tensor = _held_last(x)
    kernel, strides = at.get("kernel_shape"), at.get("strides", [1, 1])
    sides = tensor.shape[1:3]
    pads, counted = _pool_pads(at, sides), bool(at.get("count_include_pad"))
    if not any(pads):
        return maps(tf.nn.avg_pool2d(tensor, kernel, strides, "VALID"))
    if pads == _same_pads(at, sides, tuple(kernel)) and not counted:
        return maps(tf.nn.avg_pool2d(tensor, kernel, strides, "SAME"))
    found = tf.nn.avg_pool2d(tf.pad(tensor, _widths(pads)), kernel, strides, "VALID")
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


def _global_average(at: Context, x: Value) -> Value:
    return _reduced(at, x, tuple(range(2, x.rank)), tf.reduce_mean, keeps=True)


# --- values alone


def _unary(function: Callable[[Any], Any]) -> Operator:
    def row(at: Context, x: Value) -> Value:
        del at
        return x.with_tensor(function(x.tensor))

    return row


def _with_attributes(function: Callable[[Context, Any], Any]) -> Operator:
    return lambda at, x: x.with_tensor(function(at, x.tensor))


def _clip(at: Context, x: Value, low: Value | None = None, high: Value | None = None) -> Value:
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


def _prelu(at: Context, x: Value, slope: Value) -> Value:
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
        return _result(function(first, second), axes)

    return row


def _result(tensor: Any, axes: Axes) -> Value:
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


def _concat(at: Context, *values: Value) -> Value:
    axes = next((value.axes for value in values if not value.is_constant), values[0].axes)
    if len(axes) < values[0].rank:
        axes = tuple(range(values[0].rank))
    axis = at.get("axis") % values[0].rank
    joined = tf.concat([value.ordered(axes) for value in values], axes.index(axis))
    return _result(joined, axes)


def _resize(at: Context, x: Value, *rest: Value | None) -> Value:
    """Resize a map; `rest` is region, scales and sizes, of which the sizes decide here."""
    del rest
    tensor = _held_last(x)
    sides = at.graph.shape(at.node.output)[2:]
    way = (at.get("mode", "nearest"), at.get("coordinate_transformation_mode", "half_pixel"))
    if way[0] == "nearest" and all(
        side % old == 0 for side, old in zip(sides, tensor.shape[1:3], strict=True)
    ):
        return maps(tf.compat.v1.image.resize_nearest_neighbor(tensor, sides))
    options = _BILINEAR.get(way)
    if options is None or at.get("antialias"):
        raise at.node.refusal(f"{way[0]} resizing with {way[1]} coordinates is not known")
    return maps(tf.compat.v1.image.resize_bilinear(tensor, sides, **options))


_BILINEAR: dict[tuple[str, str], dict[str, bool]] = {
    ("linear", "half_pixel"): {"half_pixel_centers": True},
    ("linear", "pytorch_half_pixel"): {"half_pixel_centers": True},
    ("linear", "align_corners"): {"align_corners": True},
    ("linear", "asymmetric"): {},
}


# --- order and shape


def _transpose(at: Context, x: Value) -> Value:
    perm = at.get("perm") or list(range(x.rank))[::-1]
    x = x if x.rows is None else x.held_as((0, 1))
    axes = tuple(perm.index(axis) for axis in x.axes)
    return Value(tensor=x.tensor, axes=axes, shape=tuple(x.shape[axis] for axis in perm))


def _flatten(at: Context, x: Value) -> Value:
    """Make a matrix; where the channels lie last its columns do so, too."""
    if at.get("axis", 1) != 1:
        raise at.node.refusal("only the first dimension may be kept")
    inner = x.shape[1:]
    columns = math.prod(size or 1 for size in inner)
    if x.axes[0] != 0:
        x = x.held_as(tuple(range(x.rank)))
    shape = (x.shape[0], columns)
    held = [axis for axis in x.axes if x.shape[axis] != 1 or axis == 0]
    tensor = x.tensor if len(x.tensor.shape) == 2 else tf.reshape(x.tensor, (-1, columns))
    if held == sorted(held):
        return Value(tensor=tensor, axes=(0, 1), shape=shape, rows=x.rows)
    order = (
        np.arange(columns)
        .reshape([size or 1 for size in inner])
        .transpose([axis - 1 for axis in x.axes[1:]])
    )
    return Value(tensor=tensor, axes=(0, 1), shape=shape, rows=order.reshape(-1))


def _reshape(at: Context, x: Value, target: Value) -> Value:
    del target
    wanted = at.graph.shape(at.node.output)
    batch = _open_axis(at)
    shape = tuple(None if axis == batch else size for axis, size in enumerate(wanted))
    if x.is_constant:
        return Value.plain(x.tensor.reshape(wanted))
    if (moved := _units_moved(x, shape)) is not None:
        return moved
    full = [-1 if size is None else size for size in shape]
    found = tf.reshape(x.in_order, full)
    return Value(tensor=found, axes=tuple(range(len(shape))), shape=tuple(found.shape))


def _open_axis(at: Context) -> int | None:
    target = at.graph.constants[at.node.inputs[1]].tolist()
    return target.index(-1) if -1 in target else None


def _units_moved(x: Value, shape: tuple[int | None, ...]) -> Value | None:
    """Return the same tensor for a reshape that only adds, drops or moves dimensions of size 1."""
    before = [axis for axis, size in enumerate(x.shape) if size != 1]
    after = [axis for axis, size in enumerate(shape) if size != 1]
    if x.rows is not None or [x.shape[axis] for axis in before] != [shape[axis] for axis in after]:
        return None
    targets = dict(zip(before, after, strict=True))
    spare = [axis for axis, size in enumerate(shape) if size == 1]
    units = [axis for axis in x.axes if x.shape[axis] == 1]
    if len(units) > len(spare):
        return None
    targets |= dict(zip(units, spare, strict=False))
    return Value(tensor=x.tensor, axes=tuple(targets[axis] for axis in x.axes), shape=shape)


def _squeeze(at: Context, x: Value, axes: Value | None = None) -> Value:
    dropped = [int(axis) % x.rank for axis in (axes.tensor if axes else at.get("axes", []))]
    shape = tuple(size for axis, size in enumerate(x.shape) if axis not in dropped)
    return _reshaped_units(x, shape)


def _unsqueeze(at: Context, x: Value, axes: Value | None = None) -> Value:
    added = axes.tensor if axes else at.get("axes")
    rank = x.rank + len(added)
    places = {int(axis) % rank for axis in added}
    sizes = iter(x.shape)
    return _reshaped_units(x, tuple(1 if axis in places else next(sizes) for axis in range(rank)))


def _reshaped_units(x: Value, shape: tuple[int | None, ...]) -> Value:
    if (moved := _units_moved(x, shape)) is not None:
        return moved
    return Value.plain(tf.reshape(x.in_order, [-1 if size is None else size for size in shape]))


def _reduced(
    at: Context, x: Value, axes: Axes, function: Callable[..., Any], *, keeps: bool
) -> Value:
    """Reduce; dimensions that are kept with size 1 are left out where nothing asks for them."""
    x = x.held_as(tuple(range(x.rank))) if x.rows is not None else x
    places = [place for place, axis in enumerate(x.axes) if axis in axes]
    holds = keeps and not _is_flattened(at.graph, at.node.output)
    tensor = function(x.tensor, places, keepdims=holds)
    left = [axis for axis in x.axes if axis not in axes]
    if keeps:
        shape = tuple(1 if axis in axes else size for axis, size in enumerate(x.shape))
        return Value(tensor=tensor, axes=x.axes if holds else tuple(left), shape=shape)
    shape = tuple(size for axis, size in enumerate(x.shape) if axis not in axes)
    ranks = {axis: at for at, axis in enumerate(sorted(left))}
    missing = [axis for axis in range(x.rank) if axis not in axes and axis not in left]
    if missing:
        return Value.plain(tf.reshape(tensor, [-1 if size is None else size for size in shape]))
    return Value(tensor=tensor, axes=tuple(ranks[axis] for axis in left), shape=shape)


def _is_flattened(graph: Graph, name: str) -> bool:
    readers = graph.consumers(name)
    return bool(readers) and all(node.op == "Flatten" for node in readers)


# --- products


def _dense(at: Context, x: Value, w: Value, b: Value | None = None) -> Value:
    weights = w.tensor
    columns = x
    if x.rows is not None:
        weights = weights[x.rows]
        columns = Value(tensor=x.tensor, axes=x.axes, shape=x.shape)
    hooked = at.kernel(at.weights_name, weights, None)
    found = tf.matmul(columns.in_order, hooked)
    return Value.plain(found if b is None else tf.nn.bias_add(found, b.tensor))


def _matmul(at: Context, x: Value, y: Value) -> Value:
    if y.is_constant and y.rank == 2:
        return _dense(at, x, y)
    return Value.plain(tf.matmul(x.in_order, y.in_order))


OPERATORS: dict[str, Operator] = {
    "Add": _binary(tf.add),
    "AveragePool": _average_pool,
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _convolution,
    "Flatten": _flatten,
    "Gemm": _dense,
    "GlobalAveragePool": _global_average,
    "MatMul": _matmul,
    "MaxPool": _max_pool,
    "Mul": _binary(tf.multiply),
    "Relu": _unary(tf.nn.relu),
    "Reshape": _reshape,
    "Resize": _resize,
    "Sub": _binary(tf.subtract),
    "Transpose": _transpose,
}
