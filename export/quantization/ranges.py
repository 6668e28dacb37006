"""Ranges of activations from their values over all calibration images."""

from __future__ import annotations

from collections.abc import Iterable

from hemline.export.quantization.calibrators import Ranges, Values


def min_max(values: Iterable[Values]) -> Ranges:
    """Return the smallest and the largest value of each activation."""
    ranges: Ranges = {}
    for batch in values:
        for name, each in batch.items():
            low, high = ranges.get(name, (float("inf"), float("-inf")))
            ranges[name] = (min(low, float(each.min())), max(high, float(each.max())))
    return ranges
