"""Write TFLite files with TensorFlow's converter, from a SavedModel with a signature."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from hemline.errors import HemlineError
from hemline.export.converted import Converted, with_extremes
from hemline.export.source import ModelSource
from hemline.specs import InputSpec, OutputSpec

Pixels = npt.NDArray[np.uint8]


def convert_fp32(source: ModelSource, calibration: Pixels | None) -> Converted:
    """Convert without quantization."""
    del calibration
    return _convert(source, lambda _: None)


def convert_fp16(source: ModelSource, calibration: Pixels | None) -> Converted:
    """Store the weights as float16."""
    del calibration

    def configure(converter: tf.lite.TFLiteConverter) -> None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]

    return _convert(source, configure)


def convert_dynamic(source: ModelSource, calibration: Pixels | None) -> Converted:
    """Store the weights as int8, quantize activations while running."""
    del calibration

    def configure(converter: tf.lite.TFLiteConverter) -> None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        # Per-channel dense weights need FULLY_CONNECTED 12, which tflite-runtime 2.14 refuses.
        converter._experimental_disable_per_channel_quantization_for_dense_layers = True

    return _convert(source, configure)


def convert_int8(source: ModelSource, calibration: Pixels | None) -> Converted:
    """Quantize everything to int8, ranges from calibration images uint8 (n, h, w, c).

    The input takes pixel − 128: raises HemlineError when the ranges did not come out so.
    """
    if calibration is None:
        raise HemlineError("int8 needs calibration images")

    def representative() -> Iterator[list[npt.NDArray[np.float32]]]:
        for image in with_extremes(calibration):
            yield [image[np.newaxis].astype(np.float32)]

    def configure(converter: tf.lite.TFLiteConverter) -> None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = representative
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.int8
        converter.inference_output_type = tf.int8

    converted = _convert(source, configure)
    if (converted.input.scale, converted.input.zero_point) != (1.0, -128):
        raise HemlineError(
            f"int8 input came out as {converted.input}, not pixel − 128: report this"
        )
    return converted


Configure = Callable[[tf.lite.TFLiteConverter], None]


def _convert(source: ModelSource, configure: Configure) -> Converted:
    converter = tf.lite.TFLiteConverter.from_saved_model(source.saved_model)
    configure(converter)
    content: bytes = converter.convert()
    return _described(content)


def _described(content: bytes) -> Converted:
    """Read the specs back from the file: what it really takes and gives, not what was asked for."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    _, height, width, channels = (int(size) for size in source["shape"])
    input_scale, input_zero = source["quantization"]
    output_scale, output_zero = target["quantization"]
    return Converted(
        content=content,
        input=InputSpec(
            height=height,
            width=width,
            channels=channels,
            dtype=np.dtype(source["dtype"]).name,  # type: ignore[arg-type]
            scale=float(input_scale) or 1.0,
            zero_point=int(input_zero),
        ),
        output=OutputSpec(
            classes=int(target["shape"][1]),
            dtype=np.dtype(target["dtype"]).name,  # type: ignore[arg-type]
            scale=float(output_scale) or 1.0,
            zero_point=int(output_zero),
        ),
    )
