"""Parameters and multiply-accumulates of an ONNX graph."""

from __future__ import annotations

import math

import onnx
from onnx import TensorProto, shape_inference

_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
Shape = tuple[int, ...]


def count_parameters(proto: onnx.ModelProto) -> int:
    """Return the number of scalars in the float constants of a graph."""
    floats = (each for each in proto.graph.initializer if each.data_type == TensorProto.FLOAT)
    return sum(math.prod(each.dims) for each in floats)


def count_macs(proto: onnx.ModelProto) -> int:
    """Return the multiply-accumulates of convolutions and matrix products for one image."""
    shapes = _shapes(proto)
    return sum(_macs(node, shapes) for node in proto.graph.node if node.op_type in _WEIGHTED)


def _shapes(proto: onnx.ModelProto) -> dict[str, Shape]:
    """Return the shape of each value, with 1 for an open batch."""
    graph = shape_inference.infer_shapes(proto).graph
    shapes = {each.name: tuple(each.dims) for each in graph.initializer}
    for value in (*graph.input, *graph.output, *graph.value_info):
        dims = value.type.tensor_type.shape.dim
        shapes[value.name] = tuple(dim.dim_value or 1 for dim in dims)
    return shapes


def _macs(node: onnx.NodeProto, shapes: dict[str, Shape]) -> int:
    first, second = (shapes.get(name, ()) for name in node.input[:2])
    made = math.prod(shapes.get(node.output[0], ()))
    if node.op_type == "Conv":  # each output is a sum over a kernel (out, in / groups, h, w)
        return made * math.prod(second[1:])
    if node.op_type == "ConvTranspose":  # each input goes into a kernel (in, out / groups, h, w)
        return math.prod(first) * math.prod(second[1:])
    transposed = any(each.name == "transA" and each.i for each in node.attribute)
    inner = first[0] if transposed else first[-1] if first else 0
    return made * inner
