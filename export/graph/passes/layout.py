"""Transpositions: cancel them, move them behind what does not mind, and into dense weights."""

from __future__ import annotations

import numpy as np

from hemline.export.graph.editing import Graph, Node
from hemline.export.graph.passes.folding import is_weighted, set_weights

_ELEMENTWISE = {
    "Abs", "Clip", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Log",
    "Mish", "Neg", "Reciprocal", "Relu", "Selu", "Sigmoid", "Softplus", "Softsign", "Sqrt", "Tanh",
}  # fmt: skip
_BINARY = {"Add", "Sub", "Mul", "Div", "Pow", "Max", "Min"}


def remove_transpositions(graph: Graph) -> None:
    """Remove each Transpose that another one undoes, or that a dense layer's weights can do."""
    while any(
        _join(graph, node) or _into_dense(graph, node) or _behind(graph, node)
        for node in list(graph.with_op("Transpose"))
    ):
        graph.drop_unused()
    graph.drop_unused()


def transpose_image_first(graph: Graph) -> None:
    """Move the Transpose of an image in front of what rescales the pixels.

    There constants a channel lie as convolutions have them, into which they are folded. A Reshape
    that does the same to an image with one channel becomes a Transpose, which ONNX Runtime joins
    with its own.
    """
    name, path = graph.image, list[Node]()
    n, height, width, channels = graph.shape(name)
    movable = _BINARY | ({"Reshape"} if channels == 1 else set())
    while (node := graph.only_consumer(name)) is not None:
        first = node.op == "Reshape" and graph.shape(node.output) == (n, 1, height, width)
        if node.op == "Transpose" or (first and channels == 1):
            _move_to_image(graph, node, path)
            return
        others = [each for each in node.inputs if each != name]
        if node.op not in movable or not all(each in graph.constants for each in others):
            return
        path.append(node)
        name = node.output


def _move_to_image(graph: Graph, node: Node, path: list[Node]) -> None:
    scaling = [each for each in path if each.op != "Reshape"]
    gray = node.op == "Reshape" and _by_numbers(graph, scaling)
    if not gray and not (scaling and _whole(graph, path)):
        return
    perm = _perm(graph, node) if node.op == "Transpose" else [0, 3, 1, 2]
    shape = graph.shape(node.output)
    for each in scaling:
        each.inputs = [_transposed(graph, name, perm) for name in each.inputs]
        graph.shapes[each.output] = shape
    for each in (node, *(each for each in path if each not in scaling)):
        graph.bypass(each)
    moved = graph.insert(0, "Transpose", [graph.image], shape=shape, perm=perm)
    graph.redirect(graph.image, moved, but=graph.maker(moved))


def _whole(graph: Graph, path: list[Node]) -> bool:
    """Return whether all of a path has the shape of the image."""
    return all(graph.shape(each.output) == graph.shape(graph.image) for each in path)


def _by_numbers(graph: Graph, scaling: list[Node]) -> bool:
    """Return whether nodes compute with one number each, which has no place on a map."""
    names = {name for each in scaling for name in each.inputs}
    return all(graph.constants[name].size == 1 for name in names & graph.constants.keys())


def _transposed(graph: Graph, name: str, perm: list[int]) -> str:
    constant = graph.constant(name)
    if constant is None or constant.size == 1:
        return name
    full = constant.reshape((1,) * (len(perm) - constant.ndim) + constant.shape)
    return graph.add_constant("constant", np.ascontiguousarray(full.transpose(perm)))


def _perm(graph: Graph, node: Node) -> list[int]:
    perm = node.attributes.get("perm")
    return list(perm) if perm else list(range(graph.rank(node.inputs[0])))[::-1]


def _join(graph: Graph, node: Node) -> bool:
    """Join a Transpose with the one in front of it, and remove one that moves nothing."""
    perm = _perm(graph, node)
    if perm == sorted(perm):
        graph.bypass(node)
        return True
    maker = graph.maker(node.inputs[0])
    if maker is None or maker.op != "Transpose":
        return False
    first = _perm(graph, maker)
    node.attributes["perm"] = [first[axis] for axis in perm]
    node.inputs = [maker.inputs[0]]
    graph.changed()
    return True


def _into_dense(graph: Graph, node: Node) -> bool:
    """Let a dense layer behind Transpose and Flatten have its rows in the order before them."""
    flatten = graph.only_consumer(node.output)
    if flatten is None or flatten.op != "Flatten" or _perm(graph, node)[0] != 0:
        return False
    name, between = flatten.output, list[Node]()
    dense = graph.only_consumer(name)
    while dense is not None and dense.op in _ELEMENTWISE and dense.inputs[0] == name:
        between.append(dense)
        name = dense.output
        dense = graph.only_consumer(name)
    if dense is None or dense.op not in ("Gemm", "MatMul") or not is_weighted(graph, dense):
        return False
    shape = graph.shape(node.output)[1:]
    weights = graph.constants[dense.inputs[1]].reshape(*shape, -1)
    back = np.argsort(_perm(graph, node))[1:] - 1
    weights = weights.transpose(*back, len(shape))
    set_weights(graph, dense, weights.reshape(-1, weights.shape[-1]))
    graph.redirect(node.output, node.inputs[0])
    graph.remove(node)
    return True


def _behind(graph: Graph, node: Node) -> bool:
    """Move a Transpose behind the elementwise operator that alone reads it."""
    following = graph.only_consumer(node.output)
    if following is None or not _movable(graph, node, following):
        return False
    if node.inputs[0] == graph.image:
        return False  # maps have their channels first from there on
    perm = _perm(graph, node)
    back = [int(axis) for axis in np.argsort(perm)]
    source = node.inputs[0]
    following.inputs = [_unmoved(graph, name, node, back) for name in following.inputs]
    graph.remove(node)
    moved = graph.insert_after(
        following,
        "Transpose",
        [following.output],
        shape=graph.shape(following.output),
        perm=perm,
    )
    graph.redirect(following.output, moved, but=graph.maker(moved))
    graph.shapes[following.output] = graph.shape(source)
    return True


def _movable(graph: Graph, node: Node, following: Node) -> bool:
    if following.op in _ELEMENTWISE:
        return True
    if following.op not in _BINARY or graph.shape(following.output) != graph.shape(node.output):
        return False
    return all(
        name == node.output
        or name in graph.constants
        or _is_same_transposition(graph, graph.maker(name), node)
        for name in following.inputs
    )


def _is_same_transposition(graph: Graph, other: Node | None, node: Node) -> bool:
    return (
        other is not None and other.op == "Transpose" and _perm(graph, other) == _perm(graph, node)
    )


def _unmoved(graph: Graph, name: str, node: Node, back: list[int]) -> str:
    """Return the name of an input as it is before a transposition."""
    if name == node.output:
        return node.inputs[0]
    constant = graph.constant(name)
    if constant is None:
        maker = graph.maker(name)
        return name if maker is None else maker.inputs[0]
    return _transposed(graph, name, back)
