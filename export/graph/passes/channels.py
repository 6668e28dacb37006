"""The order of channels, red, green and blue or the opposite; and channels that are copies."""

from __future__ import annotations

import numpy as np

from hemline.export.graph.editing import Graph, Node
from hemline.export.graph.passes.folding import is_weighted, set_bias, set_weights

_UNMIXED = ("Transpose", "Resize", "Pad")  # what they do to one channel they do to all
_FIRST, _LAST = [0, 3, 1, 2], [0, 2, 3, 1]


def reverse_channels(graph: Graph) -> None:
    """Let the first convolution read the channels of the image in the opposite order.

    Its weights are reversed, with those of each channel in front of it. Where something else is
    first a convolution of 1 × 1 reverses the pixels. The image must have 3 channels.
    """
    path = _path(graph)
    if path is None:
        _reverse_image(graph)
        return
    *depthwise, first = path
    for node in depthwise:
        set_weights(graph, node, graph.constants[node.inputs[1]][::-1])
        if (bias := graph.constant(node.input(2))) is not None:
            set_bias(graph, node, bias[::-1])
    set_weights(graph, first, graph.constants[first.inputs[1]][:, ::-1])


def merge_copies(graph: Graph) -> None:
    """Let a convolution read one map where it reads copies of it, as of a gray image in three
    channels: its weights for the copies are added up.
    """
    for node in graph.with_op("Concat"):
        following = graph.only_consumer(node.output)
        if following is None or following.op != "Conv" or not is_weighted(graph, following):
            continue
        copies, axis = len(node.inputs), node.attributes["axis"] % graph.rank(node.output)
        grouped = following.attributes.get("group", 1) != 1
        if {*node.inputs} == {node.inputs[0]} and axis == 1 and not grouped:
            weights = graph.constants[following.inputs[1]]
            outputs, _, *kernel = weights.shape
            merged = weights.reshape(outputs, copies, -1, *kernel).astype(np.float64).sum(axis=1)
            set_weights(graph, following, merged)
            graph.redirect(node.output, node.inputs[0])
            graph.remove(node)


def _path(graph: Graph) -> list[Node] | None:
    """Return the convolutions up to the first that mixes channels; None where they do not lead."""
    name, path = graph.image, list[Node]()
    while (node := graph.only_consumer(name)) is not None:
        if node.op == "Conv" and is_weighted(graph, node):
            path.append(node)
            weights = graph.constants[node.inputs[1]]
            if weights.shape[1] == 3:
                return path
            if weights.shape[:2] != (3, 1):
                return None
        elif node.op not in _UNMIXED or node.inputs[0] != name:
            return None
        name = node.output
    return None


def _reverse_image(graph: Graph) -> None:
    """Insert a convolution of 1 × 1 that reverses the channels of the image: exact in 8 bits."""
    shape = graph.shape(graph.image)
    turned = tuple(shape[axis] for axis in _FIRST)
    kernel = np.eye(3, dtype=np.float32)[::-1].reshape(3, 3, 1, 1).copy()
    first = graph.insert(0, "Transpose", [graph.image], shape=turned, perm=_FIRST)
    weights = graph.add_constant("weight", kernel)
    reversed_ = graph.insert(1, "Conv", [first, weights], shape=turned, kernel_shape=[1, 1])
    last = graph.insert(2, "Transpose", [reversed_], shape=shape, perm=_LAST)
    graph.redirect(graph.image, last, but=graph.maker(first))
