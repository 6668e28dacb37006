"""Fold products and sums with constants into the weights beside them.

Batch normalization, rescaling, biases and masks of channels end in convolutions and dense layers;
what stands alone on a map becomes a depthwise convolution of 1 × 1, which every runtime has in
8 bits with a scale for each channel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hemline.export.graph.editing import Graph, Node

Vector = npt.NDArray[np.float64]
_AFFINE = ("Mul", "Div", "Add", "Sub", "BatchNormalization")


@dataclass(frozen=True, slots=True, kw_only=True)
class Affine:
    """x · scale + offset, a number of each for each channel.

    value: name of x.
    """

    value: str
    scale: Vector
    offset: Vector


def fold_affine(graph: Graph) -> None:
    """Fold every product and sum with a constant a channel that has a weight beside it."""
    while any(_fold_behind(graph, node) for node in list(graph.with_op(*_AFFINE))):
        pass
    while any(_fold_in_front(graph, node) for node in list(graph.with_op(*_AFFINE))):
        pass
    graph.drop_unused()


def affine_of(graph: Graph, node: Node, axis: int | None) -> Affine | None:
    """Return what a node computes with constants a channel, which are counted along an axis.

    Without an axis there is one number for each value of an image. None for another operator, and
    for constants of another shape.
    """
    if node.op == "BatchNormalization":
        return _normalization(graph, node, axis)
    if node.op not in _AFFINE or len(node.inputs) != 2:
        return None
    at = next((at for at, name in enumerate(node.inputs) if name in graph.constants), None)
    if at is None or (at == 0 and node.op == "Div"):
        return None
    value = node.inputs[1 - at]
    if graph.shape(node.output) != graph.shape(value):
        return None  # the constant is the larger one
    constant = _channels(graph.constants[node.inputs[at]], graph.shape(value), axis)
    if constant is None:
        return None
    one, zero = np.ones_like(constant), np.zeros_like(constant)
    if node.op in ("Mul", "Div"):
        scale = constant if node.op == "Mul" else 1 / constant
        return Affine(value=value, scale=scale, offset=zero)
    if node.op == "Add":
        return Affine(value=value, scale=one, offset=constant)
    sign = 1 if at == 1 else -1  # x - c or c - x
    return Affine(value=value, scale=sign * one, offset=-sign * constant)


def _normalization(graph: Graph, node: Node, axis: int | None) -> Affine | None:
    if axis not in (None, 1):
        return None
    constants = [graph.constant(name) for name in node.inputs[1:5]]
    if any(each is None for each in constants):
        return None
    gamma, beta, mean, variance = (np.asarray(each, np.float64) for each in constants)
    scale = gamma / np.sqrt(variance + node.attributes.get("epsilon", 1e-5))
    offset = beta - mean * scale
    if axis is None:
        each = math.prod(graph.shape(node.output)[2:])
        scale, offset = np.repeat(scale, each), np.repeat(offset, each)
    return Affine(value=node.inputs[0], scale=scale, offset=offset)


def _channels(
    constant: npt.NDArray[Any], shape: tuple[int, ...], axis: int | None
) -> Vector | None:
    """Return a constant that broadcasts over a shape as a vector along an axis, if it is one."""
    if constant.ndim > len(shape) or not shape or not np.issubdtype(constant.dtype, np.floating):
        return None
    if axis is None:
        return np.broadcast_to(constant, shape).reshape(-1).astype(np.float64)
    full = constant.reshape((1,) * (len(shape) - constant.ndim) + constant.shape)
    if any(size != 1 for at, size in enumerate(full.shape) if at != axis % len(shape)):
        return None
    return np.broadcast_to(full.reshape(-1), (shape[axis],)).astype(np.float64)


# --- behind a convolution or dense layer


def _fold_behind(graph: Graph, node: Node) -> bool:
    """Fold a node into the weights that make what it reads; return whether it could."""
    for name in node.inputs[:2]:
        maker = graph.maker(name)
        if maker is None or not is_weighted(graph, maker):
            continue
        affine = affine_of(graph, node, 1 if maker.op == "Conv" else graph.rank(name) - 1)
        if affine is None or affine.value != name or graph.only_consumer(name) is None:
            continue
        if maker.op == "MatMul" and affine.offset.any() and graph.rank(name) != 2:
            continue
        scale_outputs(graph, maker, affine.scale, affine.offset)
        graph.redirect(node.output, name)
        graph.remove(node)
        return True
    return False


def is_weighted(graph: Graph, node: Node) -> bool:
    """Return whether a node is a convolution or dense layer with constant weights."""
    if node.op == "Conv":
        return all(name in graph.constants for name in node.inputs[1:] if name)
    if node.op == "Gemm":
        return all(name in graph.constants for name in node.inputs[1:] if name)
    weights = graph.constant(node.input(1)) if node.op == "MatMul" else None
    return weights is not None and weights.ndim == 2


def scale_outputs(graph: Graph, node: Node, scale: Vector, offset: Vector) -> None:
    """Let a convolution or dense layer compute its outputs · scale + offset.

    A MatMul that gets an offset becomes a Gemm: what it reads must be a matrix.
    """
    weights = graph.constants[node.inputs[1]]
    shape = (-1, *(1,) * (weights.ndim - 1)) if node.op == "Conv" else (1, -1)
    set_weights(graph, node, weights * scale.reshape(shape))
    bias = graph.constant(node.input(2))
    if bias is not None:
        set_bias(graph, node, bias.reshape(-1) * scale + offset)
    elif offset.any():
        set_bias(graph, node, offset)


def set_weights(graph: Graph, node: Node, weights: npt.NDArray[Any]) -> None:
    """Give a convolution or dense layer weights of its own, by the same name if none shares it."""
    node.inputs[1] = _own_constant(graph, node.inputs[1], "weight", weights)
    graph.changed()


def set_bias(graph: Graph, node: Node, bias: npt.NDArray[Any]) -> None:
    """Give a convolution or dense layer a bias of its own, by the same name if none shares it."""
    if node.op == "MatMul":
        node.op = "Gemm"
    node.inputs[2:] = [_own_constant(graph, node.input(2), "bias", bias)]
    graph.changed()


def _own_constant(graph: Graph, name: str, hint: str, array: npt.NDArray[Any]) -> str:
    if not name or len(graph.consumers(name)) > 1:
        name = graph.fresh(hint)
    graph.constants[name] = array.astype(np.float32)
    return name


# --- in front of one


def _fold_in_front(graph: Graph, node: Node) -> bool:
    """Fold a node into the weights that read what it makes; return whether it could.

    An offset goes into a convolution without padding only: padding adds zeros after it.
    """
    following, flattened = _weights_behind(graph, node.output)
    if following is None:
        return False
    axis = None if flattened else 1 if following.op == "Conv" else graph.rank(node.output) - 1
    affine = affine_of(graph, node, axis)
    if affine is None or (affine.offset.any() and is_padded(following)):
        return False
    scale_inputs(graph, following, affine.scale, affine.offset)
    graph.redirect(node.output, affine.value)
    graph.remove(node)
    return True


def _weights_behind(graph: Graph, name: str) -> tuple[Node | None, bool]:
    """Return the weighted node that alone reads a value, and whether a Flatten lies between."""
    node, flattened = graph.only_consumer(name), False
    if node is not None and node.op == "Flatten":
        name, flattened = node.output, True
        node = graph.only_consumer(name)
    if node is None or not is_weighted(graph, node) or node.inputs[0] != name:
        return None, False
    return node, flattened


def is_padded(node: Node) -> bool:
    """Return whether a convolution pads."""
    padding = node.attributes.get("auto_pad", "NOTSET")
    return padding.startswith("SAME") or any(node.attributes.get("pads", ()))


def scale_inputs(graph: Graph, node: Node, scale: Vector, offset: Vector) -> None:
    """Let a convolution or dense layer compute what it does with its inputs · scale + offset."""
    weights = graph.constants[node.inputs[1]].astype(np.float64)
    if node.op == "Conv":
        changed, extra = _convolution_inputs(node, weights, scale, offset)
    else:
        changed, extra = weights * scale[:, np.newaxis], offset @ weights
    set_weights(graph, node, changed)
    if offset.any():
        bias = graph.constant(node.input(2))
        set_bias(graph, node, extra if bias is None else bias.reshape(-1) + extra)


def _convolution_inputs(
    node: Node, weights: npt.NDArray[np.float64], scale: Vector, offset: Vector
) -> tuple[npt.NDArray[np.float64], Vector]:
    """Return kernels for scaled inputs, and what the offsets add to each output."""
    groups = node.attributes.get("group", 1)
    spatial = (1,) * (weights.ndim - 2)
    outputs = len(weights) // groups

    def for_each_kernel(vector: Vector) -> npt.NDArray[np.float64]:
        inputs = vector.reshape(groups, 1, -1)
        return np.repeat(inputs, outputs, axis=1).reshape(len(weights), -1, *spatial)

    extra = (weights * for_each_kernel(offset)).sum(axis=tuple(range(1, weights.ndim)))
    return weights * for_each_kernel(scale), extra


# --- alone


def replace_lone_normalizations(graph: Graph) -> None:
    """Make a depthwise convolution of each product and sum that no weights are beside of."""
    for node in graph.with_op("BatchNormalization", "Mul", "Div"):
        affine = affine_of(graph, node, 1)
        if affine is None:
            continue
        ends = node
        following = graph.only_consumer(node.output)
        more = None if following is None else affine_of(graph, following, 1)
        if following is not None and more is not None and more.value == node.output:
            affine = Affine(
                value=affine.value,
                scale=affine.scale * more.scale,
                offset=affine.offset * more.scale + more.offset,
            )
            ends = following
        elif node.op != "BatchNormalization":
            continue  # one operator stays one
        if graph.rank(affine.value) == 4:
            _replace_by_depthwise(graph, node, ends, affine)
        else:
            _replace_by_product(graph, node, ends, affine)
    graph.drop_unused()


def _replace_by_depthwise(graph: Graph, node: Node, ends: Node, affine: Affine) -> None:
    output = insert_depthwise(graph, graph.nodes.index(node), affine)
    graph.redirect(ends.output, output)
    graph.remove(node, ends)


def insert_depthwise(graph: Graph, position: int, affine: Affine) -> str:
    """Insert a depthwise convolution of 1 × 1; return the name of its output."""
    channels = len(affine.scale)
    weights = affine.scale.astype(np.float32).reshape(channels, 1, 1, 1)
    return graph.insert(
        position,
        "Conv",
        [
            affine.value,
            graph.add_constant("weight", weights),
            graph.add_constant("bias", affine.offset.astype(np.float32)),
        ],
        shape=graph.shape(affine.value),
        kernel_shape=[1, 1],
        group=channels,
    )


def _replace_by_product(graph: Graph, node: Node, ends: Node, affine: Affine) -> None:
    shape = (1, -1, *(1,) * (graph.rank(affine.value) - 2))
    value, full = affine.value, graph.shape(affine.value)
    for op, vector in (("Mul", affine.scale), ("Add", affine.offset)):
        constant = graph.add_constant("constant", vector.astype(np.float32).reshape(shape))
        value = graph.insert_before(node, op, [value, constant], shape=full)
    graph.redirect(ends.output, value)
    graph.remove(node, ends)
