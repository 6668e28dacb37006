"""The schemes: every way to write a model down, with its tolerance and its supported runtimes."""

from __future__ import annotations

import math

from hemline.contract.specs import Format, SupportedRuntime
from hemline.errors import UnknownNameError
from hemline.export.scheme import Scheme, Tolerance

# The oldest versions from which every minor version was run on all test images with these schemes
# and passed (table in docs/runtime-versions.md). litert 1.0 passed too, but 1.1.0 opens no model at
# all, so support starts after it; there is no older onnxruntime for Python 3.10.
_LITERT = SupportedRuntime(runtime="litert", minimum="1.1.1")
_TFLITE_RUNTIME = SupportedRuntime(runtime="tflite-runtime", minimum="2.13.0")
_ONNXRUNTIME = SupportedRuntime(runtime="onnxruntime", minimum="1.12.0")
# the first with 16-bit kernels of GELU and RSQRT; tflite-runtime has neither
_LITERT_16_BIT = SupportedRuntime(runtime="litert", minimum="1.3.0")

# Every tolerance is a share of the largest |logit| R of the reference, because rounding errors
# scale with the values. L is the number of layers with weights.

# A sum of K products in float32 is off by about √K · 2⁻²⁴ of the sum of magnitudes (Higham,
# Accuracy and Stability of Numerical Algorithms, §2.8: rounding errors grow like √K). With K ≤ 600
# and L ≤ 20 that is 20 · √600 · 2⁻²⁴ = 3e-5 of R; times 4 for cancellation in the last layer:
# 1.2e-4.
FLOAT32 = Tolerance(share=1.2e-4, agreement=0.999)

# Weights are rounded to 11 significant bits: each by at most 2⁻¹¹. A layer whose weights are off by
# that share is off by at most the same share of the sum of magnitudes; over L layers L · 2⁻¹¹.
FLOAT16 = Tolerance(share=2**-11, growth=1, agreement=0.995)

# Per tensor, uniform rounding to 255 steps of a range of about 8 standard deviations has a relative
# error of 8 ÷ (255 · √12) = 0.9 % rms. Weights and activations of L layers add up like random
# numbers: 0.9 % · √(2L) of the logits' rms; the largest of 10⁵ normal values is 4.4 of them. For
# L = 8 that is 16 % of R.
EIGHT_BIT_ROUNDING = 4.4 * 8 / (255 * math.sqrt(12)) * math.sqrt(2)

# On top, images whose activations leave the calibrated range are clipped: twice the random part.
# Labels change where two logits lie within the error; a well-trained model decides nearly all
# images by more, and under 90 % the file answers another question than the model. Where a barely
# trained model's logits are small, R says little of the values that cancelled in them: an error of
# 0.25 always counts as rounding, as it moves a probability by 0.125 at most (an error e of the
# logits moves a probability by e ÷ 2 at most: the slope of a softmax is ¼ at most for each of two
# logits).
EIGHT_BIT = Tolerance(share=2 * EIGHT_BIT_ROUNDING, growth=0.5, agreement=0.90, least=0.25)

# With int16 activations, whose steps are 256 times as fine, only the rounding of the weights is
# left: one of two equal parts that add up like random numbers. Nothing is clipped.
SIXTEEN_BIT = Tolerance(
    share=EIGHT_BIT_ROUNDING / math.sqrt(2), growth=0.5, agreement=0.90, least=0.25
)


def _scheme(
    name: str,
    file_format: Format,
    summary: str,
    tolerance: Tolerance,
    planner: str | None = None,
    *,
    converter: str = "",
    default: bool = True,
    searches: bool = False,
    runtimes: tuple[SupportedRuntime, ...] = (),
) -> Scheme:
    return Scheme(
        name=name,
        format=file_format,
        summary=summary,
        converter=f"hemline.export.writers.{file_format}:convert_{converter or name}",
        planner=planner,
        tolerance=tolerance,
        supported_runtimes=runtimes
        or ((_LITERT, _TFLITE_RUNTIME) if file_format == "tflite" else (_ONNXRUNTIME,)),
        searches=searches,
        default=default,
    )


_FLOAT = "float32 weights and activations"
_HALF = "float16 weights, float32 activations"
_INT8 = "int8 weights and activations, int8 in and out"
_QDQ = "int8 weights, uint8 activations (QDQ), uint8 in, float32 out"
_INT16 = "int8 weights, int16 activations, int16 in and out; slow on processors"
_PRODUCTS = "int8 weights of matrix products, float32 elsewhere"
_MIXED = "as int8, but the few layers in float32 that the accuracy needs"
_TRAINED = "as int8, with weights and ranges trained for it"
_FOUR_BITS = "as int8, with weights trained for a 4-bit grid: compresses to two thirds"
_PACKED = "as int8-w4, with two weights in a byte; slower than int8"
_QUANTIZATION = "hemline.export.quantization"
_PLAN_INT8 = f"{_QUANTIZATION}.post_training:plan_int8"
_PLAN_INT16X8 = f"{_QUANTIZATION}.post_training:plan_int16x8"
# name: summary, planner, converter of the schemes whose planners read all data
_SEARCHING = {
    "int8-mixed": (_MIXED, f"{_QUANTIZATION}.mixed.planning:plan_mixed", "int8_mixed"),
    "int8-qat": (_TRAINED, f"{_QUANTIZATION}.qat.planning:plan_qat", "int8"),
    "int8-w4": (_FOUR_BITS, f"{_QUANTIZATION}.qat.planning:plan_w4", "int8"),
    "int4-weights": (_PACKED, f"{_QUANTIZATION}.qat.planning:plan_w4", "int4_weights"),
}


def _searching(name: str, file_format: Format) -> Scheme:
    summary, planner, converter = _SEARCHING[name]
    return _scheme(
        name,
        file_format,
        summary,
        EIGHT_BIT,
        planner,
        converter=converter,
        default=False,
        searches=True,
    )


# A row's key is the name of the file it makes.
SCHEMES: dict[str, Scheme] = {
    scheme.file_name: scheme
    for scheme in (
        _scheme("fp32", "tflite", _FLOAT, FLOAT32),
        _scheme("fp16", "tflite", _HALF, FLOAT16),
        _scheme("dynamic", "tflite", "int8 weights, float32 activations", EIGHT_BIT),
        _scheme("int8", "tflite", _INT8, EIGHT_BIT, _PLAN_INT8),
        _scheme(
            "int16x8",
            "tflite",
            _INT16,
            SIXTEEN_BIT,
            _PLAN_INT16X8,
            default=False,
            runtimes=(_LITERT_16_BIT,),
        ),
        *(_searching(name, "tflite") for name in _SEARCHING),
        _scheme("fp32", "onnx", _FLOAT, FLOAT32),
        _scheme("fp16", "onnx", _HALF, FLOAT16, default=False),
        _scheme("dynamic", "onnx", _PRODUCTS, EIGHT_BIT, default=False),
        _scheme("int8", "onnx", _QDQ, EIGHT_BIT, _PLAN_INT8),
        *(_searching(name, "onnx") for name in _SEARCHING if name != "int4-weights"),
    )
}


NAMES = ", ".join(dict.fromkeys(row.name for row in SCHEMES.values()))  # for help texts


def find_schemes(names: tuple[str, ...]) -> tuple[Scheme, ...]:
    """Return the rows for file names ("int8.onnx") or scheme names ("int8": in every format).

    The default rows when `names` is empty; raises UnknownNameError with the nearest name.
    """
    chosen: dict[str, Scheme] = {}
    usual = (key for key, row in SCHEMES.items() if row.default)
    for name in names or tuple(usual):
        rows = {key: row for key, row in SCHEMES.items() if name in (key, row.name)}
        if not rows:
            known = {*SCHEMES, *(row.name for row in SCHEMES.values())}
            raise UnknownNameError("scheme", name, known)
        chosen |= rows
    return tuple(chosen.values())
