"""Write ONNX files with tf2onnx and ONNX Runtime's static quantization."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import onnx
import tensorflow as tf
import tf2onnx

from hemline.contract.specs import EMBEDDING, LOGITS, InputSpec, OutputSpec
from hemline.errors import HemlineError
from hemline.export.sources.keras import ModelSource
from hemline.export.writers.converted import Converted, with_extremes
from hemline.folders import TemporaryFolder
from hemline.runtime.backends import BACKENDS, load_module

Pixels = npt.NDArray[np.uint8]
_OPSET = 17  # the first with all operators used here; older runtimes on devices still read it
_INPUT = "image"
_LAYOUT = {"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Identity"}  # they change no value


def convert_fp32(source: ModelSource, calibration: Pixels | None) -> Converted:
    """Convert without quantization; float32 pixels in, float32 logits out."""
    del calibration
    return _described(source.onnx)


def convert_int8(source: ModelSource, calibration: Pixels | None) -> Converted:
    """Quantize statically (QDQ, 7-bit weights per channel, uint8 activations); uint8 pixels in.

    Ranges come from calibration images uint8 (n, h, w, c).
    """
    if calibration is None:
        raise HemlineError("int8 needs calibration images")
    load_module(BACKENDS["onnxruntime"])
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with TemporaryFolder() as folder:
        plain, prepared, quantized = (
            f"{folder}/{name}.onnx" for name in ("plain", "prepared", "quantized")
        )
        onnx.save(source.onnx, plain)
        # symbolic shape inference needs sympy and finds nothing more in a classifier
        quant_pre_process(plain, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            quantized,
            _Images(with_extremes(calibration)),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            # U8S8 is as fast as S8S8 with VNNI or on ARM, and takes pixels as they are
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            # Weights of 7 bits: x86 without VNNI adds two products in 16 bits, which 2 · 255 · 127
            # does not fit into and 2 · 255 · 64 does. It answers in both cases.
            reduce_range=True,
        )
        proto = _with_pixel_input(onnx.load(quantized))
        return _described(_with_own_dequantization(proto))


class _Images:
    """Calibration images in the form that ONNX Runtime asks for."""

    def __init__(self, images: Pixels) -> None:
        self._images: Iterator[Pixels] = iter(images)

    def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
        """Return the next image, or None at the end."""
        image = next(self._images, None)
        return None if image is None else {_INPUT: image[np.newaxis].astype(np.float32)}


def to_onnx(model: keras.Model) -> onnx.ModelProto:
    """Return a model as float32 ONNX: (batch, h, w, c) pixels in, (batch, classes) logits out.

    A model with an embedding gives that too, (batch, size); the outputs have the names of both.
    """
    # tf2onnx.convert.from_keras does not know Keras 3 (tf2onnx 1.17); from_function does
    signature = [tf.TensorSpec((None, *model.input_shape[1:]), tf.float32, name=_INPUT)]

    def answer(image: tf.Tensor) -> dict[str, tf.Tensor]:
        given = model(image, training=False)
        named = given if isinstance(given, dict) else {LOGITS: given}
        return {name: tf.identity(value) for name, value in named.items()}

    # tf2onnx calls the outputs by the keys of the dictionary
    with _collecting():
        proto, _ = tf2onnx.convert.from_function(
            tf.function(answer, input_signature=signature), input_signature=signature, opset=_OPSET
        )
    for value in (proto.graph.input[0], *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.checker.check_model(proto)
    return proto


@contextlib.contextmanager
def _collecting() -> Iterator[None]:
    """Collect garbage early in the block, among the objects that are made there.

    tf2onnx copies the graph with all weights for each of its passes, in cycles of references:
    ResNet50 took 8 GB until Python came to look for them, and takes 3 so.
    """
    before = gc.get_threshold()
    gc.freeze()
    gc.collect()  # of nothing: the next one waits until there is a quarter more than this one left
    gc.set_threshold(before[0], before[1], 1)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def _with_pixel_input(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Let uint8 pixels in where the graph took float pixels.

    Where it quantized them first, after layout changes only, that step goes: its scale must be 1
    and its zero point 0, so that it changed nothing. Where it works on them before that, as by
    resizing, they become float there.
    """
    graph = proto.graph
    name, passed = _INPUT, [_INPUT]
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
    scale, zero_point, pixels = (f"{_INPUT}_{part}" for part in ("scale", "zero_point", "pixels"))
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


def _described(proto: onnx.ModelProto) -> Converted:
    source = proto.graph.input[0]
    _, height, width, channels = _dimensions(source)
    input_dtype: Any = _dtype(source)
    return Converted(
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
