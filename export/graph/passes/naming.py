"""Names that stay: values by operator and number, weights after the value that they make."""

from __future__ import annotations

from collections import Counter

from hemline.export.graph.editing import Graph
from hemline.export.graph.passes.pixels import IMAGE

_PARTS = {
    "Conv": ("", ".weight", ".bias"),
    "ConvTranspose": ("", ".weight", ".bias"),
    "Gemm": ("", ".weight", ".bias"),
    "MatMul": (".constant", ".weight"),
}
_SHORT = {"gemm": "dense", "matmul": "dense"}


def rename(graph: Graph, outputs: tuple[str, ...]) -> None:
    """Name the values of a graph by their operators, counted from 1: conv_1, relu_1, conv_2.

    The same model gets the same names in every process. A node's name stays that of the source.
    """
    names = {graph.image: IMAGE}
    counts: Counter[str] = Counter()
    for node in graph.proto_order():
        kind = _SHORT.get(node.op.lower(), node.op.lower())
        counts[kind] += 1
        stem = f"{kind}_{counts[kind]}"
        for at, output in enumerate(node.outputs):
            if output:
                names[output] = f"{stem}.{at}" if at else stem
        for at, name in enumerate(node.inputs):
            if name in graph.constants and name not in names:
                parts = _PARTS.get(node.op, ())
                names[name] = stem + (parts[at] if at < len(parts) else f".constant_{at}")
    names |= dict(zip(graph.outputs, outputs, strict=True))
    _apply(graph, names)


def _apply(graph: Graph, names: dict[str, str]) -> None:
    for node in graph.nodes:
        node.inputs = [names.get(name, name) for name in node.inputs]
        node.outputs = [names.get(name, name) for name in node.outputs]
    graph.image = IMAGE
    graph.outputs = [names.get(name, name) for name in graph.outputs]
    graph.constants = {names.get(name, name): each for name, each in graph.constants.items()}
    graph.shapes = {names[name]: each for name, each in graph.shapes.items() if name in names}
    graph.changed()
