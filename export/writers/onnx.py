"""Write ONNX files, in float or in 8 bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from hemline.contract.specs import EMBEDDING, InputSpec, OutputSpec
from hemline.errors import HemlineError
from hemline.export.graph.functions import inlined
from hemline.export.quantization.mixed.timing import require_faster
from hemline.export.quantization.quantized import Quantized
from hemline.export.sources.source import ModelSource
from hemline.export.writers.converted import ConvertedModel
from hemline.export.writers.onnx_weights import with_half_weights, with_integer_products
from hemline.export.writers.qdq import quantized_onnx


def convert_fp32(source: ModelSource, quantized: Quantized | None) -> ConvertedModel:
    """Convert without quantization; float32 pixels in, float32 logits out."""
    del quantized
    return _described(inlined(source.onnx))


def convert_fp16(source: ModelSource, quantized: Quantized | None) -> ConvertedModel:
    """Store the weights as float16, compute in float32 as fp16.tflite does.

    Not in float16: on processors ONNX Runtime is slower with it, and cannot show an overflow that
    other runtimes would have; the GELU that it fuses in float16 crashes it.
    """
    del quantized
    return _described(with_half_weights(inlined(source.onnx)))


def convert_dynamic(source: ModelSource, quantized: Quantized | None) -> ConvertedModel:
    """Store the weights of matrix products as int8, quantize what they read while running.

    Raises NotNeededError where that makes the file hardly smaller: convolutions stay in float, as
    they would be 4 to 8 times slower.
    """
    del quantized
    return _described(with_integer_products(inlined(source.onnx)))


def convert_int8(source: ModelSource, quantized: Quantized | None) -> ConvertedModel:
    """Quantize by a plan (QDQ, uint8 activations); uint8 pixels in, float32 logits out.

    What the plan keeps in float stays so.
    """
    del source
    if quantized is None:
        raise HemlineError("8 bits need a quantization plan")
    return _described(inlined(quantized_onnx(quantized.annotated)))


def convert_int8_mixed(source: ModelSource, quantized: Quantized | None) -> ConvertedModel:
    """As int8, with layers in float; raises NotNeededError where the float file is faster."""
    return require_faster(convert_int8(source, quantized), convert_fp32(source, None), "onnx")


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
