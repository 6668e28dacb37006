"""Models of one operator: what a runtime does with just this shape, and what it reaches at most."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from hemline.contract.specs import Format
from hemline.errors import BackendError

Arithmetic = Literal["float32", "int8", "dynamic"]  # dynamic: 8-bit weights only, in TFLite only
_STEP, _WEIGHT_STEP = 0.05, 0.01  # any grid: values decide nothing about the time
_MIDDLE = 128  # of the uint8 grid of an ONNX model
_SAME = 0  # padding of TFLite
_OPTIONS = {
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "ADD": "AddOptions",
    "RESHAPE": "ReshapeOptions",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Convolution:
    """A convolution that pads its input by zeros, so that only the stride makes it smaller.

    height, width: of the input, pixels.
    kernel: height and width.
    depthwise: whether each channel has a kernel of its own; channels_out is not used then.
    """

    height: int
    width: int
    channels_in: int
    channels_out: int
    kernel: int = 3
    stride: int = 1
    depthwise: bool = False
    arithmetic: Arithmetic = "float32"

    @property
    def output(self) -> tuple[int, int, int]:
        """Return height, width and channels of the output."""
        channels = self.channels_in if self.depthwise else self.channels_out
        return (-(-self.height // self.stride), -(-self.width // self.stride), channels)

    @property
    def macs(self) -> int:
        """Return the multiply-accumulates of one image."""
        inner = 1 if self.depthwise else self.channels_in
        return math.prod(self.output) * self.kernel**2 * inner


def one_convolution(layer: Convolution, file_format: Format) -> bytes:
    """Return a model of one convolution with random weights; int8 in and out if it computes so.

    Raises BackendError without the package that writes the format, ValueError for a dynamic ONNX.
    """
    kernel, inner = layer.kernel, 1 if layer.depthwise else layer.channels_in
    height, width, channels = layer.output
    if file_format == "onnx":
        pads = [(kernel - 1) // 2] * 2 + [kernel // 2] * 2  # a stride needs less of it at most
        group = layer.channels_in if layer.depthwise else 1
        return _onnx(
            f"Conv<strides = {[layer.stride] * 2}, pads = {pads}, group = {group}>",
            (1, layer.channels_in, layer.height, layer.width),
            (channels, inner, kernel, kernel),
            (1, channels, height, width),
            layer.arithmetic,
        )
    place = (1, kernel, kernel, channels) if layer.depthwise else (channels, kernel, kernel, inner)
    options = {"padding": _SAME, "strideH": layer.stride, "strideW": layer.stride}
    return _tflite(
        "DEPTHWISE_CONV_2D" if layer.depthwise else "CONV_2D",
        options | ({"depthMultiplier": 1} if layer.depthwise else {}),
        (1, layer.height, layer.width, layer.channels_in),
        place,
        (1, height, width, channels),
        layer.arithmetic,
    )


def one_product(rows: int, inner: int, columns: int, arithmetic: Arithmetic, to: Format) -> bytes:
    """Return a model of one product of matrices (rows, inner) · (inner, columns); raises likewise.

    The second one is weights.
    """
    shapes = (rows, inner), (inner, columns), (rows, columns)
    if to == "onnx":
        return _onnx("MatMul", *shapes, arithmetic)
    return _tflite("FULLY_CONNECTED", {}, shapes[0], (columns, inner), shapes[2], arithmetic)


def one_addition(elements: int, to: Format) -> bytes:
    """Return a model that adds two float32 vectors and does next to nothing else."""
    if to == "onnx":  # an output would be copied
        return _parsed(
            f"(float[{elements}] x, float[{elements}] y) => (float[1] z)",
            "sum = Add(x, y) z = Gather(sum, first)",
            {"first": np.zeros(1, np.int64)},
        )
    shape = (1, elements)
    return _tflite("ADD", {}, shape, shape, shape, "float32", stored=False)


def nothing(to: Format) -> bytes:
    """Return a model that takes 16 values and computes nothing of them."""
    if to == "onnx":
        return _parsed("(float[1,16] x) => (float y)", "y = Constant<value_float = 0.0>()", {})
    return _tflite("RESHAPE", {"newShape": [16]}, (1, 16), (), (16,), "float32", stored=False)


def _onnx(
    operator: str,
    values: tuple[int, ...],
    weights: tuple[int, ...],
    made: tuple[int, ...],
    arithmetic: Arithmetic,
) -> bytes:
    random = np.random.default_rng(0)
    if arithmetic == "float32":
        stored = random.standard_normal(weights, np.float32)
        interface = f"(float{[*values]} x) => (float{[*made]} y)"
        return _parsed(interface, f"y = {operator}(x, weights)", {"weights": stored})
    if arithmetic != "int8":
        raise ValueError(f"no ONNX model computes in {arithmetic}")
    return _parsed(
        f"(uint8{[*values]} x) => (uint8{[*made]} y)",
        "read = DequantizeLinear(x, step, middle)"
        "kernel = DequantizeLinear(weights, weight_step)"
        f"sum = {operator}(read, kernel)"
        "y = QuantizeLinear(sum, step, middle)",
        {
            "weights": random.integers(-127, 128, weights, np.int8),
            "step": np.float32(_STEP),
            "weight_step": np.float32(_WEIGHT_STEP),
            "middle": np.uint8(_MIDDLE),
        },
    )


def _parsed(interface: str, nodes: str, constants: dict[str, Any]) -> bytes:
    try:
        import onnx
    except ImportError as error:
        raise BackendError("onnx is not installed: pip install onnx") from error
    head = '<ir_version: 8, opset_import: ["": 17]>'
    model = onnx.parser.parse_model(f"{head} one {interface} {{ {nodes} }}")
    stored = [onnx.numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()]
    model.graph.initializer.extend(stored)
    content: bytes = model.SerializeToString()
    return content


def _tflite(
    kind: str,
    options: dict[str, Any],
    values: tuple[int, ...],
    operand: tuple[int, ...],
    made: tuple[int, ...],
    arithmetic: Arithmetic,
    *,
    stored: bool = True,
) -> bytes:
    """Return a flatbuffer; the operand is weights if it is stored, else one more input, if any."""
    file, random, whole = _Flatbuffer(), np.random.default_rng(0), arithmetic == "int8"
    dtype, steps = ("int8", (_STEP,)) if whole else ("float32", ())
    taken = [values] if stored or not operand else [values, operand]
    inputs = [file.tensor(shape, dtype, steps) for shape in taken]
    weights: list[int] = []
    if stored:
        axis = 3 if kind == "DEPTHWISE_CONV_2D" else 0
        # old runtimes refuse dense layers with a grid for each channel
        scales = (_WEIGHT_STEP,) * (1 if kind == "FULLY_CONNECTED" else operand[axis])
        numbers: Any = random.standard_normal(operand, np.float32)
        if arithmetic != "float32":
            numbers = random.integers(-127, 128, operand, np.int8)
        weights.append(file.stored(numbers, () if arithmetic == "float32" else scales, axis))
        bias = np.zeros(operand[axis], np.int32 if whole else np.float32)
        weights.append(file.stored(bias, tuple(_STEP * each for each in scales) if whole else ()))
    return file.content(kind, options, inputs, weights, file.tensor(made, dtype, steps))


class _Flatbuffer:
    """A TFLite model of one operator, by the schema that LiteRT brings."""

    def __init__(self) -> None:
        try:
            from ai_edge_litert import schema_py_generated as schema
        except ImportError as error:
            raise BackendError("litert is not installed: pip install ai-edge-litert") from error
        self._schema: Any = schema
        self._model, self._graph = schema.ModelT(), schema.SubGraphT()
        self._graph.tensors = []
        self._model.buffers = [schema.BufferT()]  # of what is computed

    def tensor(
        self, shape: tuple[int, ...], dtype: str, steps: tuple[float, ...], axis: int = 0
    ) -> int:
        """Add a tensor; return its number."""
        made = self._schema.TensorT()
        made.name, made.shape = f"t{len(self._graph.tensors)}", list(shape)
        made.type, made.buffer = getattr(self._schema.TensorType, dtype.upper()), 0
        if steps:
            made.quantization = self._schema.QuantizationParametersT()
            made.quantization.scale, made.quantization.zeroPoint = list(steps), [0] * len(steps)
            made.quantization.quantizedDimension = axis
        self._graph.tensors.append(made)
        return len(self._graph.tensors) - 1

    def stored(self, values: npt.NDArray[Any], steps: tuple[float, ...], axis: int = 0) -> int:
        """Add a tensor with its values; return its number."""
        number = self.tensor(values.shape, values.dtype.name, steps, axis)
        self._graph.tensors[number].buffer = len(self._model.buffers)
        buffer = self._schema.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        self._model.buffers.append(buffer)
        return number

    def content(
        self, kind: str, options: dict[str, Any], inputs: list[int], weights: list[int], output: int
    ) -> bytes:
        """Return the file, with its operator."""
        from hemline.model_files.flatbuffer import packed

        schema, code = self._schema, self._schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, kind)
        code.version, operator = 1, schema.OperatorT()
        operator.inputs, operator.outputs = [*inputs, *weights], [output]
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, _OPTIONS[kind])
        operator.builtinOptions = getattr(schema, f"{_OPTIONS[kind]}T")()
        for option, value in options.items():
            setattr(operator.builtinOptions, option, value)
        self._graph.inputs, self._graph.outputs = inputs, [output]
        self._graph.operators, self._model.operatorCodes = [operator], [code]
        self._model.version, self._model.subgraphs = 3, [self._graph]
        return packed(self._model)
