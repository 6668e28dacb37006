"""Quantize a float graph without training: ranges from calibration images."""

from __future__ import annotations

from dataclasses import replace

from hemline.data.datasets import array_sha256
from hemline.errors import HemlineError
from hemline.export.quantization.calibration import Calibration
from hemline.export.quantization.correction.bias_correction import bias_corrected
from hemline.export.quantization.correction.equalization import equalized
from hemline.export.quantization.float_graph import FloatGraph, calibrated_plan
from hemline.export.quantization.options import PostTrainingOptions
from hemline.export.quantization.planning import Planning
from hemline.export.quantization.quantized import Quantized
from hemline.export.sources.source import ModelSource

_SYNTHETIC = 128  # images: a dozen take a second, and they are much alike


def post_training(
    graph: FloatGraph, calibration: Calibration | None, options: PostTrainingOptions
) -> Quantized:
    """Return the graph with 8 bits everywhere; raises HemlineError without images."""
    if calibration is None:
        raise HemlineError("calibration needs images")
    plan = calibrated_plan(graph, calibration, options.calibrator)
    quantized = Quantized(float_graph=graph, plan=plan)
    if options.equalization:
        quantized = equalized(quantized, calibration.images)
    if options.bias_correction:
        quantized = bias_corrected(quantized, calibration.images)
    return quantized


def synthetic_calibration(source: ModelSource, options: PostTrainingOptions) -> Calibration:
    """Return images that a model itself describes, 128 by default: no data is read."""
    pixels = source.synthetic_images(options.images or _SYNTHETIC, options.seed)
    return Calibration(images=pixels, sha256=array_sha256(pixels), seed=options.seed)


def plan_int8(planning: Planning) -> Quantized:
    """Return what every planner starts from."""
    return planning.int8


def plan_int16x8(planning: Planning) -> Quantized:
    """Return the graph with 16 bits for each activation but the pixels, and 8 for weights.

    The smallest and the largest value are the range: 16 bits have steps enough for outliers.
    """
    quantized, calibration = planning.int8, planning.calibration
    if calibration is None:
        raise HemlineError("calibration needs images")
    plan = calibrated_plan(quantized.float_graph, calibration)
    image = quantized.float_graph.graph.image
    plan = replace(
        plan,
        weights=tuple(replace(grid, bits=8) for grid in plan.weights),
        activations=tuple(
            each if each.tensor == image else replace(each, bits=16) for each in plan.activations
        ),
    )
    return replace(quantized, plan=plan, calibration=calibration)
