"""The two sides of a gate: their records, which cells belong together, and how two compare."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from typing import TypeVar

import numpy as np

from hemline.bench.comparison import settings_of
from hemline.bench.devices.device import Device
from hemline.bench.gate.decision import UNKNOWN, Check, Kind
from hemline.bench.measuring.subject import Subject
from hemline.contract.record import LOCAL, Accuracy, Cell, Instructions, Latency, Record
from hemline.contract.settings import Settings
from hemline.errors import UsageError

# artifact, runtime, device, threads, batch, settings: of whatever file and version
Identity = tuple[str, str, str, int, int, Settings]
# of the logarithm of the ratio of two processes that run the same file: tests/performance/gate.py
PROCESS_SPREAD = 0.015
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """What is judged, or what it is judged by.

    name: as the user named it.
    records: of its present artifacts.
    subject: None for a records file.
    """

    name: str
    records: tuple[Record, ...]
    subject: Subject | None = None

    def on(self, device: Device) -> Side:
        """Return this side with the runtimes that only the device has."""
        subject = self.subject
        if subject is None:
            return self
        return replace(self, subject=replace(subject, manifest=device.supported(subject.manifest)))

    def selected(self, patterns: Sequence[str]) -> Side:
        """Return the cells that fit a pattern; raises UsageError where none does."""
        cells = [record.cell for record in self.records if not record.cell.is_source]
        chosen = {cell for cell in cells if selects(patterns, cell.artifact, cell.runtime)}
        if not chosen:
            names = {f"{cell.artifact}@{cell.runtime}" for cell in cells}
            known = ", ".join(sorted(names)) or "no records"
            raise UsageError(f"{self.name} has no cell to check: it has {known}")
        return replace(self, records=tuple(r for r in self.records if r.cell in chosen))


def selects(patterns: Sequence[str], artifact: str, runtime: str) -> bool:
    """Return whether a pattern fits the artifact, the runtime, or both as ARTIFACT@RUNTIME."""
    names = (artifact, runtime, f"{artifact}@{runtime}")
    return not patterns or any(fnmatch(name, each) for name in names for each in patterns)


def figures_of(records: Iterable[Record], device: str) -> tuple[Record, ...]:
    """Return the records of a device, without one the latencies of all; accuracies of this machine.

    A check on another device runs the first images only.
    """

    def counts(record: Record) -> bool:
        if isinstance(record.payload, Accuracy):
            return record.cell.device == LOCAL
        if device:
            return record.cell.device == device
        return not isinstance(record.payload, Instructions)

    return tuple(record for record in records if record.cell.is_source or counts(record))


def by_date(records: Iterable[Record]) -> list[Record]:
    """Return records, the newest last."""
    return sorted(records, key=lambda record: record.conditions.date)


def identity_of(cell: Cell) -> Identity:
    """Return what a cell shares with the one that it is compared with."""
    place = (cell.artifact, cell.runtime, cell.device)
    return (*place, cell.threads, cell.batch, cell.settings)


def title_of(cell: Cell) -> str:
    """Return artifact, runtime, and what else distinguishes the cell."""
    device = "" if cell.device == "local" else f"on {cell.device}"
    parts = (f"{cell.artifact} · {cell.runtime}", device, settings_of(cell))
    return ", ".join(part for part in parts if part)


def unmatched(
    kind: Kind, limit: float, sides: Sequence[Side], titles: Sequence[Mapping[T, str]]
) -> Iterator[Check]:
    """Yield a check without an answer for each cell that one of two sides lacks.

    `titles` are the titles of each side's cells, by what a cell is matched by.
    """
    for side, there, here in zip(sides, titles, reversed(titles), strict=True):
        for key in (key for key in here if key not in there):
            reason = f"{side.name} has no such cell"
            yield Check(kind=kind, cell=here[key], answer=UNKNOWN, limit=limit, reason=reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """The logarithm of the ratio of two cells in one run.

    mean: median over the rounds.
    variance: of it, by the spread of the rounds; of a run that had one process for all its rounds,
        with that of processes.
    rounds: number of undisturbed ones.
    """

    rounds: int
    mean: float
    variance: float


def level_of(before: Record, after: Record) -> Level | str:
    """Compare two cells that took turns in one run, or return why they cannot be compared."""
    for pair in (before.conditions.pair, after.conditions.pair):
        if pair is not None and not pair.held:
            return (
                f"in its run, one cell timed twice took {pair.low:.3f} to {pair.high:.3f} × as long"
            )
    medians = [round_medians(before), round_medians(after)]
    common = min(map(len, medians))
    with np.errstate(invalid="ignore", divide="ignore"):  # a time of 0 has no logarithm
        logs = np.log(medians[1][:common]) - np.log(medians[0][:common])
    logs = logs[np.isfinite(logs)]
    if len(logs) < 2:
        return "all rounds except one were disturbed"
    # a median varies π/2 times as much as a mean
    variance = float(np.var(logs, ddof=1)) / len(logs) * np.pi / 2
    thorough = before.conditions.pair is not None  # then each round had new processes
    between = 0.0 if thorough else PROCESS_SPREAD**2
    return Level(
        rounds=len(logs) if thorough else 1,
        mean=float(np.median(logs)),
        variance=variance + between,
    )


def round_medians(record: Record, *, disturbed: bool = False) -> list[float]:
    """Return the median of each round in nanoseconds; by default, not a number for disturbed ones.

    Empty for a record without latencies.
    """
    latency = record.payload
    if not isinstance(latency, Latency):
        return []
    quiet = [fact.disturbed is None for fact in latency.facts] or [True] * len(latency.rounds_ns)
    medians = (float(np.median(each)) for each in latency.rounds_ns)
    counts = (usable or disturbed for usable in quiet)
    return [m if usable else float("nan") for m, usable in zip(medians, counts, strict=True)]
