"""Write files with layers in float, unless the float file is faster."""

from __future__ import annotations

from hemline.contract.specs import Format
from hemline.errors import NotNeededError
from hemline.export.quantization.mixed.timing import NOISE, RUNTIMES, time_ratio
from hemline.export.quantization.quantized import Quantized
from hemline.export.sources.source import ModelSource
from hemline.export.writers.converted import ConvertedModel


def convert_tflite(source: ModelSource, quantized: Quantized | None) -> ConvertedModel:
    """Write as TFLite; raises NotNeededError where float is faster in LiteRT."""
    from hemline.export.writers import tflite

    made = tflite.convert_int8(source, quantized)
    return require_faster(made, tflite.convert_fp32(source, None), "tflite")


def convert_onnx(source: ModelSource, quantized: Quantized | None) -> ConvertedModel:
    """Write as ONNX; raises NotNeededError where float is faster in ONNX Runtime."""
    from hemline.export.writers import onnx

    made = onnx.convert_int8(source, quantized)
    return require_faster(made, onnx.convert_fp32(source, None), "onnx")


def require_faster(
    made: ConvertedModel, in_float: ConvertedModel, file_format: Format
) -> ConvertedModel:
    """Return the file; raises NotNeededError where the other one is faster beyond noise."""
    ratio = time_ratio(made, in_float, file_format)
    if ratio > NOISE:
        raise NotNeededError(
            f"with the layers in float that its accuracy needs it takes {ratio:.2f} × the time of "
            f"fp32.{file_format} in {RUNTIMES[file_format]} here"
        )
    return made
