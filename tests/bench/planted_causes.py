"""Models whose times have a known cause, and healthy ones, to profile on a real machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import flatbuffers
import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema

from hemline.bench.devices.local import LocalDevice
from hemline.bench.profiling.one_operator import one_addition
from hemline.bench.profiling.profiling import profile_model
from hemline.bench.profiling.timing import ModelTimer, TimedModel
from hemline.contract.profile import Profile
from hemline.contract.settings import DEFAULT, Settings
from hemline.runtime.backends import find_backend, version_of

_STEP, _WEIGHT_STEP = 0.05, 0.003  # of any grid: values decide nothing about the time
_OPERATORS = schema.BuiltinOperator


class Network:
    """A TFLite model, operator after operator."""

    def __init__(self, shape: tuple[int, ...], dtype: str = "float32") -> None:
        self._dtype, self._random = dtype, np.random.default_rng(0)
        self._buffers, self._codes = [schema.BufferT()], {}
        self._graph = schema.SubGraphT()
        self._graph.tensors, self._graph.operators = [], []
        self._last = self._tensor(shape, dtype)
        self._graph.inputs = [self._last]

    def convolution(self, channels: int, kernel: int = 3) -> Network:
        shape = [int(size) for size in self._graph.tensors[self._last].shape]
        place = (channels, kernel, kernel, shape[3])
        if self._dtype == "int8":
            stored = self._random.integers(-127, 128, place, np.int8)
            weights = self._tensor(place, "int8", stored, [_WEIGHT_STEP] * channels)
            steps = [_STEP * _WEIGHT_STEP] * channels
            bias = self._tensor((channels,), "int32", np.zeros(channels, np.int32), steps)
        else:
            values = self._random.standard_normal(place, np.float32)
            weights = self._tensor(place, "float32", values)
            bias = self._tensor((channels,), "float32", np.zeros(channels, np.float32))
        options = schema.Conv2DOptionsT()
        options.strideH = options.strideW = options.dilationHFactor = options.dilationWFactor = 1
        return self._add(
            "CONV_2D", [weights, bias], (*shape[:3], channels), options, "Conv2DOptions"
        )

    def unary(self, kind: str) -> Network:
        return self._add(kind, [], tuple(self._graph.tensors[self._last].shape))

    def content(self) -> bytes:
        model = schema.ModelT()
        model.version, model.subgraphs, model.buffers = 3, [self._graph], self._buffers
        model.operatorCodes = []
        for kind in self._codes:
            code = schema.OperatorCodeT()
            code.builtinCode = getattr(_OPERATORS, kind)
            code.deprecatedBuiltinCode = min(code.builtinCode, 127)  # as many as one byte has
            code.version = 3 if self._dtype == "int8" else 1
            model.operatorCodes.append(code)
        self._graph.outputs = [self._last]
        builder = flatbuffers.Builder()
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _add(self, kind, more, shape, options=None, named="NONE") -> Network:
        operator = schema.OperatorT()
        operator.opcodeIndex = self._codes.setdefault(kind, len(self._codes))
        operator.inputs = [self._last, *more]
        self._last = self._tensor(shape, self._dtype)
        operator.outputs, operator.builtinOptions = [self._last], options
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, named)
        self._graph.operators.append(operator)
        return self

    def _tensor(self, shape, dtype, stored=None, steps=None) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.shape = f"t{len(self._graph.tensors)}", list(shape)
        tensor.type, tensor.buffer = getattr(schema.TensorType, dtype.upper()), 0
        steps = [_STEP] if dtype == "int8" and steps is None else steps
        if steps:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = steps, [0] * len(steps)
        if stored is not None:
            tensor.buffer = len(self._buffers)
            self._buffers.append(schema.BufferT())
            self._buffers[-1].data = np.frombuffer(stored.tobytes(), np.uint8)
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1


def quantized_onnx(between: str = "") -> bytes:
    """Return three quantized convolutions; an operator between each and its Q keeps them apart."""
    nodes, stored = [], {"step": np.float32(_STEP), "zero": np.uint8(128)}
    nodes += ["q = QuantizeLinear(x, step, zero)", "d0 = DequantizeLinear(q, step, zero)"]
    for at in range(3):
        stored[f"w{at}"] = np.random.default_rng(at).integers(-127, 128, (32, 32, 3, 3), np.int8)
        stored[f"s{at}"] = np.full(32, _WEIGHT_STEP, np.float32)
        stored[f"z{at}"] = np.zeros(32, np.int8)
        last = f"c{at}"
        nodes.append(f"k{at} = DequantizeLinear<axis = 0>(w{at}, s{at}, z{at})")
        nodes.append(f"c{at} = Conv<pads = [1, 1, 1, 1]>(d{at}, k{at})")
        if between:
            nodes.append(f"b{at} = {between}(c{at})")
            last = f"b{at}"
        nodes.append(f"q{at} = QuantizeLinear({last}, step, zero)")
        nodes.append(f"d{at + 1} = DequantizeLinear(q{at}, step, zero)")
    shape = "float[1,32,14,14]"
    head = '<ir_version: 8, opset_import: ["": 17]>'
    model = onnx.parser.parse_model(f"{head} g ({shape} x) => ({shape} d3) {{ {' '.join(nodes)} }}")
    made = [onnx.numpy_helper.from_array(np.asarray(v), name) for name, v in stored.items()]
    model.graph.initializer.extend(made)
    return model.SerializeToString()


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """A cell with a cause; empty for a healthy one.

    proven: whether a change of the time proves it; that threads change nothing is observed.
    """

    cause: str
    title: str
    make: Callable[[], bytes]
    runtime: str = "litert"
    threads: int = 1
    settings: Settings = DEFAULT
    proven: bool = True

    def profiled(self) -> Profile:
        """Profile it on this machine."""
        version = version_of(find_backend(self.runtime))
        model = TimedModel(name=self.title, content=self.make(), settings=self.settings)
        with ModelTimer(LocalDevice(), self.runtime, version, threads=self.threads) as timer:
            return profile_model(timer, model)


_FLAT = (1, 14, 14, 32)
_BUILTIN = Settings(delegate="builtin")


def _two(dtype: str = "float32") -> Callable[[], bytes]:
    return lambda: Network(_FLAT, dtype).convolution(32).convolution(32).content()


PLANTED = (
    Planted(
        cause="no-fast-kernel",
        title="int8 convolutions in tflite-runtime",
        make=_two("int8"),
        runtime="tflite-runtime",
    ),
    Planted(
        cause="no-fast-kernel",
        title="int8 convolutions without delegate",
        make=_two("int8"),
        settings=_BUILTIN,
    ),
    Planted(
        cause="delegate",
        title="float convolutions without delegate",
        make=_two(),
        settings=_BUILTIN,
    ),
    Planted(
        cause="delegate",
        title="an operator between convolutions that XNNPACK leaves",
        make=lambda: (
            Network(_FLAT)
            .convolution(32)
            .unary("LOCAL_RESPONSE_NORMALIZATION")
            .convolution(32)
            .content()
        ),
    ),
    Planted(
        cause="fixed-cost",
        title="a model of 1,024 multiply-accumulates",
        make=lambda: Network((1, 8, 8, 4)).convolution(4, 1).content(),
    ),
    Planted(
        cause="padded-channels",
        title="33 channels in float",
        make=lambda: Network(_FLAT).convolution(33).content(),
    ),
    Planted(
        cause="padded-channels",
        title="33 channels in int8",
        make=lambda: Network(_FLAT, "int8").convolution(33).content(),
    ),
    Planted(
        cause="unfused-grids",
        title="QDQ at graph optimization basic",
        make=quantized_onnx,
        runtime="onnxruntime",
        settings=Settings(optimization="basic"),
    ),
    Planted(
        cause="unfused-grids",
        title="Tanh between convolutions and their Q",
        make=lambda: quantized_onnx("Tanh"),
        runtime="onnxruntime",
    ),
    Planted(
        cause="memory-bound",
        title="an addition of 16 MB",
        make=lambda: one_addition(1 << 22, "tflite"),
    ),
    Planted(
        cause="threads",
        # each is one piece of work: what is shared among threads takes from 0.6 to 3 × as long here
        title="two threads for operators of 4,096 values",
        make=lambda: Network((1, 8, 8, 64)).unary("TANH").unary("LOGISTIC").unary("TANH").content(),
        threads=2,
        proven=False,
    ),
)
HEALTHY = (
    Planted(cause="", title="float convolutions in LiteRT", make=_two()),
    Planted(cause="", title="int8 convolutions in LiteRT", make=_two("int8")),
    Planted(cause="", title="QDQ in ONNX Runtime", make=quantized_onnx, runtime="onnxruntime"),
)
# What cannot be planted on an x86-64 host with VNNI, and why
NOT_PLANTED = {
    "processor": "this processor has VNNI: a recorded profile in the tests",
    "amx-tiles": "this processor has no AMX: a recorded profile in the tests",
    "accelerator": "without a GPU, a bundle falls back to the processor in the slow tests",
}
