"""Which part of a value's range its readers tell apart: beyond it, all they give is the same.

A grid need not span the rest. Behind a hard-swish that is everything below -3, often half of what a
convolution gives; quantizers that look at one value alone spend their steps on it.
"""

from __future__ import annotations

import math

from hemline.export.graph.editing import Graph, Node
from hemline.export.graph.points import LAYOUT, Points, Range

_ALL: Range = (-math.inf, math.inf)
# Sigmoid and Tanh: where their outputs reach the end of the grid that TFLite demands of them. The
# others: where 0 is nearer than half a step of a grid that spans 2 or more.
_BOUNDS: dict[str, Range] = {
    "Relu": (0.0, math.inf),
    "HardSwish": (-3.0, math.inf),
    "Sigmoid": (-6.25, 5.25),
    "Tanh": (-3.125, 2.625),
    "Gelu": (-4.0, math.inf),
    "GeluTanh": (-4.0, math.inf),
    "Mish": (-8.0, math.inf),
}
_SWISH: Range = (-8.0, math.inf)


def read_ranges(graph: Graph, points: Points) -> dict[str, Range]:
    """Return what the readers of each grid tell apart, by its owner; none for a whole range."""
    members: dict[str, list[str]] = {}
    for value in points.quantized:
        members.setdefault(str(points.owner(value)), []).append(value)
    alone = [owner for owner, values in members.items() if values == [owner]]
    found = {owner: _read(graph, owner) for owner in alone if owner not in points.fixed}
    return {owner: each for owner, each in found.items() if each != _ALL}


def _read(graph: Graph, value: str) -> Range:
    readers = graph.consumers(value)
    if value in graph.outputs or not readers:
        return _ALL
    found = [_read_by(graph, value, node) for node in readers]
    return min(low for low, _ in found), max(high for _, high in found)


def _read_by(graph: Graph, value: str, node: Node) -> Range:
    if node.op in LAYOUT and node.inputs[0] == value:
        return _read(graph, node.output)
    if _is_swish(graph, value, node):
        return _SWISH
    if node.op == "HardSigmoid":
        alpha, beta = node.attributes.get("alpha", 0.2), node.attributes.get("beta", 0.5)
        return -beta / alpha, (1 - beta) / alpha
    if node.op == "Clip":
        low, high = (graph.scalar(node.input(at)) for at in (1, 2))
        return -math.inf if low is None else low, math.inf if high is None else high
    return _BOUNDS.get(node.op, _ALL)


def _is_swish(graph: Graph, value: str, node: Node) -> bool:
    """Return whether a node is one of the two of value · sigmoid(value)."""
    if node.op == "Sigmoid":
        product = graph.only_consumer(node.output)
        return product is not None and product.op == "Mul" and value in product.inputs
    if node.op != "Mul":
        return False
    makers = [graph.maker(name) for name in node.inputs if name != value]
    return any(maker and maker.op == "Sigmoid" and maker.inputs[0] == value for maker in makers)
