"""What no graph is made from: random operators, control flow, quantized and foreign operators."""

from __future__ import annotations

import onnx

from hemline.errors import FileFormatError
from hemline.export.graph.editing import Graph
from hemline.export.graph.table import OPERATORS

_RANDOM = {
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
    "Multinomial",
    "Bernoulli",
}
_CONTROL = {"If", "Loop", "Scan", "SequenceMap"}
_QUANTIZED = {
    "QuantizeLinear",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "QLinearConv",
    "QLinearMatMul",
    "ConvInteger",
    "MatMulInteger",
}


def require_importable(proto: onnx.ModelProto) -> None:
    """Raise FileFormatError, naming operator and node, for what no float graph can be made from.

    Control flow is looked for after simplification only: where shapes decide, none is left then.
    """
    functions = {(each.domain, each.name) for each in proto.functions}
    for node in proto.graph.node:
        if node.domain not in ("", "ai.onnx") and (node.domain, node.op_type) not in functions:
            raise _refused(
                node, f"it is not a standard operator but belongs to the domain {node.domain}"
            )
        if node.op_type in _RANDOM:
            raise _refused(node, "it returns random values; export the model for inference")
        if node.op_type in _QUANTIZED:
            raise _refused(node, "the model is already quantized; use the float model")
        if node.op_type == "Dropout" and _trains(proto, node):
            raise _refused(node, "it is random dropout; export the model for inference")
        if node.op_type == "BatchNormalization" and len([each for each in node.output if each]) > 1:
            raise _refused(node, "it is a training operator; export the model for inference")


def require_no_control_flow(proto: onnx.ModelProto) -> None:
    """Raise FileFormatError for a loop or branch that is left in a simplified graph."""
    for node in proto.graph.node:
        if node.op_type in _CONTROL:
            raise _refused(node, "control flow is not supported on small devices")


def require_known(graph: Graph) -> None:
    """Raise FileFormatError for an operator of a graph that has no row in OPERATORS."""
    for node in graph.nodes:
        if node.op not in OPERATORS:
            raise node.refusal("it cannot be converted for TensorFlow")


def _trains(proto: onnx.ModelProto, node: onnx.NodeProto) -> bool:
    """Return whether a Dropout has a training mode that is on, or that the model computes."""
    if len(node.input) < 3 or not node.input[2]:
        return False
    for each in proto.graph.initializer:
        if each.name == node.input[2]:
            return bool(onnx.numpy_helper.to_array(each))
    for each in proto.graph.node:
        if each.op_type == "Constant" and each.output[0] == node.input[2]:
            return bool(onnx.numpy_helper.to_array(each.attribute[0].t))
    return True


def _refused(node: onnx.NodeProto, reason: str) -> FileFormatError:
    name = node.name or (node.output[0] if node.output else "without a name")
    return FileFormatError(f"operator {node.op_type} (node {name}): {reason}")
