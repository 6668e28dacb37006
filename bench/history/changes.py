"""Find where a series of times went to another level, and stayed there."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
FEWEST = 4  # runs at a level: of fewer, outliers could be most
SMALLEST = 0.04  # step: the same file differs by 3 % from process to process
# Set by simulation with outliers in 5 % of the runs: of series without a step none in 500 is marked
# (4 in 500 where neighbours are correlated by 0.3), of those with a step of 10 % all at a noise of
# 1 % and 94 % at 3 %, wherever it is.
_BOUND, _PENALTY = 3.0, 18.0  # of the noise, and of its square
_LEAST_NOISE = 0.001


def change_points(times: Sequence[float]) -> tuple[int, ...]:
    """Return the indices at which another level begins.

    Binary segmentation of the logarithms. The cost of a level is the sum of squares, each bounded,
    so that an outlier cannot make a step (Fearnhead and Rigaill, Changepoint Detection in the
    Presence of Outliers, 2019); a step must save more than a penalty.
    """
    logs = np.log(np.asarray(times, float))
    if len(logs) < 2 * FEWEST:
        return ()
    # from neighbours, which a step hardly touches; a standard deviation is 1.4826 median ones
    noise = 1.4826 * float(np.median(np.abs(np.diff(logs)))) / math.sqrt(2)
    found = _split(logs, max(noise, _LEAST_NOISE), 0)
    # where the true places are several, the first split may have been at none of them
    while small := _small(logs, found):
        found.remove(small[0])
    return tuple(found)


def levels(times: Sequence[float], changes: Sequence[int]) -> list[float]:
    """Return the median of each part between changes."""
    return [float(np.median(part)) for part in np.split(np.asarray(times, float), list(changes))]


def _split(logs: Floats, noise: float, offset: int) -> list[int]:
    places = range(FEWEST, len(logs) - FEWEST + 1)
    saved = [
        _cost(logs, noise) - _cost(logs[:at], noise) - _cost(logs[at:], noise) for at in places
    ]
    if not saved or max(saved) < _PENALTY:
        return []
    at = places[int(np.argmax(saved))]
    before, after = _split(logs[:at], noise, offset), _split(logs[at:], noise, offset + at)
    return [*before, offset + at, *after]


def _small(logs: Floats, changes: Sequence[int]) -> list[int]:
    """Return the changes between levels that are nearly the same."""
    steps = np.abs(np.diff([float(np.median(part)) for part in np.split(logs, changes)]))
    return [at for at, step in zip(changes, steps, strict=True) if step < math.log1p(SMALLEST)]


def _cost(logs: Floats, noise: float) -> float:
    """Return the bounded squares round the mean of what is not an outlier, in units of noise²."""
    distances = (logs - np.median(logs)) / noise
    for _ in range(3):  # to the mean of the values within the bound
        inner = distances[np.abs(distances) <= _BOUND]
        distances = distances - (inner.mean() if len(inner) else 0.0)
    return float(np.minimum(distances**2, _BOUND**2).sum())
