"""Order and shape in TensorFlow: most of it costs nothing, see Value."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from hemline.export.graph.editing import Graph
from hemline.export.graph.rebuilding.context import Context, Operator, held_last, maps
from hemline.export.graph.rebuilding.elementwise import result
from hemline.export.graph.rebuilding.values import Axes, Value


def concat(at: Context, *values: Value) -> Value:
    """Join values along a dimension."""
    axes = next((value.axes for value in values if not value.is_constant), values[0].axes)
    if len(axes) < values[0].rank:
        axes = tuple(range(values[0].rank))
    axis = at.get("axis") % values[0].rank
    joined = tf.concat([value.ordered(axes) for value in values], axes.index(axis))
    return result(joined, axes)


def transpose(at: Context, x: Value) -> Value:
    """Move dimensions: nothing is computed."""
    perm = at.get("perm") or list(range(x.rank))[::-1]
    x = x if x.rows is None else x.held_as((0, 1))
    axes = tuple(perm.index(axis) for axis in x.axes)
    return Value(tensor=x.tensor, axes=axes, shape=tuple(x.shape[axis] for axis in perm))


def flatten(at: Context, x: Value) -> Value:
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


def reshape(at: Context, x: Value, target: Value) -> Value:
    """Give a value another shape."""
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


def squeeze(at: Context, x: Value, axes: Value | None = None) -> Value:
    """Drop dimensions of size 1."""
    dropped = [int(axis) % x.rank for axis in (axes.tensor if axes else at.get("axes", []))]
    shape = tuple(size for axis, size in enumerate(x.shape) if axis not in dropped)
    return _reshaped_units(x, shape)


def unsqueeze(at: Context, x: Value, axes: Value | None = None) -> Value:
    """Add dimensions of size 1."""
    added = axes.tensor if axes else at.get("axes")
    rank = x.rank + len(added)
    places = {int(axis) % rank for axis in added}
    sizes = iter(x.shape)
    return _reshaped_units(x, tuple(1 if axis in places else next(sizes) for axis in range(rank)))


def _reshaped_units(x: Value, shape: tuple[int | None, ...]) -> Value:
    if (moved := _units_moved(x, shape)) is not None:
        return moved
    return Value.plain(tf.reshape(x.in_order, [-1 if size is None else size for size in shape]))


def reduced(
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


def _reduction(function: Callable[..., Any]) -> Operator:
    def row(at: Context, x: Value, axes: Value | None = None) -> Value:
        given = at.get("axes") if axes is None else axes.tensor.tolist()
        places = tuple(int(axis) % x.rank for axis in given or range(x.rank))
        return reduced(at, x, places, function, keeps=bool(at.get("keepdims", 1)))

    return row


reduce_max = _reduction(tf.reduce_max)
reduce_mean = _reduction(tf.reduce_mean)
reduce_min = _reduction(tf.reduce_min)
reduce_sum = _reduction(tf.reduce_sum)
reduce_l2 = _reduction(
    lambda x, axes, keepdims: tf.sqrt(tf.reduce_sum(x * x, axes, keepdims=keepdims))
)


def pad(
    at: Context, x: Value, pads: Value, constant: Value | None = None, axes: Value | None = None
) -> Value:
    """Add rows and columns."""
    del axes
    x = x.held_as(x.axes if len(x.axes) == x.rank and x.rows is None else tuple(range(x.rank)))
    less, more = pads.tensor.reshape(2, -1)
    widths = [[int(less[axis]), int(more[axis])] for axis in x.axes]
    mode = at.get("mode", "constant")
    if mode not in ("constant", "reflect"):
        raise at.node.refusal(f"the mode {mode} is not supported")
    value = 0.0 if constant is None else float(constant.tensor.reshape(()))
    return result(tf.pad(x.tensor, widths, mode.upper(), constant_values=value), x.axes)


def split(at: Context, x: Value, sizes: Value | None = None) -> list[Value]:
    """Take a value apart along a dimension."""
    axis = at.get("axis", 0) % x.rank
    x = _with_dimension(x, axis)
    counts = len(at.node.outputs) if sizes is None else sizes.tensor.tolist()
    parts = tf.split(x.tensor, counts, x.axes.index(axis))
    return [_resized(x, part, axis) for part in parts]


def _with_dimension(x: Value, axis: int) -> Value:
    """Return a value whose tensor has a dimension, and all its columns in order."""
    if axis in x.axes and x.rows is None:
        return x
    return x.held_as(tuple(range(x.rank)))


def _resized(x: Value, tensor: Any, axis: int) -> Value:
    size = tensor.shape[x.axes.index(axis)]
    shape = (*x.shape[:axis], size, *x.shape[axis + 1 :])
    return Value(tensor=tensor, axes=x.axes, shape=shape)


def cut(
    at: Context,
    x: Value,
    starts: Value,
    ends: Value,
    axes: Value | None = None,
    steps: Value | None = None,
) -> Value:
    """Take a part along some dimensions (Slice)."""
    del at
    count = len(starts.tensor)
    along = [int(each) % x.rank for each in (range(count) if axes is None else axes.tensor)]
    strides = [1] * count if steps is None else steps.tensor.tolist()
    for axis, first, end, step in zip(
        along, starts.tensor.tolist(), ends.tensor.tolist(), strides, strict=True
    ):
        x = _with_dimension(x, axis)
        bound = None if abs(end) > 2**31 else end  # as far as the dimension goes
        part = slice(first, bound, step)
        places = tuple(part if each == axis else slice(None) for each in x.axes)
        x = _resized(x, x.tensor[places], axis)
    return x


def gather(at: Context, x: Value, indices: Value) -> Value:
    """Take elements along a dimension; one index drops it."""
    axis = at.get("axis", 0) % x.rank
    x = _with_dimension(x, axis)
    if indices.rank == 1:
        found = tf.gather(x.tensor, indices.tensor, axis=x.axes.index(axis))
        return _resized(x, found, axis)
    return Value.plain(tf.gather(x.in_order, indices.tensor, axis=axis))


def depth_to_space(at: Context, x: Value) -> Value:
    """Make larger maps of more channels."""
    if at.get("mode", "DCR") != "DCR":
        raise at.node.refusal("only the mode DCR is supported")
    return maps(tf.nn.depth_to_space(held_last(x), at.get("blocksize")))


def space_to_depth(at: Context, x: Value) -> Value:
    """Make more channels of larger maps."""
    return maps(tf.nn.space_to_depth(held_last(x), at.get("blocksize")))


def tile(at: Context, x: Value, counts: Value) -> Value:
    """Repeat a value along its dimensions."""
    del at
    x = x.held_as(x.axes if len(x.axes) == x.rank and x.rows is None else tuple(range(x.rank)))
    times = counts.tensor.tolist()
    return result(tf.tile(x.tensor, [times[axis] for axis in x.axes]), x.axes)
