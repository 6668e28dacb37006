"""From raw wall times to percentiles, when they are shown."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hemline.contract.record import Latency


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencySummary:
    """Percentiles of a latency in microseconds, and how far the rounds' medians spread.

    median_us, p90_us, p99_us: over all invocations of all rounds.
    low_us, high_us: smallest and largest median of a round.
    invocations: number of values.
    """

    median_us: float
    p90_us: float
    p99_us: float
    low_us: float
    high_us: float
    invocations: int


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
    )
