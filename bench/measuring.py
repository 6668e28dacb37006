"""Measure latency and memory: rounds of all cells in turn, one child for each cell, kept open.

Interleaving spreads slow drifts (frequency, neighbours) over all cells alike, so that their ratios
hold; one child for each cell keeps memory and thread pools apart.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hemline.attribution import cell_of, conditions_of
from hemline.bench.devices import Device
from hemline.errors import HemlineError, JobError
from hemline.evaluation_set import load_split
from hemline.job import CellResult, Job, JobCell, JobResult
from hemline.manifest import Artifact, Manifest
from hemline.record import Latency, Memory, Record
from hemline.runtime.backends import BACKENDS, installed, version_of

_IMAGES = 256  # different ones, so that no branch or cache sees the same input twice in a row


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
    def title(self) -> str:
        return f"{self.artifact.name} in {self.runtime} {self.version}"


def measure(
    bundle: Path,
    manifest: Manifest,
    device: Device,
    plan: Plan,
    *,
    say: Callable[[str], None],
) -> tuple[Record, ...]:
    """Measure every artifact in the plan's runtimes, where it was verified to be right.

    Returns a Latency and a Memory record for each cell. Raises HemlineError when nothing was
    verified, JobError when a child dies.
    """
    split = load_split(bundle, "test", manifest.evaluation_sha256)
    candidates = _candidates(manifest, plan)
    if not candidates:
        raise HemlineError(_nothing_verified(bundle, plan))
    say(f"bench {len(candidates)} cells × {plan.rounds} rounds × {plan.invocations} invocations")
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(device.open(c.runtime, c.version)) for c in candidates]
        results: list[list[JobResult]] = [[] for _ in candidates]
        for number in range(plan.rounds):
            for candidate, process, received in zip(candidates, processes, results, strict=True):
                job = _job(bundle, candidate, plan, split.images_path, number)
                received.append(_require(candidate, process.run(job)))
    return tuple(
        record
        for candidate, received in zip(candidates, results, strict=True)
        for record in _records(manifest, device, candidate, received)
    )


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
        if artifact.status_in(runtime, version) == "right" and is_in(plan, runtime, version)
        for threads in plan.threads
        for batch in plan.batches
    ]


def is_in(plan: Plan, runtime: str, version: str) -> bool:
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
        outside_claim=True,  # it was seen to be right there
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
