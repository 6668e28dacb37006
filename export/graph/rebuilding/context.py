"""A node on its way into TensorFlow, and the form in which maps are held."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hemline.export.graph.editing import Graph, Node
from hemline.export.graph.rebuilding.values import Value, last

Kernel = Callable[[str, Any, "int | None"], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """A node on its way into TensorFlow.

    node: the node.
    graph: that it is of.
    kernel: what is called with its weights, see Hooks.
    """

    node: Node
    graph: Graph
    kernel: Kernel

    def get(self, name: str, default: Any = None) -> Any:
        """Return an attribute."""
        return self.node.attributes.get(name, default)

    @property
    def weights_name(self) -> str:
        """Return the name of the weights."""
        return self.node.inputs[1]

    @property
    def has_weights(self) -> bool:
        """Return whether the second input is a constant of the file, or stands for one."""
        return self.weights_name in self.graph.constants


Operator = Callable[..., "Value | list[Value]"]


def maps(tensor: Any) -> Value:
    """Return a tensor (n, …, c) as a value (n, c, …)."""
    n, *spatial, channels = tensor.shape
    return Value(tensor=tensor, axes=last(len(tensor.shape)), shape=(n, channels, *spatial))


def held_last(value: Value) -> Any:
    """Return the tensor of a map with its channels last."""
    return value.ordered(last(value.rank))
