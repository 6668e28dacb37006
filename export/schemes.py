"""The schemes: every way to write a model down, and the runtimes in which each must be right."""

from __future__ import annotations

from hemline.contract.specs import SupportedRuntime
from hemline.errors import UnknownNameError
from hemline.export.scheme import Scheme

# The oldest versions from which every minor version was run on all test images with these schemes
# and passed (table in docs/runtime-versions.md). litert 1.0 passed too, but 1.1.0 opens no model at
# all, so support starts after it; there is no older onnxruntime for Python 3.10.
_LITERT = SupportedRuntime(runtime="litert", minimum="1.1.1")
_TFLITE_RUNTIME = SupportedRuntime(runtime="tflite-runtime", minimum="2.13.0")
_ONNXRUNTIME = SupportedRuntime(runtime="onnxruntime", minimum="1.12.0")

_TFLITE = "hemline.export.writers.tflite"
_ONNX = "hemline.export.writers.onnx"

# A row's key is the name of the file it makes.
SCHEMES: dict[str, Scheme] = {
    scheme.file_name: scheme
    for scheme in (
        Scheme(
            name="fp32",
            format="tflite",
            summary="float32 weights and activations",
            converter=f"{_TFLITE}:convert_fp32",
            calibrated=False,
            supported_runtimes=(_LITERT, _TFLITE_RUNTIME),
        ),
        Scheme(
            name="fp16",
            format="tflite",
            summary="float16 weights, float32 activations",
            converter=f"{_TFLITE}:convert_fp16",
            calibrated=False,
            supported_runtimes=(_LITERT, _TFLITE_RUNTIME),
        ),
        Scheme(
            name="dynamic",
            format="tflite",
            summary="int8 weights, float32 activations",
            converter=f"{_TFLITE}:convert_dynamic",
            calibrated=False,
            supported_runtimes=(_LITERT, _TFLITE_RUNTIME),
        ),
        Scheme(
            name="int8",
            format="tflite",
            summary="int8 weights per channel, int8 activations, int8 in and out",
            converter=f"{_TFLITE}:convert_int8",
            calibrated=True,
            supported_runtimes=(_LITERT, _TFLITE_RUNTIME),
        ),
        Scheme(
            name="fp32",
            format="onnx",
            summary="float32 weights and activations",
            converter=f"{_ONNX}:convert_fp32",
            calibrated=False,
            supported_runtimes=(_ONNXRUNTIME,),
        ),
        Scheme(
            name="int8",
            format="onnx",
            summary="7-bit weights per channel, uint8 activations (QDQ), uint8 in, float32 out",
            converter=f"{_ONNX}:convert_int8",
            calibrated=True,
            supported_runtimes=(_ONNXRUNTIME,),
        ),
    )
}


def find_schemes(names: tuple[str, ...]) -> tuple[Scheme, ...]:
    """Return the rows for file names ("int8.onnx") or scheme names ("int8": in every format).

    All rows when `names` is empty; raises UnknownNameError with the nearest name.
    """
    chosen: dict[str, Scheme] = {}
    for name in names or tuple(SCHEMES):
        rows = {key: row for key, row in SCHEMES.items() if name in (key, row.name)}
        if not rows:
            known = {*SCHEMES, *(row.name for row in SCHEMES.values())}
            raise UnknownNameError("scheme", name, known)
        chosen |= rows
    return tuple(chosen.values())
