"""The distribution on the grid differs least from that of all values."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hemline.export.quantization.calibrators.clipping import STEPS, best_clipped
from hemline.export.quantization.calibrators.histogram import Histogram
from hemline.export.quantization.calibrators.observations import Observations, Range

# 1,024 bins are left, 2 … 8 for each step of a grid over all values. Pixels of a flat background
# and bounds give many equal values; the more bins a step has, the more these seem to differ from
# what a grid makes of them, until nearly everything is clipped (mobilenetv2: 50 points lost).
_JOINED = 8
_LEAST = 1e-9  # probability where the grid has none and the values have some


def entropy(seen: Observations) -> Range:
    """Return the range of least Kullback–Leibler divergence (Migacz, 8-bit Inference, 2017)."""
    return best_clipped(seen, divergence, joined=_JOINED)


def divergence(histogram: Histogram, low: float, high: float) -> float:
    """Return the divergence of what a range clips and rounds from what was counted.

    What lies outside is counted at the ends on one side and not at all on the other. Values that
    are exactly 0 are left out: their peak would outweigh all others, and no grid loses them.
    """
    from scipy.special import rel_entr

    values = histogram.centres
    first, last = np.searchsorted(values, (low, high))
    first, last = min(int(first), len(values) - 1), max(int(last), int(first) + 1)
    inside = histogram.counts[first:last].astype(np.float64)
    reference = inside.copy()
    reference[0] += histogram.counts[:first].sum()
    reference[-1] += histogram.counts[last:].sum()
    scale = (high - low) / STEPS
    steps = np.round((values[first:last] - low) / scale).astype(np.int64)
    spread = _spread(inside, steps, reference > 0)
    reference, spread = reference / reference.sum(), spread / max(spread.sum(), 1.0)
    return float(rel_entr(reference, np.maximum(spread, _LEAST)).sum())


def _spread(
    counts: npt.NDArray[np.float64], steps: npt.NDArray[np.int64], used: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """Return the count of each step, divided among those of its bins that are used."""
    total = np.bincount(steps, weights=counts)
    bins = np.bincount(steps, weights=used)
    return np.where(used, (total / np.maximum(bins, 1))[steps], 0.0)
