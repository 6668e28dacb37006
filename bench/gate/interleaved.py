"""Measure two bundles in turn, until each pair of cells is decided or has had all its rounds.

A process keeps the memory layout that it began with: the same file can take 3 % longer in one
process than in another, however long both run. So a round is a pair of new processes, its value is
one ratio, and the interval is made from the spread of these values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from hemline.bench.devices.device import Device
from hemline.bench.gate.decision import LEVEL, UNKNOWN, Check, Estimate, decide
from hemline.bench.gate.side import Level, Side, level_of, selects, unmatched
from hemline.bench.measuring.plan import FULL, MeasurementPlan, PlannedCell, planned_cells
from hemline.bench.measuring.rounds import measure_cells
from hemline.bench.measuring.subject import Subject
from hemline.contract.record import Latency, Record
from hemline.errors import DeviceError, JobError
from hemline.statistics import trimmed_mean

FEWEST = 3  # rounds that an answer needs
LOOKS = (4, 2, 1)  # the gate looks after a quarter, a half and all of the rounds
# Bonferroni: all looks together are wrong in 1 % at most
_LOOK_LEVEL = 1 - (1 - LEVEL) / len(LOOKS)
_TURNS = 3  # of each process in a round


@dataclass(slots=True, kw_only=True)
class _Series:
    """The rounds of one pair of cells, and what was seen in them."""

    before: PlannedCell
    after: PlannedCell
    values: list[float] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    problem: str = ""

    def measure(self, device: Device, plan: MeasurementPlan, number: int) -> None:
        """Add a round; each side begins in every second one."""
        cells = (self.before, self.after) if number % 2 else (self.after, self.before)
        kept: dict[Path, list[Record]] = {cell.subject.bundle: [] for cell in cells}

        def keep(subject: Subject, records: Iterable[Record]) -> None:
            kept[subject.bundle] += records

        try:
            measure_cells(cells, device, plan, keep=keep, progress=lambda _: None)
        except DeviceError:
            raise
        except JobError as error:
            self.problem = str(error)
            return
        self.records = kept[self.after.subject.bundle]
        before, after = (
            next(r for r in kept[each.subject.bundle] if isinstance(r.payload, Latency))
            for each in (self.before, self.after)
        )
        level = level_of(before, after)
        if isinstance(level, Level):
            self.values.append(level.mean)
        else:
            self.problem = level


def check_rounds(title: str, values: Sequence[float], limit: float, *, problem: str = "") -> Check:
    """Answer by the log ratios of the rounds so far; `problem` is why others are missing."""
    if len(values) < FEWEST:
        reason = f"only {len(values)} rounds could be used: {problem or 'more were not asked for'}"
        return Check(kind="slowdown", cell=title, answer=UNKNOWN, limit=limit, reason=reason)
    mean, half = trimmed_mean(values, _LOOK_LEVEL)
    return decide("slowdown", title, Estimate(mean=mean, half=half, count=len(values)), limit)


def interleaved_checks(
    sides: tuple[Side, Side],
    device: Device,
    limit: float,
    *,
    rounds: int,
    patterns: Sequence[str],
    progress: Callable[[str], None],
) -> tuple[list[Check], list[Record]]:
    """Return the slowdown of each cell of the second bundle, and its records of the last round.

    Raises DeviceError when the device is lost; a cell that fails has no answer.
    """
    plan = replace(FULL, rounds=_TURNS, runtimes=device.runtimes())
    before, after = (_planned(side, plan, patterns) for side in sides)
    series = {
        _title(after[key]): _Series(before=before[key], after=after[key])
        for key in after
        if key in before
    }
    checks: dict[str, Check] = {}
    done = 0
    for part in LOOKS:
        until = max(FEWEST, rounds // part)
        left = {title: each for title, each in series.items() if not _is_decided(checks.get(title))}
        if left and until > done:
            progress(f"gate: {len(left)} cells × {until - done} rounds")
        for number in range(done, until):
            for each in left.values():
                each.measure(device, plan, number)
        for title, each in left.items():
            checks[title] = check_rounds(title, each.values, limit, problem=each.problem)
        done = until
    titles = [{key: _title(cell) for key, cell in each.items()} for each in (before, after)]
    missing = unmatched("slowdown", limit, sides, titles)
    records = [record for each in series.values() for record in each.records]
    return [*checks.values(), *missing], records


def _is_decided(check: Check | None) -> bool:
    return check is not None and check.answer != UNKNOWN


def _planned(
    side: Side, plan: MeasurementPlan, patterns: Sequence[str]
) -> dict[tuple[str, str], PlannedCell]:
    """Return what can be measured of a bundle, by artifact and runtime."""
    cells = () if side.subject is None else planned_cells(side.subject, plan)
    return {
        (cell.artifact.name, cell.runtime): cell
        for cell in cells
        if selects(patterns, cell.artifact.name, cell.runtime)
    }


def _title(cell: PlannedCell) -> str:
    return f"{cell.artifact.name} · {cell.runtime}"
