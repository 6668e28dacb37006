"""Write ONNX files; ONNX Runtime's static quantization makes those of 8 bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from hemline.contract.specs import EMBEDDING, InputSpec, OutputSpec
from hemline.errors import HemlineError
from hemline.export.quantization.plan import QuantizationPlan
from hemline.export.sources.source import ModelSource
from hemline.export.writers.converted import ConvertedModel

_LAYOUT = {"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Identity"}  # they change no value


def convert_fp32(source: ModelSource, plan: QuantizationPlan | None) -> ConvertedModel:
    """Convert without quantization; float32 pixels in, float32 logits out."""
    del plan
    return _described(source.onnx)


def convert_int8(source: ModelSource, plan: QuantizationPlan | None) -> ConvertedModel:
    """Quantize by a plan (QDQ, uint8 activations); uint8 pixels in, float32 logits out."""
    if plan is None:
        raise HemlineError("int8 needs a quantization plan")
    proto = onnx.load_from_string(source.float_graph("onnx").quantized(plan))
    return _described(_with_own_dequantization(_with_pixel_input(proto)))


def _with_pixel_input(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Let uint8 pixels in where the graph took float pixels.

    Where it quantized them first, after layout changes only, that step goes: its scale must be 1
    and its zero point 0, so that it changed nothing. Where it works on them before that, as by
    resizing, they become float there.
    """
    graph = proto.graph
    name = graph.input[0].name
    passed = [name]
    while (node := _only_consumer(graph, name)) is not None and node.op_type in _LAYOUT:
        name = node.output[0]
        passed.append(name)
    if node is not None and node.op_type == "QuantizeLinear":
        _drop_quantization(graph, node, name)
    else:
        _dequantize(graph, name)
    for value in [value for value in graph.value_info if value.name in passed]:
        graph.value_info.remove(value)  # it said float
    graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
    return proto


def _with_own_dequantization(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Give each read of a value by one node a DequantizeLinear of its own.

    ONNX Runtime 1.12 breaks down where a node reads one twice, as where gray becomes 3 channels.
    """
    graph = proto.graph
    made_by = {node.output[0]: node for node in graph.node if node.op_type == "DequantizeLinear"}
    for node in list(graph.node):
        for at, name in enumerate(node.input):
            if name in made_by and name in node.input[:at]:
                own = f"{name}_{at}"
                copy = onnx.helper.make_node("DequantizeLinear", made_by[name].input, [own])
                copy.attribute.extend(made_by[name].attribute)  # the axis, where it has one
                graph.node.insert(list(graph.node).index(node), copy)
                node.input[at] = own
    onnx.checker.check_model(proto, full_check=True)
    return proto


def _drop_quantization(graph: onnx.GraphProto, node: onnx.NodeProto, name: str) -> None:
    """Have what reads the output of a QuantizeLinear read `name` instead, which it read."""
    values = {value.name: onnx.numpy_helper.to_array(value) for value in graph.initializer}
    scale, zero_point = float(values[node.input[1]]), int(values[node.input[2]])
    if (scale, zero_point) != (1.0, 0):
        raise HemlineError(f"input came out as scale {scale}, zero point {zero_point}: report this")
    graph.node.remove(node)
    _rename(graph, node.output[0], name)


def _dequantize(graph: onnx.GraphProto, name: str) -> None:
    """Have what reads `name`, now uint8, read its value as float32."""
    parts = ("scale", "zero_point", "pixels")
    scale, zero_point, pixels = (f"{graph.input[0].name}_{part}" for part in parts)
    _rename(graph, name, pixels)
    graph.initializer.extend(
        [
            onnx.numpy_helper.from_array(np.float32(1), scale),
            onnx.numpy_helper.from_array(np.uint8(0), zero_point),
        ]
    )
    node = onnx.helper.make_node("DequantizeLinear", [name, scale, zero_point], [pixels])
    made = [at for at, other in enumerate(graph.node) if name in other.output]
    graph.node.insert(made[0] + 1 if made else 0, node)


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        node.input[:] = [new if each == old else each for each in node.input]


def _only_consumer(graph: onnx.GraphProto, name: str) -> onnx.NodeProto | None:
    consumers = [node for node in graph.node if name in node.input]
    return consumers[0] if len(consumers) == 1 else None


def _described(proto: onnx.ModelProto) -> ConvertedModel:
    source = proto.graph.input[0]
    _, height, width, channels = _dimensions(source)
    input_dtype: Any = _dtype(source)
    return ConvertedModel(
        content=proto.SerializeToString(),
        input=InputSpec(height=height, width=width, channels=channels, dtype=input_dtype),
        outputs=tuple(_output(value, at) for at, value in enumerate(proto.graph.output)),
    )


def _output(value: onnx.ValueInfoProto, position: int) -> OutputSpec:
    dtype: Any = _dtype(value)
    return OutputSpec(
        name=value.name,
        role="embedding" if value.name == EMBEDDING else "logits",
        size=_dimensions(value)[1],
        dtype=dtype,
        position=position,
    )


def _dimensions(value: onnx.ValueInfoProto) -> list[int]:
    return [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]


def _dtype(value: onnx.ValueInfoProto) -> str:
    return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)).name
