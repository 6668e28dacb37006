"""Bench one device: check its predictions, then measure time, instructions or arena, as it can.

What is measured is kept piece by piece: a device that is lost loses only what it was doing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from hemline.bench.devices.checking import Check, check, nothing, only_passed, require_passed
from hemline.bench.devices.device import Device
from hemline.bench.latency_summary import summarize
from hemline.bench.measuring.plan import (
    CellKey,
    MeasurementPlan,
    cells_of,
    key_of,
    measured_cells,
    planned_cells,
)
from hemline.bench.measuring.rounds import measure
from hemline.bench.measuring.subject import Subject
from hemline.bench.measuring.sustained import sustain
from hemline.bench.records import records_on
from hemline.bench.report.sustained import draw_sustained, sustained_lines
from hemline.contract.manifest import Artifact
from hemline.contract.record import LOCAL, Accuracy, Latency, Record
from hemline.contract.settings import DEFAULT
from hemline.errors import HemlineError, remedy
from hemline.version import VERSION

Print = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchRequest:
    """What to do on every device.

    plan: how to measure latencies.
    resume: whether to keep what was measured before by the same plan, in the same version and on
        the same host.
    keep_counts: whether to keep instruction counts, which are the same every time, of the same
        versions.
    sustained_seconds: how long to run the fastest cell without a pause; 0 for not at all.
    stop: raises when the user interrupts.
    """

    plan: MeasurementPlan
    resume: bool = False
    keep_counts: bool = False
    sustained_seconds: float = 0.0
    stop: Callable[[], None] = nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRun:
    """What one device gave in this run.

    write: adds records to a bundle.
    progress: prints what is being done.
    report: prints results.
    records: of this run, and those that --resume left as they are.
    failed: (hash of the artifact, runtime, version) of what failed the check there.
    checks: whether each one passed.
    cells: to measure there, those that are kept included.
    """

    write: Callable[[Subject, Iterable[Record]], object]
    progress: Print
    report: Print
    records: list[Record] = field(default_factory=list)
    failed: set[tuple[str, str, str]] = field(default_factory=set)
    checks: list[bool] = field(default_factory=list)
    cells: set[CellKey] = field(default_factory=set)

    def keep(self, subject: Subject, records: Iterable[Record]) -> None:
        """Write records of this run."""
        fresh = list(records)
        self.write(subject, fresh)
        self.records.extend(fresh)

    def keep_check(self, subject: Subject, checked: Check) -> None:
        """Keep the records and the status of a check."""
        self.keep(subject, checked.records)
        self.checks.append(checked.status == "passed")
        if checked.status == "failed":
            hashes = {artifact.name: artifact.sha256 for artifact in subject.manifest.artifacts}
            self.failed.add((hashes[checked.artifact], checked.runtime, checked.version))

    @property
    def passed(self) -> tuple[Record, ...]:
        """Return the records of what did not fail."""
        return tuple(
            r
            for r in self.records
            if (r.cell.artifact_sha256, r.cell.runtime, r.cell.runtime_version) not in self.failed
        )


def bench_device(
    device: Device, subjects: Sequence[Subject], request: BenchRequest, run: DeviceRun
) -> None:
    """Bench bundles on a device and keep what it gives in `run`.

    Raises GateError when an artifact fails there, JobError for cells that failed or a device that
    was lost, HemlineError when there is nothing to do; what came before was kept.
    """
    able = device.capabilities
    subjects = [replace(each, manifest=device.supported(each.manifest)) for each in subjects]
    plan = _plan_on(device, request.plan)
    done = _done(device, subjects, plan, request, run)
    run.cells.update(key for each in subjects for key in cells_of(each, plan))
    missing = run.cells - done
    if done and not missing and not request.sustained_seconds:
        run.progress("nothing is missing")
        return
    checks: list[Check] = []
    timed = list(subjects)
    if not able.verified_here:
        timed = []
        for subject in subjects:
            own = _check(device, subject, request, run, missing)
            checks += own
            if any(each.status == "passed" and not each.software for each in own):
                timed.append(replace(subject, manifest=only_passed(subject.manifest, own)))
    try:
        if able.latencies and timed:
            measure(
                timed,
                device,
                plan,
                skip=done,
                stop=request.stop,
                keep=run.keep,
                progress=run.progress,
            )
            if request.sustained_seconds:
                _sustain(device, timed, plan, request, run)
    except HemlineError:
        # what failed there matters more than what was not measured
        require_passed(checks, device)
        raise
    require_passed(checks, device)


def _sustain(
    device: Device,
    subjects: Sequence[Subject],
    plan: MeasurementPlan,
    request: BenchRequest,
    run: DeviceRun,
) -> None:
    """Run the fastest of the cells that were timed for a while."""
    timed = {
        key_of(subject.bundle, record.cell): summarize(record.payload).median_us
        for subject in subjects
        for record in run.records
        if isinstance(record.payload, Latency)
    }
    cells = [cell for subject in subjects for cell in planned_cells(subject, plan)]
    fastest = min(cells, key=lambda cell: timed.get(cell.key, float("inf")))
    run.progress(f"{fastest.title} for {request.sustained_seconds:g} s")
    records = sustain(fastest, device, request.sustained_seconds, stop=request.stop)
    run.keep(fastest.subject, records)
    for line in sustained_lines(records):
        run.report(line)
    suffix = "" if device.name == LOCAL else re.sub(r"\W+", "-", f"-{device.name}")
    picture = fastest.subject.bundle / f"sustained{suffix}.png"
    draw_sustained(records[0], picture)
    run.progress(f"picture: {picture}")


def _done(
    device: Device,
    subjects: Sequence[Subject],
    plan: MeasurementPlan,
    request: BenchRequest,
    run: DeviceRun,
) -> frozenset[CellKey]:
    """Return the cells that stay as measured; their records count as those of this run."""
    done: frozenset[CellKey] = frozenset()
    counts = request.keep_counts and device.capabilities.instructions
    if not (request.resume or counts):
        return done
    for bundle in (subject.bundle for subject in subjects):
        before = _earlier(bundle, device)
        if counts:
            same = {"hemline": VERSION, **device.versions()}.items()
            before = tuple(r for r in before if same <= r.conditions.versions.items())
        cells = measured_cells(bundle, before, plan)
        run.records.extend(record for record in before if key_of(bundle, record.cell) in cells)
        done |= cells
    return done


def _plan_on(device: Device, plan: MeasurementPlan) -> MeasurementPlan:
    plan = replace(plan, runtimes=device.runtimes())
    # instructions are counted for one image and thread only
    counts = device.capabilities.instructions
    return replace(plan, threads=(1,), batches=(1,), settings=(DEFAULT,)) if counts else plan


def _earlier(bundle: Path, device: Device) -> tuple[Record, ...]:
    """Return the records that may stay; accuracies of verification are not those of a check."""
    records = records_on(bundle, device)
    if not device.capabilities.verified_here:
        return records
    return tuple(record for record in records if not isinstance(record.payload, Accuracy))


def _check(
    device: Device,
    subject: Subject,
    request: BenchRequest,
    run: DeviceRun,
    missing: Container[CellKey],
) -> tuple[Check, ...]:
    """Check every artifact; where instructions are counted, only what passed here without them."""

    def is_missing(artifact: Artifact, runtime: str, version: str) -> bool:
        return (subject.bundle, artifact.sha256, runtime, version, 1, 1, DEFAULT) in missing

    counts = device.capabilities.instructions
    if counts and not missing:
        raise HemlineError(
            f"{subject.bundle} has no artifact that passed verification in a runtime of "
            f"{device.name}",
            remedy=remedy("verify", bundle=subject.bundle),
        )
    return check(
        subject.bundle,
        subject.manifest,
        device,
        only=is_missing if counts else None,
        stop=request.stop,
        keep=partial(run.keep_check, subject),
        report=run.report,
    )
