"""Write an int8 TFLite graph as the C compiler reads it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from hemline.model_files.flatbuffer import packed, unpacked

_CODES, _INT8 = schema.BuiltinOperator, schema.TensorType.INT8
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
_BY_CODE = {getattr(_CODES, kind): version for kind, version in VERSIONS.items()}
MEAN = "hemline mean "  # begins the name of a kernel that stands for a mean
_WITHOUT_BIAS = 6  # version of FULLY_CONNECTED
_WITH_BIAS = (_CODES.CONV_2D, _CODES.DEPTHWISE_CONV_2D, _CODES.FULLY_CONNECTED)


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
        if wanted in operator.outputs and _code(model, operator) == _CODES.SOFTMAX:
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
    writer = _Writer(model)
    operators = []
    for operator in model.subgraphs[0].operators:
        operators += writer.mean(operator) if writer.is_mean_of_image(operator) else [operator]
    model.subgraphs[0].operators = operators
    for operator in operators:
        writer.conform(operator)
    return packed(model)


def grid_of_output(content: bytes) -> tuple[float, int]:
    """Return scale and zero point of the only output."""
    graph = unpacked(content).subgraphs[0]
    grid = graph.tensors[int(graph.outputs[0])].quantization
    return float(grid.scale[0]), int(grid.zeroPoint[0])


def _code(model: Any, operator: Any) -> int:
    code = model.operatorCodes[operator.opcodeIndex]
    return max(int(code.builtinCode), int(code.deprecatedBuiltinCode))


class _Writer:
    def __init__(self, model: Any) -> None:
        self._model, self._tensors = model, model.subgraphs[0].tensors

    def conform(self, operator: Any) -> None:
        """Set version, options of RESHAPE and the scale of a bias.

        bakenn demands a bias scale of input × weights to the last bit; TFLite's kernels multiply
        these two and never look at it.
        """
        code = _code(self._model, operator)
        has_bias = len(operator.inputs) > 2 and operator.inputs[2] >= 0
        if code == _CODES.RESHAPE and operator.builtinOptions is None:  # the sizes are an input
            operator.builtinOptionsType = schema.BuiltinOptions.ReshapeOptions
            operator.builtinOptions = schema.ReshapeOptionsT()
        if code in _WITH_BIAS and has_bias:
            entry, weights, bias = (self._tensors[at].quantization for at in operator.inputs)
            if all(grid is not None and grid.scale is not None for grid in (entry, weights, bias)):
                bias.scale = np.float32(entry.scale[0]) * np.asarray(weights.scale, np.float32)
        if code in _BY_CODE:
            bare = code == _CODES.FULLY_CONNECTED and not has_bias
            operator.opcodeIndex = self._opcode(code, _WITHOUT_BIAS if bare else _BY_CODE[code])

    def is_mean_of_image(self, operator: Any) -> bool:
        """Tell whether it is a mean over axes 1 and 2 of int8 (1, height, width, channels)."""
        if _code(self._model, operator) != _CODES.MEAN:
            return False
        source, axes = (self._tensors[at] for at in operator.inputs)
        data = self._model.buffers[axes.buffer].data
        if data is None or len(source.shape) != 4 or source.type != _INT8:
            return False
        return sorted(np.frombuffer(bytes(data), np.int32) % 4) == [1, 2]

    def mean(self, operator: Any) -> list[Any]:
        """Return a depthwise convolution with a kernel of ones, each worth 1 ÷ (height × width).

        It multiplies the sum of (stored − zero point) by input scale ÷ (height × width × output
        scale), as TFLite's kernels of MEAN do.
        """
        (source, _), (result,) = operator.inputs, operator.outputs
        _, height, width, channels = (int(size) for size in self._tensors[source].shape)
        target, grid = self._tensors[result], schema.QuantizationParametersT()
        grid.scale = np.full(channels, 1 / (height * width), np.float32)
        grid.zeroPoint, grid.quantizedDimension = np.zeros(channels, np.int64), 3
        kernel = np.ones((1, height, width, channels), np.int8)
        ones = self._tensor(_INT8, kernel, grid, name=f"{MEAN}{result}")
        options = schema.DepthwiseConv2DOptionsT()
        options.padding, options.depthMultiplier = schema.Padding.VALID, 1
        options.strideH = options.strideW = options.dilationHFactor = options.dilationWFactor = 1
        pixel = np.empty((1, 1, 1, channels), np.int8)
        mean = self._tensor(_INT8, pixel, target.quantization, constant=False)
        convolution = self._operator(_CODES.DEPTHWISE_CONV_2D, [source, ones], mean)
        convolution.builtinOptionsType = schema.BuiltinOptions.DepthwiseConv2DOptions
        convolution.builtinOptions = options
        sizes = self._tensor(schema.TensorType.INT32, np.array(target.shape, np.int32))
        return [convolution, self._operator(_CODES.RESHAPE, [mean, sizes], result)]

    def _tensor(
        self,
        kind: int,
        values: npt.NDArray[Any],
        grid: Any = None,
        *,
        name: str = "added",
        constant: bool = True,
    ) -> int:
        tensor = schema.TensorT()
        tensor.name = name.encode()
        tensor.shape, tensor.type, tensor.hasRank = np.array(values.shape, np.int32), kind, True
        tensor.quantization, tensor.buffer = grid, 0  # 0: without data
        if constant:
            tensor.buffer, buffer = len(self._model.buffers), schema.BufferT()
            buffer.data = np.frombuffer(values.tobytes(), np.uint8)
            self._model.buffers.append(buffer)
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def _operator(self, code: int, inputs: list[int], output: int) -> Any:
        operator = schema.OperatorT()
        operator.opcodeIndex = self._opcode(code, _BY_CODE[code])
        operator.inputs = np.array(inputs, np.int32)
        operator.outputs = np.array([output], np.int32)
        return operator

    def _opcode(self, code: int, version: int) -> int:
        entry = schema.OperatorCodeT()
        entry.builtinCode = entry.deprecatedBuiltinCode = code
        entry.version = version
        self._model.operatorCodes.append(entry)
        return len(self._model.operatorCodes) - 1
