"""Three answers from an interval and a limit: passed, failed, or not enough evidence for either."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Kind = Literal["slowdown", "accuracy", "size", "memory"]
Answer = Literal["passed", "failed", "not enough evidence"]
UNKNOWN: Answer = "not enough evidence"
LEVEL = 0.99
Z99 = 2.575829  # two-sided 99 % point of the normal distribution
_MOST_TIMES = 50  # more than that is not worth advising


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One question of a gate, and its answer.

    kind: what is limited: slowdown (ratio), accuracy (points lost), size (kB), memory (MB).
    cell: artifact, with runtime and settings where they matter.
    value, low, high: what was found and its interval, in the unit of the kind; None where nothing
        was.
    limit: largest value that passes.
    reason: why there is no answer, or what else to know; empty where the figures say it all.
    """

    kind: Kind
    cell: str
    answer: Answer
    value: float | None = None
    low: float | None = None
    high: float | None = None
    limit: float
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean and the half width of its interval.

    count, unit: what it was made from.
    """

    mean: float
    half: float
    count: int
    unit: str = "rounds"

    def advice(self, limit: float) -> str:
        """Return how many would do if all spread as these did: the width falls as 1/√count."""
        distance = abs(self.mean - limit)
        if self.half > distance * math.sqrt(_MOST_TIMES):
            return f"too close to the limit for any number of {self.unit}"
        needed = max(math.ceil(self.count * (self.half / distance) ** 2), self.count + 1)
        return f"about {needed:,} {self.unit} would be enough (there are {self.count:,})"


def decide(kind: Kind, cell: str, found: Estimate, limit: float, *, note: str = "") -> Check:
    """Answer by an interval: of logarithms for a slowdown, of the values for all else."""
    scale = math.exp if kind == "slowdown" else float
    at = math.log(limit) if kind == "slowdown" else limit
    low, high = found.mean - found.half, found.mean + found.half
    answer: Answer = "passed" if high <= at else "failed" if low > at else UNKNOWN
    advice = found.advice(at) if answer == UNKNOWN else ""
    return Check(
        kind=kind,
        cell=cell,
        answer=answer,
        value=round(scale(found.mean), 4),
        low=round(scale(low), 4),
        high=round(scale(high), 4),
        limit=limit,
        reason="; ".join(filter(None, (note, advice))),
    )
