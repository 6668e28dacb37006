"""A TensorFlow function as ONNX, with all that it holds as constants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tf2onnx
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from hemline.export.sources.keras_onnx import HANDLERS, running_tf2onnx

_OPSET = 17


def frozen_onnx(function: Callable[[Any], Any], shape: tuple[int, ...]) -> Any:
    """Return a function of images (n, *shape) as a float32 ONNX ModelProto with an open batch.

    It is frozen first: tf2onnx would turn tensors that the function captured into missing inputs.
    """
    signature = [tf.TensorSpec((None, *shape), tf.float32, name="image")]
    traced = tf.function(function, input_signature=signature, autograph=False)
    constant = convert_variables_to_constants_v2(traced.get_concrete_function())
    definition = _inlinable(constant.graph.as_graph_def())
    with running_tf2onnx():
        proto, _ = tf2onnx.convert.from_graph_def(
            definition,
            input_names=[tensor.name for tensor in constant.inputs],
            output_names=[tensor.name for tensor in constant.outputs],
            opset=_OPSET,
            custom_op_handlers=HANDLERS,
        )
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    return proto


def _inlinable(definition: Any) -> Any:
    """Return a graph whose functions tf2onnx can inline, also those that XLA would compile.

    Keras calls grouped convolutions so.
    """
    functions = definition.library.function
    for node in (*definition.node, *(each for one in functions for each in one.node_def)):
        node.attr.pop("_XlaMustCompile", None)
    for function in functions:
        function.attr.pop("_XlaMustCompile", None)
        function.attr.pop("_noinline", None)
    return definition
