"""The table of what tuning tried, and what it brought."""

from __future__ import annotations

from collections.abc import Sequence

from hemline.bench.tuning.tuning import Trial, winners
from hemline.tables import Table, microseconds


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
                f"× {trial.ratio:.2f} ({trial.low:.2f}–{min(trial.high, 99):.2f})",
                _verdict(trial, stamped),
            )
            for trial in sorted(trials, key=lambda each: each.ratio)
        ),
    )


def _verdict(trial: Trial, stamped: Sequence[Trial]) -> str:
    if trial in stamped:
        return "← stamped"
    return "no verdict: the machine was busy" if trial.disturbed else ""
