"""Measure latency and memory: rounds of all cells in turn, one child for each cell, kept open.

Interleaving spreads slow drifts (frequency, neighbours) over all cells alike, so that their ratios
hold; one child for each cell keeps memory and thread pools apart.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from hemline.bench.devices.checking import nothing
from hemline.bench.devices.device import Device
from hemline.bench.devices.inspection import Runner
from hemline.bench.measuring.plan import CellKey, MeasurementPlan, PlannedCell, planned_cells
from hemline.bench.measuring.subject import Subject
from hemline.contract.conditions import cell_of, conditions_of
from hemline.contract.evaluation_set import load_split
from hemline.contract.job import Job, JobCell, JobResult
from hemline.contract.record import Latency, Memory, Record
from hemline.errors import DeviceError, HemlineError, JobError, remedy

_IMAGES = 256  # different ones, so that no branch or cache sees the same input twice in a row


def measure(
    subjects: Sequence[Subject],
    device: Device,
    plan: MeasurementPlan,
    *,
    skip: Container[CellKey] = frozenset(),
    stop: Callable[[], None] = nothing,
    keep: Callable[[Subject, Iterable[Record]], object] = Subject.append,
    progress: Callable[[str], None],
) -> None:
    """Measure every artifact of every bundle in the plan's runtimes, where it passed verification.

    All cells take turns, whichever bundle they are of. Passes a Latency and a Memory record of each
    to `keep`, with its bundle, after the last round. A cell that fails costs itself only; JobError
    is raised at the end. `stop` raises when the user interrupts. Raises HemlineError when nothing
    of a bundle was verified, DeviceError when the device was lost.
    """
    plan = plan if plan.runtimes else replace(plan, runtimes=device.runtimes())
    cells: list[PlannedCell] = []
    for subject in subjects:
        planned = planned_cells(subject, plan)
        if not planned:
            names = " ".join(f"{runtime}=={version}" for runtime, version in plan.runtimes)
            raise HemlineError(
                f"{subject.bundle} has no artifact that passed verification in {names}",
                remedy=remedy("verify there", bundle=subject.bundle),
            )
        cells += [cell for cell in planned if cell.key not in skip]
    measure_cells(cells, device, plan, stop=stop, keep=keep, progress=progress)


def measure_cells(
    cells: Sequence[PlannedCell],
    device: Device,
    plan: MeasurementPlan,
    *,
    stop: Callable[[], None] = nothing,
    keep: Callable[[Subject, Iterable[Record]], object] = Subject.append,
    progress: Callable[[str], None],
) -> None:
    """Measure cells in turn, in the rounds of a plan; see measure."""
    progress(f"bench {len(cells)} cells × {plan.rounds} rounds × {plan.invocations} invocations")
    failed: dict[CellKey, JobError] = {}
    results: dict[CellKey, list[JobResult]] = {cell.key: [] for cell in cells}
    images = {cell.subject.bundle: _images(cell.subject) for cell in cells}
    with contextlib.ExitStack() as stack:
        runners: dict[CellKey, Runner] = {}
        for number in range(plan.rounds):
            for cell in cells:
                stop()
                key = cell.key
                if key in failed:
                    continue
                try:
                    if key not in runners:
                        opened = device.open(cell.runtime, cell.version)
                        runners[key] = stack.enter_context(opened)
                    job = _job(cell, plan, images[cell.subject.bundle], number)
                    results[key].append(_require(cell, runners[key].run(job)))
                except DeviceError:
                    raise  # the device is gone, and all its cells with it
                except JobError as error:
                    progress(f"{cell.title}: {error}")
                    failed[key] = error
    for cell in cells:
        if cell.key not in failed:
            keep(cell.subject, _records(device, cell, results[cell.key]))
    if failed:
        raise next(iter(failed.values()))


def _images(subject: Subject) -> Path:
    return load_split(subject.bundle, "test", subject.manifest.evaluation_sha256).images_path


def _job(cell: PlannedCell, plan: MeasurementPlan, images: Path, number: int) -> Job:
    return Job(
        id=f"round-{number}",
        artifact=str(cell.subject.bundle / cell.artifact.name),
        runtime=cell.runtime,
        images=str(images),
        count=max(_IMAGES, cell.batch),
        cells=(
            JobCell(
                threads=cell.threads,
                batch=cell.batch,
                warmup=plan.warmup,
                invocations=plan.invocations,
                settings=cell.settings,
            ),
        ),
        want=("latencies",),
        allow_unsupported=True,  # it passed there
    )


def _require(cell: PlannedCell, result: JobResult) -> JobResult:
    if result.failure is not None:
        raise JobError(f"{cell.title} could not be measured: {result.failure.message}")
    return result


def _records(device: Device, planned: PlannedCell, results: Sequence[JobResult]) -> list[Record]:
    first, last = results[0], results[-1]
    cell = cell_of(
        planned.subject.manifest,
        planned.artifact,
        last,
        threads=planned.threads,
        batch=planned.batch,
        device=device.name,
        settings=planned.settings,
    )
    conditions = conditions_of(last)
    latency = Latency(rounds_ns=tuple(result.cells[0].latencies_ns for result in results))
    memory = Memory(
        peak_bytes=last.peak_memory_bytes,
        import_ns=first.import_ns,
        load_ns=first.cells[0].load_ns,
        first_ns=first.cells[0].first_ns,
    )
    return [Record(cell=cell, conditions=conditions, payload=each) for each in (latency, memory)]
