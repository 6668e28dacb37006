"""What is remembered of the values of one activation while calibration images pass through."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from hemline.export.quantization.calibrators.histogram import Histogram

Floats = npt.NDArray[np.float32]
Range = tuple[float, float]


@dataclass(slots=True, kw_only=True)
class Observations:
    """Extremes and, if asked for, a histogram of all values so far; no values themselves.

    low, high: the smallest and the largest value.
    images: how many were seen.
    lows, highs: sums of the smallest and the largest value of each image.
    histogram: of all values, None where the calibrator reads none.
    """

    low: float = float("inf")
    high: float = float("-inf")
    images: int = 0
    lows: float = 0.0
    highs: float = 0.0
    histogram: Histogram | None = field(default=None)

    def add(self, values: Floats) -> None:
        """Take the values (n, …) of n images; raises ValueError for one that is not a number."""
        each = values.reshape(len(values), -1)
        lows, highs = each.min(axis=1), each.max(axis=1)
        if not (np.isfinite(lows).all() and np.isfinite(highs).all()):
            raise ValueError("values that are not finite numbers")
        self.low, self.high = min(self.low, float(lows.min())), max(self.high, float(highs.max()))
        self.images += len(values)
        self.lows += float(lows.sum(dtype=np.float64))
        self.highs += float(highs.sum(dtype=np.float64))
        if self.histogram is not None:
            self.histogram.add(values)
