"""Measure latency and memory: rounds of all cells in turn, one child for each cell, kept open.

Interleaving spreads slow drifts (frequency, neighbours) over all cells alike, so that their ratios
hold; one child for each cell keeps memory and thread pools apart.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hemline.bench.devices import Device, Runner
from hemline.bench.devices.checking import nothing
from hemline.contract.conditions import cell_of, conditions_of
from hemline.contract.evaluation_set import load_split
from hemline.contract.job import CellResult, Job, JobCell, JobResult
from hemline.contract.manifest import Artifact, Manifest
from hemline.contract.record import Cell, Latency, Memory, Record
from hemline.errors import DeviceError, HemlineError, JobError
from hemline.runtime.backends import BACKENDS, installed, version_of

_IMAGES = 256  # different ones, so that no branch or cache sees the same input twice in a row


# artifact's hash, runtime, its version, threads, batch
CellKey = tuple[str, str, str, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How to measure: the cells are artifacts × runtimes × threads × batches.

    threads, batches: values to try.
    runtimes: (runtime, version) pairs to measure in; None for those installed beside Hemline.
    rounds: times that each cell has its turn.
    invocations: timed in each round.
    warmup: before each round, so that every turn starts with warm caches.
    """

    threads: tuple[int, ...] = (1,)
    batches: tuple[int, ...] = (1,)
    runtimes: tuple[tuple[str, str], ...] | None = None
    rounds: int = 10
    invocations: int = 200
    warmup: int = 20


FULL = Plan()
# to see an order of magnitude in a few seconds
QUICK = Plan(rounds=3, invocations=100, warmup=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    artifact: Artifact
    runtime: str
    version: str
    threads: int
    batch: int

    @property
    def key(self) -> CellKey:
        """Return what tells it from the other cells of a device."""
        return (self.artifact.sha256, self.runtime, self.version, self.threads, self.batch)

    @property
    def title(self) -> str:
        return f"{self.artifact.name} in {self.runtime} {self.version}"


def measure(
    bundle: Path,
    manifest: Manifest,
    device: Device,
    plan: Plan,
    *,
    skip: Container[CellKey] = frozenset(),
    stop: Callable[[], None] = nothing,
    keep: Callable[[Iterable[Record]], object],
    say: Callable[[str], None],
) -> None:
    """Measure every artifact in the plan's runtimes, where it was verified to be right.

    Gives a Latency and a Memory record for each cell to `keep`, after the last round. A cell that
    fails costs itself only; JobError is raised at the end. `stop` raises when the user has enough.
    Raises HemlineError when nothing was verified, DeviceError when the device was lost.
    """
    split = load_split(bundle, "test", manifest.evaluation_sha256)
    known = _candidates(manifest, plan)
    candidates = [candidate for candidate in known if candidate.key not in skip]
    if not known:
        raise HemlineError(_nothing_verified(bundle, plan))
    say(f"bench {len(candidates)} cells × {plan.rounds} rounds × {plan.invocations} invocations")
    failed: dict[CellKey, JobError] = {}
    results: dict[CellKey, list[JobResult]] = {candidate.key: [] for candidate in candidates}
    with contextlib.ExitStack() as stack:
        runners: dict[CellKey, Runner] = {}
        for number in range(plan.rounds):
            for candidate in candidates:
                stop()
                key = candidate.key
                if key in failed:
                    continue
                try:
                    if key not in runners:
                        opened = device.open(candidate.runtime, candidate.version)
                        runners[key] = stack.enter_context(opened)
                    job = _job(bundle, candidate, plan, split.images_path, number)
                    results[key].append(_require(candidate, runners[key].run(job)))
                except DeviceError:
                    raise  # the device is gone, and all its cells with it
                except JobError as error:
                    say(f"{candidate.title}: {error}")
                    failed[key] = error
    keep(
        record
        for candidate in candidates
        if candidate.key not in failed
        for record in _records(manifest, device, candidate, results[candidate.key])
    )
    if failed:
        raise next(iter(failed.values()))


def key_of(cell: Cell) -> CellKey:
    """Return what tells a record's cell from the others of its device."""
    runtime = (cell.runtime, cell.runtime_version)
    return (cell.artifact_sha256, *runtime, cell.threads, cell.batch)


def cells_of(manifest: Manifest, plan: Plan) -> tuple[CellKey, ...]:
    """Return the cells that a plan measures."""
    return tuple(candidate.key for candidate in _candidates(manifest, plan))


def _candidates(manifest: Manifest, plan: Plan) -> list[_Candidate]:
    return [
        _Candidate(
            artifact=artifact,
            runtime=runtime,
            version=version,
            threads=threads,
            batch=batch,
        )
        for artifact in manifest.artifacts
        for runtime, version in dict.fromkeys((v.runtime, v.version) for v in artifact.verdicts)
        if artifact.status_in(runtime, version) == "passed" and _is_in(plan, runtime, version)
        for threads in plan.threads
        for batch in plan.batches
    ]


def _is_in(plan: Plan, runtime: str, version: str) -> bool:
    """Tell whether a plan measures in a version of a runtime."""
    if plan.runtimes is not None:
        return (runtime, version) in plan.runtimes
    backend = BACKENDS.get(runtime)
    return backend is not None and installed(backend) and version_of(backend) == version


def _nothing_verified(bundle: Path, plan: Plan) -> str:
    if plan.runtimes is None:
        return f"{bundle} has no verified artifact: run `hemline verify {bundle}`"
    options = " ".join(f"--runtime {runtime}=={version}" for runtime, version in plan.runtimes)
    return f"{bundle} has no artifact right there: run `hemline verify {bundle} {options}`"


def _job(bundle: Path, candidate: _Candidate, plan: Plan, images: Path, number: int) -> Job:
    return Job(
        id=f"round-{number}",
        artifact=str(bundle / candidate.artifact.name),
        runtime=candidate.runtime,
        images=str(images),
        count=max(_IMAGES, candidate.batch),
        cells=(
            JobCell(
                threads=candidate.threads,
                batch=candidate.batch,
                warmup=plan.warmup,
                invocations=plan.invocations,
            ),
        ),
        want=("latencies",),
        allow_unsupported=True,  # it was seen to be right there
    )


def _require(candidate: _Candidate, result: JobResult) -> JobResult:
    if result.failure is not None:
        raise JobError(f"{candidate.title} could not be measured: {result.failure.message}")
    return result


def _records(
    manifest: Manifest, device: Device, candidate: _Candidate, results: Sequence[JobResult]
) -> tuple[Record, Record]:
    first, last = results[0], results[-1]
    cell = cell_of(
        manifest,
        candidate.artifact,
        last,
        threads=candidate.threads,
        batch=candidate.batch,
        device=device.name,
    )
    conditions = conditions_of(last)
    opened: CellResult = first.cells[0]
    latency = Latency(rounds_ns=tuple(result.cells[0].latencies_ns for result in results))
    memory = Memory(
        peak_bytes=last.peak_memory_bytes,
        import_ns=first.import_ns,
        load_ns=opened.load_ns,
        first_ns=opened.first_ns,
    )
    return (
        Record(cell=cell, conditions=conditions, payload=latency),
        Record(cell=cell, conditions=conditions, payload=memory),
    )
