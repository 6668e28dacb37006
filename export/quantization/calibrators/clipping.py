"""Search for the range that loses least, among those that clip large values of either sign."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from hemline.export.quantization.calibrators.histogram import Histogram
from hemline.export.quantization.calibrators.observations import Observations, Range

STEPS = 255  # of a grid of 8 bits
_NEXT, _TRIED = 0.95, 80  # each threshold is 5 % smaller than the last, down to 1/60 of the largest

Loss = Callable[[Histogram, float, float], float]


def best_clipped(seen: Observations, loss: Loss, *, joined: int = 1) -> Range:
    """Return the range of least loss; the whole one where all values are 0.

    joined: bins of the histogram that are counted together, a power of two.
    """
    histogram = histogram_of(seen).joined(joined)
    if not histogram.width:
        return seen.low, seen.high
    return min(_clipped(seen), key=lambda each: loss(histogram, *each))


def _clipped(seen: Observations) -> Iterator[Range]:
    """Yield ranges round 0 without the values beyond a threshold, the largest one first."""
    low, high = min(seen.low, 0.0), max(seen.high, 0.0)
    threshold = max(-low, high)
    for _ in range(_TRIED):
        yield max(low, -threshold), min(high, threshold)
        threshold *= _NEXT


def histogram_of(seen: Observations) -> Histogram:
    """Return the histogram, which the table's row of a calibrator must ask for."""
    if seen.histogram is None:
        raise AssertionError("this calibrator's row does not ask for a histogram")
    return seen.histogram
