"""Keep layers of a plan in float, and the values between them unrounded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from hemline.errors import UnknownNameError
from hemline.export.graph.editing import Graph
from hemline.export.quantization.float_graph import FloatGraph
from hemline.export.quantization.plan import ActivationRange, QuantizationPlan, WeightGrid


def with_float_layers(
    plan: QuantizationPlan, graph: FloatGraph, layers: Iterable[str], reason: str
) -> QuantizationPlan:
    """Return the plan in which exactly these layers, named by their weights, compute in float.

    reason: of those that did not before. A value is not rounded where all that make and read it, or
    another value on its grid, compute in float. Raises UnknownNameError for another layer.
    """
    own = {grid.layer: grid for grid in graph.grids}
    wanted = set(layers)
    if unknown := sorted(wanted - own.keys()):
        raise UnknownNameError("layer", unknown[0], own)
    weights = tuple(_grid(grid, own[grid.layer], wanted, reason) for grid in plan.weights)
    unrounded = _unrounded(graph, wanted)
    activations = tuple(_activation(each, each.tensor in unrounded) for each in plan.activations)
    return replace(plan, weights=weights, activations=activations)


def _grid(planned: WeightGrid, own: WeightGrid, wanted: set[str], reason: str) -> WeightGrid:
    if planned.layer not in wanted:
        return own if planned.bits == 32 else planned
    return planned if planned.bits == 32 else replace(planned, bits=32, reason=reason)


def _activation(planned: ActivationRange, unrounded: bool) -> ActivationRange:
    if unrounded:
        return replace(planned, bits=32)
    return replace(planned, bits=8) if planned.bits == 32 else planned


def _unrounded(graph: FloatGraph, layers: set[str]) -> set[str]:
    """Return the owners of the grids whose values lie between nodes in float only."""
    in_float = _float_nodes(graph, layers)
    moved_too = (value for node in graph.graph.nodes for value in node.outputs)
    rounded = {
        graph.points.owner(value)
        for value in (graph.graph.image, *moved_too)
        if not _among(graph.graph, value, in_float)
    }
    return {owner for owner in graph.points.owners if owner not in rounded}


def _float_nodes(graph: FloatGraph, layers: set[str]) -> set[int]:
    """Return the ids of the layers, and of what reads nothing but what such nodes give.

    What an activation function reads is not rounded where the layer before it is in float.
    """
    weighted = {id(node): node.inputs[1] in layers for node in graph.weighted}
    found: set[int] = set()
    for node in graph.graph.nodes:
        read = [name for name in node.inputs if name and name not in graph.graph.constants]
        makers = [graph.graph.maker(name) for name in read]
        if weighted.get(id(node), bool(read) and all(id(each) in found for each in makers)):
            found.add(id(node))
    return found


def _among(graph: Graph, value: str, in_float: set[int]) -> bool:
    """Return whether what makes and what reads a value computes in float; pixels are 8 bits."""
    maker = graph.maker(value)
    if maker is None or id(maker) not in in_float:
        return False
    return all(id(node) in in_float for node in graph.consumers(value))
