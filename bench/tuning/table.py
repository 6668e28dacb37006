"""The table of what tuning tried, and what it brought."""

from __future__ import annotations

from collections.abc import Sequence

from hemline.bench.tuning.tuning import Trial, winners
from hemline.tables import Table, microseconds

_UNSTEADY = 3.0  # times the ratio: an interval up to there says nothing


def trials_table(trials: Sequence[Trial]) -> Table:
    """Return a row for each trial, those that gain most first; what was stamped is marked."""
    stamped = winners(trials)
    several = len({trial.cell.subject.bundle for trial in trials}) > 1
    return Table.of(
        (
            "?model",
            "artifact",
            "runtime",
            "settings",
            ">default",
            ">tuned",
            "time (99 %)",
            "?result",
        ),
        (
            (
                str(trial.cell.subject.bundle) if several else "",
                trial.cell.artifact.name,
                f"{trial.cell.runtime} {trial.cell.version}",
                trial.tuned.text,
                microseconds(trial.tuned.before_ns / 1000),
                microseconds(trial.tuned.after_ns / 1000),
                f"× {trial.ratio:.2f} ({_interval(trial)})",
                _verdict(trial, stamped),
            )
            for trial in sorted(trials, key=lambda each: each.ratio)
        ),
    )


def _interval(trial: Trial) -> str:
    """Return the interval, unless the rounds differed so much that it says nothing."""
    if trial.high > _UNSTEADY * trial.ratio:
        return "unsteady"
    return f"{trial.low:.2f}–{trial.high:.2f}"


def _verdict(trial: Trial, stamped: Sequence[Trial]) -> str:
    if trial in stamped:
        return "← stored"
    return "no verdict: the machine was busy" if trial.disturbed else ""
