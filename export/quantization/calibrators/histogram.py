"""A histogram of values that come in parts: its memory is fixed, its span grows with them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
HALF = 4096  # bins on each side of 0: at least eight for each of the 255 steps of a grid


class Histogram:
    """Counts of values in bins of equal width, a power of two, counted from 0 in both directions.

    Bins are joined in pairs when a value lies beyond them, so that no count is ever divided. Values
    that are exactly 0, which every grid holds, are counted apart.
    """

    def __init__(self) -> None:
        self.counts = np.zeros(2 * HALF, np.int64)
        self.width = 0.0
        self.zeros = 0

    def add(self, values: Floats) -> None:
        """Count finite values of any shape."""
        flat = values.reshape(-1)
        nonzero = flat[flat != 0]
        self.zeros += flat.size - nonzero.size
        if not nonzero.size:
            return
        self._span(float(max(nonzero.max(), -nonzero.min())))
        positions = np.floor(nonzero / np.float32(self.width)).astype(np.int64) + HALF
        self.counts += np.bincount(positions, minlength=2 * HALF)

    def _span(self, largest: float) -> None:
        """Widen the bins until a value lies in one of them."""
        wanted = math.ldexp(1.0, math.frexp(largest)[1]) / HALF
        self.width = self.width or wanted
        while self.width < wanted:
            joined = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts[:] = 0
            self.counts[HALF // 2 : HALF // 2 + HALF] = joined
            self.width *= 2

    def joined(self, times: int) -> Histogram:
        """Return the same counts in bins so many times as wide; `times` is a power of two."""
        coarse = Histogram()
        coarse.counts = self.counts.reshape(-1, times).sum(axis=1)
        coarse.width, coarse.zeros = self.width * times, self.zeros
        return coarse

    @property
    def edges(self) -> npt.NDArray[np.float64]:
        """Return the ends of the bins, ascending: one more than there are bins."""
        half = len(self.counts) // 2
        return np.arange(-half, half + 1) * self.width

    @property
    def centres(self) -> npt.NDArray[np.float64]:
        """Return the middle of each bin."""
        return self.edges[:-1] + self.width / 2

    def quantile(self, share: float) -> float:
        """Return the value that a share (0 … 1) of all values does not exceed, to a bin's width."""
        counts: npt.NDArray[Any] = self.counts.astype(np.float64)
        cumulated = np.insert(np.cumsum(counts), 0, 0.0)
        below = cumulated[HALF]
        wanted = share * (cumulated[-1] + self.zeros)
        if below <= wanted <= below + self.zeros:
            return 0.0
        wanted -= self.zeros if wanted > below else 0
        return float(np.interp(wanted, cumulated, self.edges))
