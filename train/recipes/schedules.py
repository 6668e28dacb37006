"""The SCHEDULES table: learning-rate schedules that a recipe can name. It imports no recipe."""

from __future__ import annotations

from dataclasses import dataclass

REDUCE_ON_PLATEAU = "reduce-on-plateau"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleRow:
    """A row of the SCHEDULES table.

    warmup: the usual share of steps before the highest rate.
    by_step: whether the rate changes with each step; else it is constant within an epoch.
    """

    warmup: float = 0.0
    by_step: bool = True


SCHEDULES: dict[str, ScheduleRow] = {
    "constant": ScheduleRow(),
    "cosine": ScheduleRow(),
    "one-cycle": ScheduleRow(warmup=0.15),
    REDUCE_ON_PLATEAU: ScheduleRow(by_step=False),
}
