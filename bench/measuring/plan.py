"""What a measurement covers: artifacts × runtimes × threads × batches, in how many rounds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hemline.bench.measuring.subject import Subject
from hemline.contract.conditions import cell_of
from hemline.contract.job import JobResult
from hemline.contract.manifest import Artifact
from hemline.contract.record import Cell, Instructions, Latency, Payload, Record
from hemline.contract.settings import DEFAULT, Settings

# bundle, artifact's hash, runtime, its version, threads, batch, settings
CellKey = tuple[Path, str, str, str, int, int, Settings]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasurementPlan:
    """How to measure: the cells are artifacts × runtimes × threads × batches × settings.

    threads, batches, settings: values to try.
    runtimes: (runtime, version) pairs to measure in; empty for those of the device.
    rounds: times that each cell has its turn.
    invocations: timed in each round.
    warmup: before each round, so that every turn starts with warm caches.
    thorough: whether every turn has a process of its own, disturbed rounds are measured again, as
        many at most as planned, and one cell is measured as if it were two.
    """

    threads: tuple[int, ...] = (1,)
    batches: tuple[int, ...] = (1,)
    settings: tuple[Settings, ...] = (DEFAULT,)
    runtimes: tuple[tuple[str, str], ...] = ()
    rounds: int = 10
    invocations: int = 200
    warmup: int = 20
    thorough: bool = False


FULL = MeasurementPlan(thorough=True)
# to see an order of magnitude in a few seconds
QUICK = MeasurementPlan(rounds=3, invocations=100, warmup=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCell:
    """An artifact of a bundle in a runtime, with so many threads and images at once."""

    subject: Subject
    artifact: Artifact
    runtime: str
    version: str
    threads: int = 1
    batch: int = 1
    settings: Settings = DEFAULT

    @property
    def key(self) -> CellKey:
        """Return its identity among the cells of a device."""
        what = (self.artifact.sha256, self.runtime, self.version)
        return (self.subject.bundle, *what, self.threads, self.batch, self.settings)

    @property
    def title(self) -> str:
        """Return artifact, runtime and version, for messages."""
        return f"{self.artifact.name} in {self.runtime} {self.version}"

    def recorded(self, result: JobResult, device: str) -> Cell:
        """Return the cell of a record, of what a job ran on a device."""
        return cell_of(
            self.subject.manifest,
            self.artifact,
            result,
            threads=self.threads,
            batch=self.batch,
            device=device,
            settings=self.settings,
        )


def key_of(bundle: Path, cell: Cell) -> CellKey:
    """Return the identity of a record's cell, in its bundle, among the others of its device."""
    what = (cell.artifact_sha256, cell.runtime, cell.runtime_version)
    return (bundle, *what, cell.threads, cell.batch, cell.settings)


def cells_of(subject: Subject, plan: MeasurementPlan) -> tuple[CellKey, ...]:
    """Return the identities of the cells of a bundle that a plan measures."""
    return tuple(cell.key for cell in planned_cells(subject, plan))


def planned_cells(subject: Subject, plan: MeasurementPlan) -> list[PlannedCell]:
    """Return the cells that a plan measures: what passed verification in its runtimes."""
    return [
        PlannedCell(
            subject=subject,
            artifact=artifact,
            runtime=runtime,
            version=version,
            threads=threads,
            batch=batch,
            settings=settings,
        )
        for artifact in subject.manifest.artifacts
        for runtime, version in dict.fromkeys((v.runtime, v.version) for v in artifact.verdicts)
        if artifact.status_in(runtime, version) == "passed" and (runtime, version) in plan.runtimes
        for threads in plan.threads
        for batch in plan.batches
        for settings in plan.settings
    ]


def measured_cells(
    bundle: Path, records: Iterable[Record], plan: MeasurementPlan
) -> frozenset[CellKey]:
    """Return the cells that were measured at least as thoroughly as the plan asks for."""
    return frozenset(key_of(bundle, r.cell) for r in records if _is_enough(r.payload, plan))


def _is_enough(payload: Payload, plan: MeasurementPlan) -> bool:
    if isinstance(payload, Latency):
        rounds = payload.rounds_ns
        return len(rounds) >= plan.rounds and min(map(len, rounds)) >= plan.invocations
    return isinstance(payload, Instructions)  # which are the same every time
