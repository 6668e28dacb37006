"""Layers whose channels can be scaled: by what follows a layer its scales reach the next one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hemline.export.graph.editing import Graph, Node
from hemline.export.graph.passes.folding import is_weighted

Indices = npt.NDArray[np.intp]

# f(s · x) = s · f(x) for s > 0, channel by channel. Not so for ReLU6, whose bound stays where it is
# (Nagel et al. replace it by ReLU, which is another function), nor for sigmoids.
_ACTIVATIONS = ("Relu", "LeakyRelu", "PRelu")
_POOLS = ("MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool")
_MOVES = ("Flatten", "Reshape", "Transpose", "Squeeze", "Identity")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two layers with weights, of which the second alone reads what the first makes.

    value: behind the first and its activation; its axis 1 is of the channels.
    linear: whether no activation lies between.
    channels: for each input of the second, the channel of the first that it comes from.
    """

    first: Node
    second: Node
    value: str
    linear: bool
    channels: Indices


def find_pairs(graph: Graph) -> Iterator[Pair]:
    """Yield the pairs of a graph in its order."""
    for node in graph.nodes:
        if is_weighted(graph, node) and not _is_centring(graph, node):
            pair = _pair(graph, node)
            if pair is not None:
                yield pair


def _is_centring(graph: Graph, node: Node) -> bool:
    """Return whether a layer only subtracts a mean from pixels, with a kernel of 1."""
    maker = graph.maker(node.inputs[0])
    reads_image = maker is None or (maker.op in _MOVES and maker.inputs[0] == graph.image)
    return reads_image and bool(graph.constants[node.inputs[1]][0].size == 1)


def _pair(graph: Graph, first: Node) -> Pair | None:
    shape = graph.shape(first.output)
    if len(shape) < 2 or (first.op != "Conv" and len(shape) != 2):
        return None
    count = shape[1]
    channels = np.broadcast_to(np.arange(count).reshape(1, -1, *(1,) * (len(shape) - 2)), shape)
    value, linear, node = first.output, True, graph.only_consumer(first.output)
    behind = first.output  # the value that was followed so far
    while node is not None and node.inputs[0] == behind and not is_weighted(graph, node):
        moved = _behind(graph, node, channels)
        if moved is None:
            return None
        if node.op in _ACTIVATIONS:
            value, linear = (node.output if behind == value else value), False
        channels, behind = moved, node.output
        node = graph.only_consumer(behind)
    if node is None or node.inputs[0] != behind:
        return None
    inputs = _inputs(node, channels)
    if inputs is None:
        return None
    return Pair(first=first, second=node, value=value, linear=linear, channels=inputs)


def _behind(graph: Graph, node: Node, channels: Indices) -> Indices | None:
    """Return the channel of each value behind a node; None where scales do not pass through it."""
    if node.op in _ACTIVATIONS:
        return channels
    if node.op == "Transpose":
        return channels.transpose(node.attributes.get("perm"))
    if node.op in _MOVES:
        return channels.reshape(graph.shape(node.output))
    if node.op in _POOLS and _spatial_constant(channels):
        first = channels[:, :, :1, :1]
        return np.broadcast_to(first, graph.shape(node.output))
    return None


def _spatial_constant(channels: Indices) -> bool:
    return channels.ndim == 4 and bool((channels == channels[:, :, :1, :1]).all())


def _inputs(node: Node, channels: Indices) -> Indices | None:
    """Return the channel of each input of a layer, if every one of its inputs is of one channel."""
    if node.op != "Conv":
        return channels.reshape(-1) if channels.ndim == 2 else None
    return channels[0, :, 0, 0] if _spatial_constant(channels) else None
