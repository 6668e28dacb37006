"""Open the batch of a graph that was simplified with one image."""

from __future__ import annotations

import math

import numpy as np

from hemline.export.graph.editing import Graph, Node


def open_batch(graph: Graph) -> None:
    """Rewrite each shape that names the one image so that it holds for any number of them.

    Raises FileFormatError, naming operator and node, where a model joins several images.
    """
    axes: dict[str, int | None] = {graph.image: 0}
    for node in graph.proto_order():
        axis = _axis_behind(graph, node, axes)
        for output in node.outputs:
            axes[output] = axis
        if node.op in ("Reshape", "Expand") and axis is not None:
            _open_shape(graph, node, axis)


def _axis_behind(graph: Graph, node: Node, axes: dict[str, int | None]) -> int | None:
    """Return which dimension of an output counts images; None for what depends on none."""
    ranks = {name: len(graph.shape(name)) for name in node.inputs if axes.get(name) is not None}
    if not ranks:
        return None
    name = next(iter(ranks))
    axis = axes[name]
    if axis is None:
        return None
    before, after = graph.shape(name), graph.shape(node.output)
    if node.op == "Transpose":
        perm = list[int](node.attributes.get("perm") or range(len(before))[::-1])
        return perm.index(axis)
    if node.op in ("Reshape", "Flatten", "Squeeze", "Unsqueeze"):
        return _reshaped_axis(node, before, after, axis)
    if node.op.startswith("Reduce") and not node.attributes.get("keepdims", 1):
        dropped = [int(each) % len(before) for each in node.attributes.get("axes", [])]
        if axis in dropped:
            raise node.refusal("it merges the images of a batch")
        return axis - sum(each < axis for each in dropped)
    if node.op == "Gather":
        at = int(node.attributes.get("axis", 0)) % len(before)
        return axis if at > axis else axis + len(after) - len(before)
    return axis + len(after) - len(before) if len(after) >= len(before) else axis


def _reshaped_axis(node: Node, before: tuple[int, ...], after: tuple[int, ...], axis: int) -> int:
    outer = math.prod(before[:axis])
    fitting = [at for at in range(len(after)) if math.prod(after[:at]) == outer]
    if not fitting:
        raise node.refusal("it splits the images of a batch")
    return axis if axis in fitting else fitting[0]


def _open_shape(graph: Graph, node: Node, axis: int) -> None:
    shape = np.array(graph.shape(node.output), np.int64)
    if node.op == "Expand":
        return
    shape[axis] = -1
    node.inputs[1] = graph.add_constant("shape", shape)
    node.attributes.pop("allowzero", None)
