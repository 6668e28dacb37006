"""The largest values, a fixed share of all, are clipped."""

from __future__ import annotations

from hemline.export.quantization.calibrators.clipping import histogram_of
from hemline.export.quantization.calibrators.observations import Observations, Range

_KEPT = 0.9999  # of all values lie below the upper end, and as many above the lower one


def percentile(seen: Observations) -> Range:
    """Return the quantiles 0.01 % and 99.99 % of all values, to 1/4096 of the largest value."""
    histogram = histogram_of(seen)
    low, high = (
        min(max(histogram.quantile(share), seen.low), seen.high) for share in (1 - _KEPT, _KEPT)
    )
    return low, high
