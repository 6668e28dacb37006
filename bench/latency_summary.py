"""From raw wall times to percentiles, when they are shown."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hemline.contract.record import Latency
from hemline.statistics import outliers


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencySummary:
    """Percentiles of a latency in microseconds, and how far it spreads.

    median_us, p90_us, p99_us: over all invocations of all rounds.
    low_us, high_us: smallest and largest median of a round.
    invocations: number of values.
    min_us, max_us, sigma_us: smallest and largest value, and the standard deviation.
    outliers: number of values that are far from the median, by the median absolute deviation.
    rounds: number of rounds.
    disturbed: of each round that says little, why.
    """

    median_us: float
    p90_us: float
    p99_us: float
    low_us: float
    high_us: float
    invocations: int
    min_us: float
    max_us: float
    sigma_us: float
    outliers: int
    rounds: int
    disturbed: tuple[str, ...]


def summarize(latency: Latency) -> LatencySummary:
    """Derive percentiles from raw nanoseconds."""
    values = np.concatenate([np.asarray(r, np.int64) for r in latency.rounds_ns]) / 1000
    medians = [float(np.median(round_ns)) / 1000 for round_ns in latency.rounds_ns]
    median, p90, p99 = (float(value) for value in np.percentile(values, [50, 90, 99]))
    return LatencySummary(
        median_us=median,
        p90_us=p90,
        p99_us=p99,
        low_us=min(medians),
        high_us=max(medians),
        invocations=int(values.size),
        min_us=float(values.min()),
        max_us=float(values.max()),
        sigma_us=float(values.std()),
        outliers=outliers(values),
        rounds=len(medians),
        disturbed=tuple(each.disturbed for each in latency.facts if each.disturbed is not None),
    )
