"""The end of a classifier: logits instead of probabilities, one row an image."""

from __future__ import annotations

import math

import numpy as np

from hemline.contract.specs import EMBEDDING, LOGITS
from hemline.errors import FileFormatError, HemlineError, remedy
from hemline.export.graph.editing import Graph, Node
from hemline.export.graph.passes.folding import is_weighted

_LAYOUT = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity")


def write_logits(graph: Graph, *, names: tuple[str, ...]) -> None:
    """Let a graph give logits (batch, classes) where it gives those, log or plain probabilities.

    A single sigmoid value p of the second of two classes becomes the logits 0 and z, of which the
    softmax has the same p. Other outputs that have a name in `names` stay. Raises FileFormatError
    for what is not one row of values an image.
    """
    at = names.index(LOGITS)
    name = graph.outputs[at]
    _require_values(graph, name)
    shape = graph.shape(name)
    if shape[0] != 1 or len(shape) < 2 or sum(size > 1 for size in shape) > 1:
        raise FileFormatError(f"the output {name} {shape} is not one row of class values per image")
    if len(shape) > 2:
        position = len(graph.nodes)
        name = graph.insert(position, "Flatten", [name], shape=(1, math.prod(shape)))
        graph.outputs[at] = name
    _take_softmax_off(graph, at)
    graph.drop_unused()


def _require_values(graph: Graph, name: str) -> None:
    maker = graph.maker(name)
    if maker is not None and maker.op in ("ArgMax", "TopK", "Cast"):
        raise maker.refusal(
            "the model returns labels, not a value for each class; remove that output"
        )


def _take_softmax_off(graph: Graph, at: int) -> None:
    """Bypass the last softmax, and widen what one sigmoid gives."""
    path: list[Node] = []
    node = graph.maker(graph.outputs[at])
    while node is not None and (node.op in _LAYOUT or _moves_units_only(graph, node)):
        path.append(node)
        node = graph.maker(node.inputs[0])
    size = math.prod(graph.shape(graph.outputs[at]))
    if node is not None and node.op in ("Softmax", "LogSoftmax") and size > 1:
        axis = node.attributes.get("axis", -1)
        if graph.shape(node.inputs[0])[axis] == size:
            _bypass_ending(graph, node)
    elif size == 1:
        if node is None or node.op != "Sigmoid":
            raise FileFormatError(
                "the model returns one value that is not a probability: it is not a classifier"
            )
        _bypass_ending(graph, node)
        _widen(graph, at)


def _moves_units_only(graph: Graph, node: Node) -> bool:
    shape = graph.shape(node.output)
    return node.op == "Transpose" and sum(size > 1 for size in shape) <= 1


def _bypass_ending(graph: Graph, node: Node) -> None:
    if len(graph.consumers(node.output)) > 1:
        raise node.refusal("its values are also used inside the model")
    graph.bypass(node)


def _widen(graph: Graph, at: int) -> None:
    """Make the logits 0 and z of a value z."""
    name = graph.outputs[at]
    maker = graph.maker(name)
    while maker is not None and maker.op in _LAYOUT and graph.rank(maker.inputs[0]) == 2:
        maker = graph.maker(maker.inputs[0])
    if maker is not None and maker.op in ("Gemm", "MatMul") and is_weighted(graph, maker):
        for position in range(1, len(maker.inputs)):
            array = graph.constants[maker.inputs[position]]
            wide = np.concatenate([np.zeros_like(array), array], axis=-1)
            maker.inputs[position] = graph.add_constant("wide", wide)
        graph.shapes[maker.output] = (1, 2)
        graph.outputs[at] = maker.output
        graph.changed()
        return
    weights = graph.add_constant("weight", np.array([[0, 1]], np.float32))
    graph.outputs[at] = graph.insert(len(graph.nodes), "MatMul", [name, weights], shape=(1, 2))


def embedding_of(graph: Graph) -> str:
    """Return the name of the embedding: what the last dense layer reads.

    Raises HemlineError for a model whose last layer is not dense.
    """
    node = graph.maker(graph.outputs[0])
    while node is not None and node.op in (*_LAYOUT, "Add", "Mul"):
        node = graph.maker(node.inputs[0])
    if node is None or not is_weighted(graph, node) or node.op == "Conv":
        reason = "its last layer is not dense"
    elif graph.rank(node.inputs[0]) != 2:
        reason = "its last dense layer does not read vectors"
    else:
        return node.inputs[0]
    raise HemlineError(
        f"the model has no {EMBEDDING}: {reason}", remedy=remedy("without embedding")
    )
