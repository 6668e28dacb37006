"""Models of one operator: what a runtime does with just this shape, and what it reaches at most."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

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
    kind = "DEPTHWISE_CONV_2D" if layer.depthwise else "CONV_2D"
    options = {"padding": _SAME, "strideH": layer.stride, "strideW": layer.stride}
    shape = (1, kernel, kernel, channels) if layer.depthwise else (channels, kernel, kernel, inner)
    return _tflite(
        kind,
        options | ({"depthMultiplier": 1} if layer.depthwise else {}),
        _activation((1, layer.height, layer.width, layer.channels_in), layer.arithmetic),
        *_weights(kind, shape, layer.arithmetic),
        _activation((1, height, width, channels), layer.arithmetic),
    )


def one_product(rows: int, inner: int, columns: int, arithmetic: Arithmetic, to: Format) -> bytes:
    """Return a model of one product of matrices (rows, inner) · (inner, columns); raises likewise.

    The second one is weights.
    """
    if to == "onnx":
        return _onnx("MatMul", (rows, inner), (inner, columns), (rows, columns), arithmetic)
    kind, ends = "FULLY_CONNECTED", ((rows, inner), (rows, columns))
    given, made = (_activation(shape, arithmetic) for shape in ends)
    return _tflite(kind, {}, given, *_weights(kind, (columns, inner), arithmetic), made)


def one_addition(elements: int, to: Format) -> bytes:
    """Return a model that adds two float32 vectors and does next to nothing else."""
    if to == "onnx":  # an output would be copied
        return _parsed(
            f"(float[{elements}] x, float[{elements}] y) => (float[1] z)",
            "sum = Add(x, y) z = Gather(sum, first)",
            {"first": np.zeros(1, np.int64)},
        )
    return _tflite("ADD", {}, *(_activation((1, elements)) for _ in range(3)))


def nothing(to: Format) -> bytes:
    """Return a model that takes 16 values and computes nothing of them."""
    if to == "onnx":
        return _parsed("(float[1,16] x) => (float y)", "y = Constant<value_float = 0.0>()", {})
    return _tflite("RESHAPE", {"newShape": [16]}, _activation((1, 16)), _activation((16,)))


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


class _Tensor(NamedTuple):
    shape: tuple[int, ...]
    dtype: str
    steps: tuple[float, ...] = ()
    axis: int = 0
    stored: npt.NDArray[Any] | None = None


def _activation(shape: tuple[int, ...], arithmetic: Arithmetic = "float32") -> _Tensor:
    whole = arithmetic == "int8"
    return _Tensor(shape, "int8" if whole else "float32", (_STEP,) if whole else ())


def _weights(kind: str, shape: tuple[int, ...], arithmetic: Arithmetic) -> tuple[_Tensor, _Tensor]:
    """Return weights and a bias; steps of a dense layer are one, as old runtimes want it."""
    axis = 3 if kind == "DEPTHWISE_CONV_2D" else 0
    channels, random = shape[axis], np.random.default_rng(0)
    steps = (_WEIGHT_STEP,) * (1 if kind == "FULLY_CONNECTED" else channels)
    bias = np.zeros(channels, np.int32 if arithmetic == "int8" else np.float32)
    bias_steps = tuple(_STEP * each for each in steps) if arithmetic == "int8" else ()
    made = _Tensor(bias.shape, bias.dtype.name, bias_steps, 0, bias)
    if arithmetic == "float32":
        return _Tensor(shape, "float32", (), 0, random.standard_normal(shape, np.float32)), made
    return _Tensor(shape, "int8", steps, axis, random.integers(-127, 128, shape, np.int8)), made


def _tflite(kind: str, options: dict[str, Any], *tensors: _Tensor) -> bytes:
    """Return a flatbuffer with one operator; the last of its tensors is the output."""
    try:
        from ai_edge_litert import schema_py_generated as schema

        from hemline.model_files.flatbuffer import add_tensor, operator_of, packed
    except ImportError as error:
        raise BackendError("litert is not installed: pip install ai-edge-litert") from error
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.subgraphs, model.operatorCodes = 3, [graph], []
    model.buffers, graph.tensors, last = [schema.BufferT()], [], len(tensors) - 1
    for number, each in enumerate(tensors):
        grid = schema.QuantizationParametersT()
        grid.scale, grid.zeroPoint = list(each.steps), [0] * len(each.steps)
        grid.quantizedDimension, steps = each.axis, grid if each.steps else None
        name = f"t{number}"
        add_tensor(model, each.shape, each.dtype, values=each.stored, grid=steps, name=name)
    made = getattr(schema, f"{_OPTIONS[kind]}T")()
    for option, value in options.items():
        setattr(made, option, value)
    graph.operators = [operator_of(model, kind, range(last), last, made)]
    graph.inputs = [at for at in range(last) if tensors[at].stored is None]
    graph.outputs = [last]
    return packed(model)
