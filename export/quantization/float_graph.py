"""The float graph of a format: what a plan names, where ranges are observed and 8 bits are made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt

from hemline.contract.specs import Format
from hemline.export.quantization.calibration import SEED, Calibration
from hemline.export.quantization.calibrators import Values, find_calibrator
from hemline.export.quantization.plan import (
    ActivationRange,
    QuantizationPlan,
    RangeOrigin,
    WeightGrid,
)

Pixels = npt.NDArray[np.uint8]


class FloatGraph(Protocol):
    """A model as a format's quantizer reads it: folded and fused, still in float."""

    format: Format

    @property
    def grids(self) -> tuple[WeightGrid, ...]:
        """Return the weight grid that the format's quantizer gives each layer."""

    def observe(self, images: Pixels) -> Iterator[Values]:
        """Yield the values of all activations for uint8 images (n, h, w, c), some at a time."""

    def quantized(self, plan: QuantizationPlan) -> bytes:
        """Return the file that a plan describes; raises HemlineError for one that does not fit."""


def calibrated_plan(
    graph: FloatGraph, calibration: Calibration, calibrator: str = "min-max"
) -> QuantizationPlan:
    """Return the plan of a graph with the ranges that a calibrator finds on images."""
    ranges = find_calibrator(calibrator).function(graph.observe(with_extremes(calibration.images)))
    return QuantizationPlan(
        graph=graph.format,
        weights=graph.grids,
        activations=tuple(
            ActivationRange(tensor=name, low=low, high=high) for name, (low, high) in ranges.items()
        ),
        origin=RangeOrigin(
            calibrator=calibrator,
            images=len(calibration.images),
            images_sha256=calibration.sha256,
            seed=SEED,
        ),
    )


def with_extremes(images: Pixels) -> Pixels:
    """Return the images with one black and white one in front, so that the input range is 0 … 255.

    Otherwise a set of dark images would shrink the input's scale, and pixels would no longer go in
    unchanged. Half of the image is black: convolutions see flat areas only, as in real images.
    """
    extreme = np.zeros_like(images[:1])
    extreme[:, : extreme.shape[1] // 2] = 255
    return np.concatenate([extreme, images])
