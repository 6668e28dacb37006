"""Write an int8 TFLite graph as the C compiler reads it."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from hemline.model_files.flatbuffer import (
    add_tensor,
    code_of,
    kind_of,
    operator_of,
    packed,
    unpacked,
)

# What bakenn compiles, in the version that it asks for: it checks types and options by itself.
VERSIONS = {
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "FULLY_CONNECTED": 4,
    "ADD": 2,
    "AVERAGE_POOL_2D": 2,
    "MAX_POOL_2D": 2,
    "RESHAPE": 1,
    "PAD": 2,
    "PADV2": 2,
}
MEAN = "hemline mean "  # begins the name of a kernel that stands for a mean
_WITHOUT_BIAS = 6  # version of FULLY_CONNECTED
_WITH_BIAS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


def logits_of_one_image(content: bytes, position: int) -> bytes:
    """Return a model that accepts one image and has one of its outputs, without a softmax.

    A softmax does not change which class is best, and no C is made for it.
    """
    model = unpacked(content)
    graph = model.subgraphs[0]
    for tensor in graph.tensors:
        tensor.shapeSignature = None  # it has -1 where the shape, with one image, has 1
    wanted, kept = int(graph.outputs[position]), []
    needed = {wanted}
    for operator in reversed(graph.operators):
        if wanted in operator.outputs and kind_of(model, operator) == "SOFTMAX":
            wanted = int(operator.inputs[0])
            needed = {wanted}
        elif needed & set(map(int, operator.outputs)):
            needed |= set(map(int, operator.inputs))
            kept.append(operator)
    graph.outputs, graph.operators = np.array([wanted], np.int32), kept[::-1]
    model.signatureDefs = None  # they name outputs that are not there any more
    return packed(model)


def compilable(content: bytes) -> bytes:
    """Return the same model with means as convolutions, and versions and scales as bakenn asks."""
    model = unpacked(content)
    graph, operators = model.subgraphs[0], []
    for operator in graph.operators:
        is_mean = _is_mean_of_image(model, operator)
        operators += _mean(model, operator) if is_mean else [operator]
    graph.operators = operators
    for operator in operators:
        _conform(model, operator)
    return packed(model)


def _conform(model: Any, operator: Any) -> None:
    """Set version, options of RESHAPE and the scale of a bias.

    bakenn demands a bias scale of input × weights to the last bit; TFLite's kernels multiply these
    two and never look at it.
    """
    kind, tensors = kind_of(model, operator), model.subgraphs[0].tensors
    has_bias = len(operator.inputs) > 2 and operator.inputs[2] >= 0
    if kind == "RESHAPE" and operator.builtinOptions is None:  # the sizes are an input
        operator.builtinOptionsType = schema.BuiltinOptions.ReshapeOptions
        operator.builtinOptions = schema.ReshapeOptionsT()
    if kind in _WITH_BIAS and has_bias:
        entry, weights, bias = (tensors[at].quantization for at in operator.inputs)
        if all(grid is not None and grid.scale is not None for grid in (entry, weights, bias)):
            bias.scale = np.float32(entry.scale[0]) * np.asarray(weights.scale, np.float32)
    if kind in VERSIONS:
        bare = kind == "FULLY_CONNECTED" and not has_bias
        operator.opcodeIndex = code_of(model, kind, _WITHOUT_BIAS if bare else VERSIONS[kind])


def _is_mean_of_image(model: Any, operator: Any) -> bool:
    """Tell whether it is a mean over axes 1 and 2 of int8 (1, height, width, channels)."""
    if kind_of(model, operator) != "MEAN":
        return False
    source, axes = (model.subgraphs[0].tensors[at] for at in operator.inputs)
    data = model.buffers[axes.buffer].data
    if data is None or len(source.shape) != 4 or source.type != schema.TensorType.INT8:
        return False
    return sorted(np.frombuffer(bytes(data), np.int32) % 4) == [1, 2]


def _mean(model: Any, operator: Any) -> list[Any]:
    """Return a depthwise convolution with a kernel of ones, each worth 1 ÷ (height × width).

    It multiplies the sum of (stored − zero point) by input scale ÷ (height × width × output scale),
    as TFLite's kernels of MEAN do.
    """
    tensors, (source, _), (result,) = (
        model.subgraphs[0].tensors,
        operator.inputs,
        operator.outputs,
    )
    _, *size, channels = (int(each) for each in tensors[source].shape)
    target, grid = tensors[result], schema.QuantizationParametersT()
    grid.scale = np.full(channels, 1 / np.prod(size), np.float32)
    grid.zeroPoint, grid.quantizedDimension = np.zeros(channels, np.int64), 3
    ones = np.ones((1, *size, channels), np.int8)
    kernel = add_tensor(model, ones.shape, "int8", values=ones, grid=grid, name=f"{MEAN}{result}")
    mean = add_tensor(model, (1, 1, 1, channels), "int8", grid=target.quantization)
    options = schema.DepthwiseConv2DOptionsT()
    options.padding, options.depthMultiplier = schema.Padding.VALID, 1
    options.strideH = options.strideW = options.dilationHFactor = options.dilationWFactor = 1
    shape = np.array(target.shape, np.int32)
    sizes = add_tensor(model, shape.shape, "int32", values=shape)
    return [
        operator_of(model, "DEPTHWISE_CONV_2D", [source, kernel], mean, options),
        operator_of(model, "RESHAPE", [mean, sizes], result),
    ]
