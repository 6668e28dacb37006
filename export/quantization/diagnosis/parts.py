"""The parts of a quantized model: layers and operators, each with the value that is rounded."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from hemline.export.graph.editing import Graph, Node
from hemline.export.quantization.float_graph import FloatGraph
from hemline.export.quantization.plan import QuantizationPlan
from hemline.export.quantization.quantized import Quantized


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A layer with weights, or an operator without.

    name: as texts show it.
    node: that computes it, before its activation.
    weights: name of the weights; None for an operator without.
    value: that is rounded to 8 bits, behind the activation.
    owner: of that value's grid, which may be shared.
    """

    name: str
    node: Node
    weights: str | None
    value: str
    owner: str


def find_parts(graph: FloatGraph) -> tuple[Part, ...]:
    """Return the parts of a graph, in its order: each layer, and each other value with a grid."""
    layers = {id(node) for node in graph.weighted}
    rounded = set(graph.points.quantized)
    found = []
    for node in graph.graph.nodes:
        weighted = id(node) in layers
        value = _rounded_value(graph.graph, node, rounded)
        if value is None:
            continue
        owner = str(graph.points.owner(value))
        if weighted or owner == value:
            found.append(
                Part(
                    name=node.inputs[1].removesuffix(".weight") if weighted else node.output,
                    node=node,
                    weights=node.inputs[1] if weighted else None,
                    value=value,
                    owner=owner,
                )
            )
    return tuple(_once(found))


def _rounded_value(graph: Graph, node: Node, rounded: set[str]) -> str | None:
    """Return the value that a node's output is rounded as: its own, or that of its activation."""
    if node.output in rounded:
        return node.output
    following = graph.only_consumer(node.output)
    activated = following is not None and following.op in ("Relu", "Clip")
    return following.output if following and activated and following.output in rounded else None


def _once(parts: list[Part]) -> Iterator[Part]:
    """Yield the parts without activations, which belong to the operator before them."""
    seen = set[str]()
    for part in parts:
        if part.weights is not None or part.value not in seen:
            yield part
        seen.add(part.value)


def only(quantized: Quantized, part: Part) -> Quantized:
    """Return the model in which nothing but one part is quantized."""
    plan = quantized.plan
    weights = {each.layer for each in plan.weights} - {part.weights}
    return in_float(quantized, weights, {each.tensor for each in plan.activations} - {part.owner})


def without(quantized: Quantized, part: Part) -> Quantized:
    """Return the model with one part in float: its weights, and its output is not rounded."""
    return in_float(quantized, {part.weights}, {part.owner})


def in_float(
    quantized: Quantized, weights: AbstractSet[str | None], values: AbstractSet[str]
) -> Quantized:
    """Return the model with these weights and values in float; its pixels stay 8 bits."""
    plan, image = quantized.plan, quantized.float_graph.graph.image
    changed: QuantizationPlan = replace(
        plan,
        weights=tuple(
            replace(each, bits=32, reason="diagnosis") if each.layer in weights else each
            for each in plan.weights
        ),
        activations=tuple(
            replace(each, bits=32) if each.tensor in values - {image} else each
            for each in plan.activations
        ),
    )
    return replace(quantized, plan=changed)


def channel_axis(rank: int) -> int:
    """Return the axis of the channels of a value: the second of maps and vectors, else the last."""
    return 1 if rank in (2, 4) else rank - 1
