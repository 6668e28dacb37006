"""The latencies of a cell over time, one value a run: never of two hosts, or of two versions."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hemline.bench.gate.side import by_date, identity_of, round_medians, title_of
from hemline.bench.history.changes import change_points, levels
from hemline.contract.record import Latency, Record
from hemline.statistics import trimmed_mean
from hemline.tables import Figure, Table, count, microseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one run measured of a cell: trimmed mean of the rounds' medians and its 95 % interval.

    low_us, high_us: the median itself where there was one round.
    """

    date: str
    commit: str | None
    median_us: float
    low_us: float
    high_us: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A cell in one version of a runtime on one host.

    place: model and host.
    runs: by date.
    changes: indices of runs at which another level begins.
    """

    cell: str
    place: str
    runs: tuple[Run, ...]
    changes: tuple[int, ...]

    @property
    def levels_us(self) -> list[float]:
        """Return the median of each part between changes."""
        return levels([run.median_us for run in self.runs], self.changes)

    @property
    def steps(self) -> list[tuple[Run, float]]:
        """Return the first run of each new level, and the change to it in percent."""
        parts = self.levels_us
        ratios = (after / before for before, after in itertools.pairwise(parts))
        firsts = (self.runs[at] for at in self.changes)
        return [(run, 100 * (ratio - 1)) for run, ratio in zip(firsts, ratios, strict=True)]


def series_of(records: Iterable[Record]) -> tuple[Series, ...]:
    """Return what was measured of each cell, host and version."""
    groups: dict[tuple[object, ...], dict[str, tuple[Record, Run]]] = {}
    for record in by_date(record for record in records if isinstance(record.payload, Latency)):
        cell = record.cell
        key = (cell.model, identity_of(cell), cell.runtime_version, cell.host)
        groups.setdefault(key, {})[record.conditions.date] = (record, _run(record))
    return tuple(_series(list(group.values())) for group in groups.values())


def history_table(series: Sequence[Series]) -> Table:
    """Return one row for each series."""
    several = len({each.place for each in series}) > 1
    columns = ("cell", "?model and host", ">runs", "from", "to", ">first", ">now", "changes")
    rows = (
        (
            each.cell,
            each.place if several else "",
            count(len(each.runs)),
            *(run.date[:10] for run in (each.runs[0], each.runs[-1])),
            *(microseconds(level) for level in (each.levels_us[0], each.levels_us[-1])),
            ", ".join(_step(run, percent) for run, percent in each.steps),
        )
        for each in series
    )
    return Table.of(columns, rows)


def runs_table(series: Sequence[Series]) -> Table:
    """Return one row for each run of each series, with the change that began there."""
    columns = ("cell", "model and host", "date", "commit", ">median", ">low", ">high", ">change")
    rows = []
    for each in series:
        steps = {run.date: Figure(f"{step:+.1f} %", step, "%") for run, step in each.steps}
        for run in each.runs:
            figures = (microseconds(value) for value in (run.median_us, run.low_us, run.high_us))
            place = (each.cell, each.place, run.date, run.commit or "")
            rows.append((*place, *figures, steps.get(run.date, "")))
    return Table.of(columns, rows)


def _series(group: list[tuple[Record, Run]]) -> Series:
    last, runs = group[-1][0].cell, tuple(run for _, run in group)
    return Series(
        cell=title_of(replace(last, runtime=f"{last.runtime} {last.runtime_version}")),
        place=f"{last.model}, {last.host}",
        runs=runs,
        changes=change_points([run.median_us for run in runs]),
    )


def _run(record: Record) -> Run:
    """Return the value of a record: of all rounds where every one was disturbed."""
    medians = [ns for ns in round_medians(record) if ns > 0]
    medians = medians or round_medians(record, disturbed=True)
    logs = [float(np.log(max(ns, 1) / 1000)) for ns in medians]
    mean, half = trimmed_mean(logs, 0.95) if len(logs) > 1 else (logs[0], 0.0)
    median, low, high = (float(np.exp(value)) for value in (mean, mean - half, mean + half))
    conditions = record.conditions
    return Run(
        date=conditions.date, commit=conditions.commit, median_us=median, low_us=low, high_us=high
    )


def _step(run: Run, percent: float) -> str:
    commit = f" ({run.commit[:8]})" if run.commit else ""
    return f"{percent:+.1f} % on {run.date[:10]}{commit}"
