"""Activations that exporters write in several operators, as one.

They are recognized by what they compute, not by how: every value is followed as a function of the
values that it is made from, on a grid of numbers, and compared with the functions of a table.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hemline.export.graph.editing import FUNCTIONS, Graph, Node
from hemline.export.graph.functions import function_of

Curve = npt.NDArray[np.float64]
_FAR = np.array([20.0, 100.0, 1e4, 1e8])  # where a limit of a Clip may lie
_GRID: Curve = np.concatenate([-_FAR[::-1], np.linspace(-12, 12, 193), _FAR])
_TOLERANCE = 2e-5  # of constants in few digits; Gelu and its estimate differ by 5e-4
_LONGEST = 9  # operators in a pattern: the estimate of Gelu has as many


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation:
    """One operator that a pattern is written as.

    op: its name.
    curve: its values on the grid.
    limits: what Clip gets as inputs.
    attributes: of the node.
    """

    op: str
    curve: Curve
    limits: tuple[float, ...] = ()
    attributes: dict[str, Any] | None = None

    @property
    def domain(self) -> str:
        """Return the domain of the operator."""
        return FUNCTIONS if self.op in ("Gelu", "GeluTanh", "Mish") else ""


_ERF = np.vectorize(math.erf)
_RELU6 = np.clip(_GRID + 3, 0, 6) / 6
_INNER = math.sqrt(2 / math.pi) * (_GRID + 0.044715 * _GRID**3)
ACTIVATIONS = (
    Activation(op="Identity", curve=_GRID),
    Activation(op="Relu", curve=np.maximum(_GRID, 0)),
    Activation(op="Clip", curve=np.clip(_GRID, 0, 6), limits=(0.0, 6.0)),
    Activation(op="HardSigmoid", curve=_RELU6, attributes={"alpha": 1 / 6, "beta": 0.5}),
    Activation(op="HardSwish", curve=_GRID * _RELU6),
    Activation(op="Gelu", curve=_GRID * (1 + _ERF(_GRID / math.sqrt(2))) / 2),
    Activation(op="GeluTanh", curve=_GRID * (1 + np.tanh(_INNER)) / 2),
    Activation(op="Mish", curve=_GRID * np.tanh(np.logaddexp(0, _GRID))),
)
_UNARY: dict[str, Callable[[Curve], Curve]] = {
    "Abs": np.abs,
    "Erf": _ERF,
    "Exp": np.exp,
    "Log": np.log,
    "Neg": np.negative,
    "Reciprocal": np.reciprocal,
    "Relu": lambda x: np.maximum(x, 0),
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "Softplus": lambda x: np.logaddexp(0, x),
    "Sqrt": np.sqrt,
    "Tanh": np.tanh,
    "HardSwish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
}
_BINARY: dict[str, Callable[[Curve, Curve], Curve]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
    "Pow": np.power,
    "Max": np.maximum,
    "Min": np.minimum,
}
# origin → values on the grid, and how many operators lie between
Followed = dict[str, tuple[Curve, int]]


def fuse_activations(graph: Graph) -> None:
    """Write each value that is an activation of another as that one operator."""
    with np.errstate(all="ignore"):
        followed = _follow(graph)
    for node in reversed(list(graph.nodes)):
        if len(node.outputs) == 1 and node in graph.nodes:
            found = _largest(followed.get(node.output, {}))
            if found is not None and not _is_written(graph, node, *found):
                _write(graph, node, *found)
                graph.drop_unused()


def _follow(graph: Graph) -> dict[str, Followed]:
    """Return each value as a function of the values that it can be seen as one of."""
    known: dict[str, Followed] = {}
    for node in graph.nodes:
        found = _computed(graph, node, known)
        for output in node.outputs:
            known[output] = {**found, output: (_GRID, 0)}
    return known


def _computed(graph: Graph, node: Node, known: dict[str, Followed]) -> Followed:
    if node.op in ("Clip", "HardSigmoid") or node.op in _UNARY:
        return _applied(lambda x: _unary(graph, node, x), known.get(node.inputs[0], {}))
    if node.op not in _BINARY or len(node.inputs) != 2:
        return {}
    function = _BINARY[node.op]
    first, second = (graph.scalar(name) for name in node.inputs)
    if second is not None:
        return _applied(lambda x: function(x, np.asarray(second)), known.get(node.inputs[0], {}))
    if first is not None:
        return _applied(lambda x: function(np.asarray(first), x), known.get(node.inputs[1], {}))
    left, right = (known.get(name, {name: (_GRID, 0)}) for name in node.inputs)
    return {
        origin: (function(left[origin][0], right[origin][0]), count)
        for origin in left.keys() & right.keys()
        if (count := left[origin][1] + right[origin][1] + 1) <= _LONGEST
    }


def _applied(function: Callable[[Curve], Curve], inputs: Followed) -> Followed:
    return {
        origin: (function(curve), count + 1)
        for origin, (curve, count) in inputs.items()
        if count < _LONGEST
    }


def _unary(graph: Graph, node: Node, x: Curve) -> Curve:
    if node.op == "Clip":
        low, high = (graph.scalar(node.input(at)) for at in (1, 2))
        least, most = -np.inf if low is None else low, np.inf if high is None else high
        return np.asarray(np.clip(x, least, most), np.float64)
    if node.op == "HardSigmoid":
        alpha, beta = node.attributes.get("alpha", 0.2), node.attributes.get("beta", 0.5)
        return np.asarray(np.clip(alpha * x + beta, 0, 1), np.float64)
    return _UNARY[node.op](x)


def _largest(followed: Followed) -> tuple[str, Activation] | None:
    """Return the activation of most operators that a value is, and of which value."""
    for origin, (curve, count) in sorted(followed.items(), key=lambda each: -each[1][1]):
        for activation in ACTIVATIONS if count else ():
            if np.allclose(curve, activation.curve, rtol=_TOLERANCE, atol=_TOLERANCE):
                return origin, activation
    return None


def _is_written(graph: Graph, node: Node, origin: str, activation: Activation) -> bool:
    if node.op != activation.op or node.inputs[0] != origin:
        return False
    return node.op != "Clip" or all(node.input(at) in graph.constants for at in (1, 2))


def _write(graph: Graph, node: Node, origin: str, activation: Activation) -> None:
    limits = [graph.add_constant("limit", np.array(each, np.float32)) for each in activation.limits]
    node.op, node.domain = activation.op, activation.domain
    node.inputs, node.attributes = [origin, *limits], dict(activation.attributes or {})
    graph.changed()
    if activation.op == "Identity":
        graph.bypass(node)
    elif activation.domain:
        graph.add_function(function_of(activation.op))
