"""A graph as a TensorFlow function, channels last, with hooks where values and weights are made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnx
import tensorflow as tf

from hemline.errors import StorageError
from hemline.export.graph.editing import Graph, Node, with_batch_of_one
from hemline.export.graph.rebuilding.context import Context
from hemline.export.graph.rebuilding.values import Value
from hemline.export.graph.refusals import require_known
from hemline.export.graph.table import OPERATORS
from hemline.runtime.backends import attribute

Activation = Callable[[str, tf.Tensor], tf.Tensor]
Constant = Callable[[str, npt.NDArray[Any]], Any]
Kernel = Callable[[str, Any, "int | None"], Any]


def _activation(name: str, value: tf.Tensor) -> tf.Tensor:
    del name
    return value


def _constant(name: str, values: npt.NDArray[Any]) -> Any:
    del name
    return values


def _kernel(name: str, values: Any, channel_axis: int | None) -> Any:
    del name, channel_axis
    return values


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """What is done with the values of a graph while it is rebuilt.

    activation: called with the name and tensor of each value, the image first; it returns the
        tensor that is read in its place. Dimensions lie in TensorFlow's order, channels last.
    constant: called with the name and array of each constant, in the order of the graph; it returns
        the array, or for weights and biases a tensor or variable of the same shape.
    kernel: called with the name, values and axis of the output channels of the weights of each
        convolution; dense layers have weights (inputs, outputs) and no axis (None).
    """

    activation: Activation = _activation
    constant: Constant = _constant
    kernel: Kernel = _kernel


class Rebuilt:
    """A graph that computes with TensorFlow: call it with float images (n, h, w, c)."""

    def __init__(self, proto: onnx.ModelProto, hooks: Hooks = Hooks()) -> None:
        """Read a normalized graph; raises FileFormatError for an operator without a row."""
        self.graph = Graph(with_batch_of_one(proto))
        self.hooks = hooks
        require_known(self.graph)

    def __call__(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the outputs by name."""
        values = {
            name: Value.plain(self.hooks.constant(name, each))
            for name, each in self.graph.constants.items()
        }
        given = self.hooks.activation(self.graph.image, image)
        values[self.graph.image] = Value.plain(given)
        for node in self.graph.nodes:
            with tf.name_scope(node.output):  # of TFLite's tensors, too
                self._compute(node, values)
        return {name: tf.identity(values[name].in_order, name) for name in self.graph.outputs}

    def _compute(self, node: Node, values: dict[str, Value]) -> None:
        inputs = [values[name] if name else None for name in node.inputs]
        context = Context(node=node, graph=self.graph, kernel=self.hooks.kernel)
        found = attribute(OPERATORS[node.op])(context, *inputs)
        made = found if isinstance(found, list) else [found]
        for name, value in zip(node.outputs, made, strict=False):
            tensor = self.hooks.activation(name, value.tensor)
            values[name] = value.with_tensor(tensor)


def saved_model(proto: onnx.ModelProto, folder: Path | str, hooks: Hooks = Hooks()) -> None:
    """Write a normalized graph as a SavedModel with a signature: float32 (n, h, w, c) in.

    Raises StorageError where there is no room.
    """
    rebuilt = Rebuilt(proto, hooks)
    shape = rebuilt.graph.shape(rebuilt.graph.image)[1:]
    module = tf.Module()
    module.serve = tf.function(
        rebuilt.__call__,
        autograph=False,
        input_signature=[tf.TensorSpec((None, *shape), tf.float32, name=rebuilt.graph.image)],
    )
    try:
        tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})
    except tf.errors.OpError as error:
        raise StorageError(
            f"cannot write the model into {folder} ({type(error).__name__}): free some space, or "
            "set TMPDIR to another folder"
        ) from error
