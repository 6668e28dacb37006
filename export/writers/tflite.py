"""Write TFLite files with TensorFlow's converter, from a SavedModel with a signature."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf

from hemline.contract.specs import EMBEDDING, LOGITS, InputSpec, OutputSpec
from hemline.errors import HemlineError, first_line
from hemline.export.graph.rebuild import saved_model
from hemline.export.quantization.float_graph import with_extremes
from hemline.export.quantization.mixed.timing import require_faster
from hemline.export.quantization.quantized import Quantized
from hemline.export.sources.source import ModelSource
from hemline.export.writers.converted import ConvertedModel
from hemline.export.writers.fake_quantization import save_annotated
from hemline.export.writers.float_parts import with_float_parts
from hemline.export.writers.four_bits import with_packed_weights
from hemline.folders import TemporaryFolder
from hemline.model_files.flatbuffer import compact


def convert_fp32(source: ModelSource, quantized: Quantized | None) -> ConvertedModel:
    """Convert without quantization."""
    del quantized
    return _described(_converter(source).convert())


def convert_fp16(source: ModelSource, quantized: Quantized | None) -> ConvertedModel:
    """Store the weights as float16."""
    del quantized
    converter = _converter(source, tf.lite.Optimize.DEFAULT)
    converter.target_spec.supported_types = [tf.float16]
    return _described(converter.convert())


def convert_dynamic(source: ModelSource, quantized: Quantized | None) -> ConvertedModel:
    """Store the weights as int8, quantize activations while running."""
    del quantized
    converter = _converter(source, tf.lite.Optimize.DEFAULT)
    # Per-channel dense weights need FULLY_CONNECTED 12, which tflite-runtime 2.14 refuses.
    converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    return _described(compact(converter.convert()))


def convert_int8(source: ModelSource, quantized: Quantized | None) -> ConvertedModel:
    """Quantize to int8 by a plan, all but what it has in float.

    The input takes pixel − 128: raises HemlineError when the plan has another range for it.
    """
    del source
    if quantized is None:
        raise HemlineError("8 bits need a quantization plan")
    if any(each.bits == 16 for each in quantized.plan.activations):
        raise HemlineError("TensorFlow's converter does not mix activations of 8 and 16 bits")
    with TemporaryFolder() as folder:
        in_integers = replace(quantized, plan=quantized.plan.in_integers())
        kernels = save_annotated(in_integers.annotated, folder)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        # it takes the ranges from the fake quantization, so that it needs no images
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.inference_input_type = converter.inference_output_type = tf.int8
        content = converter.convert()
    converted = _described(compact(with_float_parts(content, quantized.annotated, kernels)))
    if (converted.input.scale, converted.input.zero_point) != (1.0, -128):
        raise HemlineError(
            f"int8 input came out as {converted.input}, not pixel − 128: report this"
        )
    return converted


def convert_int8_mixed(source: ModelSource, quantized: Quantized | None) -> ConvertedModel:
    """As int8, with layers in float; raises NotNeededError where the float file is faster."""
    return require_faster(convert_int8(source, quantized), convert_fp32(source, None), "tflite")


def convert_int16x8(source: ModelSource, quantized: Quantized | None) -> ConvertedModel:
    """Quantize activations to int16 and weights to int8, with ranges from calibration images."""
    del source
    if quantized is None or quantized.calibration is None:
        raise HemlineError("16 bits need calibration images")
    from hemline.export.writers.sixteen_bits import with_sixteen_bits  # takes half a second

    with TemporaryFolder() as folder:
        saved_model(quantized.float_graph.proto, folder)
        content = tf.lite.TFLiteConverter.from_saved_model(folder).convert()
    images = with_extremes(quantized.calibration.images)
    return _described(with_sixteen_bits(content, images))


def convert_int4_weights(source: ModelSource, quantized: Quantized | None) -> ConvertedModel:
    """Write the int8 file of a plan with two weights in a byte where a layer's have 4 bits."""
    return _described(with_packed_weights(convert_int8(source, quantized).content))


def _converter(source: ModelSource, *optimizations: tf.lite.Optimize) -> tf.lite.TFLiteConverter:
    converter = tf.lite.TFLiteConverter.from_saved_model(source.saved_model)
    converter.optimizations = list(optimizations)
    return converter


def _described(content: bytes) -> ConvertedModel:
    """Read the specs back from the file: what it really takes and gives, not what was asked for."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(model_content=content)
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        raise HemlineError(f"LiteRT does not open the file: {first_line(error)}") from error
    source, found = interpreter.get_input_details()[0], interpreter.get_output_details()
    named = interpreter.get_signature_runner().get_output_details()
    # the signature knows outputs by name, the sessions on the device by position only
    embedding = named[EMBEDDING]["index"] if EMBEDDING in named else None
    _, height, width, channels = (int(size) for size in source["shape"])
    return ConvertedModel(
        content=content,
        input=InputSpec(height=height, width=width, channels=channels, **_stored(source)),
        outputs=tuple(
            _output(detail, at, embedding=detail["index"] == embedding)
            for at, detail in enumerate(found)
        ),
    )


def _output(detail: dict[str, Any], position: int, *, embedding: bool) -> OutputSpec:
    return OutputSpec(
        name=EMBEDDING if embedding else LOGITS,
        role="embedding" if embedding else "logits",
        size=int(detail["shape"][1]),
        position=position,
        **_stored(detail),
    )


def _stored(detail: dict[str, Any]) -> dict[str, Any]:
    """Return how a tensor holds real values: dtype, scale and zero point."""
    scale, zero_point = detail["quantization"]
    return {
        "dtype": np.dtype(detail["dtype"]).name,
        "scale": float(scale) or 1.0,
        "zero_point": int(zero_point),
    }
