"""Generate C by bakenn."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import tflite  # noqa: F401  # bakenn reads files by it
from bakenn import CORTEX_M4, BakeNNError, CBackendOptions, import_tflite
from bakenn.backend.portable_c import generate_portable_c
from bakenn.passes import deduplicate_constants, fuse_clamps, legalize_graph
from bakenn.plan import lower_to_plan

from hemline.export.pack.c.graph import MEAN

__all__ = ["BakeNNError", "generate"]


def generate(content: bytes, folder: Path) -> Any:
    """Write the C of a model, as bakenn.compile_tflite does, with means that round as TFLite's.

    Return its report of memory. Raises BakeNNError for what it does not compile.
    """
    graph = import_tflite(content, name="model")
    plan = lower_to_plan(deduplicate_constants(fuse_clamps(legalize_graph(graph))))
    steps = [_rounded_as_tflite(step, plan) for step in plan.steps]
    options = CBackendOptions(target=CORTEX_M4)
    made = generate_portable_c(replace(plan, steps=tuple(steps)), folder, options=options)
    return made.memory_report


def _rounded_as_tflite(step: Any, plan: Any) -> Any:
    """Return a step; one that stands for a mean with the multiplier of TFLite's kernels.

    These encode input scale ÷ output scale, then divide the encoded number by the pixels, which
    shifts less than an encoded quotient does and so rounds a half otherwise (Mean in
    tensorflow/lite/kernels/internal/reference/integer_ops/mean.h).
    """
    if not getattr(step, "weight", "").startswith(MEAN):
        return step
    scales = [plan.tensors[at].tensor_type.qparams.scale for at in (step.input, step.output)]
    height, width, channels = plan.constants[step.weight].shape
    multiplier, shift = mean_multiplier(scales[0] / scales[1], height * width)
    return replace(step, multipliers=(multiplier,) * channels, shifts=(shift,) * channels)


def mean_multiplier(ratio: float, pixels: int) -> tuple[int, int]:
    """Return the fixed-point form, 31 bits and a shift, of a ratio of scales by pixels."""
    significand, exponent = math.frexp(ratio)
    bits = min(pixels.bit_length() - 1, 32, 31 + exponent)
    return (round(significand * (1 << 31)) << bits) // pixels, exponent - bits
