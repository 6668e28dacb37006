"""Cells that take turns on a device; one that breaks or hangs costs itself only."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hemline.activity import ActivityWatch
from hemline.bench.devices.device import HERE, Device
from hemline.bench.devices.inspection import Runner
from hemline.bench.measuring.noise import facts_of
from hemline.bench.measuring.plan import MeasurementPlan, PlannedCell
from hemline.contract.evaluation_set import load_split
from hemline.contract.job import Job, JobCell, JobResult
from hemline.contract.record import RoundFacts
from hemline.errors import DeviceError, JobError

_IMAGES = 256  # different ones, so that no branch or cache sees the same input twice in a row
# to start a process and to load a model there, on a slow board with a cold disk
_START_SECONDS = 120.0
_SLOWEST_IMAGE_SECONDS = 1.0  # none that is worth 200 invocations takes longer
_SLOWER = 10  # than the slowest turn of the same cell so far: it hangs


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One round of the cells.

    results: index of a cell to what came of its turn; without those that failed.
    facts: what the machine did meanwhile.
    """

    results: dict[int, JobResult]
    facts: RoundFacts


class Turns:
    """Run every cell once a round. The order is reversed every time, so that drifts cancel.

    Of a thorough plan each turn has a process of its own: two processes of one model differ by
    some tenths of a percent all their lives, which rounds in one process cannot show. Otherwise a
    cell keeps its process until `stack` is closed.

    failed: index of a cell to why it has no further turns.
    """

    def __init__(
        self,
        cells: Sequence[PlannedCell],
        device: Device,
        plan: MeasurementPlan,
        *,
        stack: contextlib.ExitStack,
        stop: Callable[[], None],
        progress: Callable[[str], None],
    ) -> None:
        self.cells = list(cells)
        self.failed: dict[int, JobError] = {}
        self._device, self._plan, self._stop, self._progress = device, plan, stop, progress
        self._images = {cell.subject.bundle: images_of(cell) for cell in cells}
        self._stack = stack
        self._runners: dict[int, Runner] = {}
        self._packages: dict[int, int | None] = {}
        self._slowest: dict[int, float] = {}
        self._rounds = 0

    def round(self, indices: Sequence[int] | None = None) -> Round:
        """Give cells their turn, by default all; raises DeviceError when the device was lost."""
        order = list(range(len(self.cells)) if indices is None else indices)
        results: dict[int, JobResult] = {}
        watch = ActivityWatch()
        for index in order if self._rounds % 2 == 0 else reversed(order):
            self._stop()
            if index not in self.failed and (result := self._result(index)) is not None:
                results[index] = result
        self._rounds += 1
        activities = [each.activity for each in results.values() if each.activity is not None]
        if self._plan.thorough and self._device.place == HERE and self._device.ends_its_children:
            # Over the whole round ticks are exact. What the children used is ours: all have ended.
            activities = [replace(each, elapsed_ticks=None) for each in activities]
            activities.append(replace(watch.activity(), frequency_khz=None))
        return Round(results=results, facts=facts_of(activities))

    def _result(self, index: int) -> JobResult | None:
        cell, started = self.cells[index], time.monotonic()
        try:
            result = self._answer(index)
            if result.failure is not None:
                raise JobError(result.failure.message)
        except DeviceError:
            raise  # the device is gone, and all its cells with it
        except JobError as error:
            self.failed[index] = JobError(f"{cell.title} could not be measured: {error}")
            self._progress(str(self.failed[index]))
            return None
        self._slowest[index] = max(self._slowest.get(index, 0.0), time.monotonic() - started)
        package = self._packages.setdefault(index, result.package_bytes)
        return replace(result, package_bytes=package)

    def _answer(self, index: int) -> JobResult:
        cell, limit = self.cells[index], self._limit(index)
        job = job_of(cell, self._images[cell.subject.bundle], self._plan, self._rounds)
        if self._plan.thorough:
            with self._device.open(cell.runtime, cell.version) as runner:
                return runner.run(job, timeout_seconds=limit)
        if index not in self._runners:
            opened = self._device.open(cell.runtime, cell.version)
            self._runners[index] = self._stack.enter_context(opened)
        return self._runners[index].run(job, timeout_seconds=limit)

    def _limit(self, index: int) -> float:
        if index in self._slowest:
            return _START_SECONDS + _SLOWER * self._slowest[index]
        invocations = self._plan.warmup + self._plan.invocations
        return _START_SECONDS + _SLOWEST_IMAGE_SECONDS * invocations * self.cells[index].batch


def images_of(cell: PlannedCell) -> Path:
    """Return the file of the images that a cell runs; raises FileFormatError."""
    hashes = cell.subject.manifest.evaluation_sha256
    return load_split(cell.subject.bundle, "test", hashes).images_path


def job_of(cell: PlannedCell, images: Path, plan: MeasurementPlan, number: int) -> Job:
    """Return the job of one turn of a cell; the first one asks for the runtime's size too."""
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
        want=("latencies",) if number else ("latencies", "package"),
        allow_unsupported=True,  # it passed there
    )
