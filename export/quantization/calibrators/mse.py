"""Clipping and rounding errors are weighed against each other by their squares."""

from __future__ import annotations

import numpy as np

from hemline.export.quantization.calibrators.clipping import STEPS, best_clipped
from hemline.export.quantization.calibrators.histogram import Histogram
from hemline.export.quantization.calibrators.observations import Observations, Range


def mse(seen: Observations) -> Range:
    """Return the range whose grid has the least mean squared error."""
    return best_clipped(seen, squared_error)


def squared_error(histogram: Histogram, low: float, high: float) -> float:
    """Return the sum of squared errors of all values on the grid of a range that holds 0."""
    scale = (high - low) / STEPS
    values = histogram.centres
    rounded = np.clip(np.round((values - low) / scale), 0, STEPS) * scale + low
    return float((histogram.counts * (rounded - values) ** 2).sum())
