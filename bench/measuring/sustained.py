"""Run one cell for minutes without a pause: latency, heat and frequency over time, and energy."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from hemline.bench.devices.device import Device
from hemline.bench.measuring.plan import MeasurementPlan, PlannedCell
from hemline.bench.measuring.turns import images_of, job_of
from hemline.contract.conditions import conditions_of
from hemline.contract.job import JobResult, PowerReading
from hemline.contract.record import Energy, Record, Sustained
from hemline.errors import JobError

_IDLE_SECONDS = 3.0
_SLICE_SECONDS = 1.0
_TIMED = 500  # at the end of a slice: to send all of them would be a pause
_LIMIT_SECONDS = 300.0


def sustain(
    cell: PlannedCell, device: Device, seconds: float, *, stop: Callable[[], None]
) -> tuple[Record, ...]:
    """Run a cell in one process and return how it went, and its energy where power is reported.

    Power is that of the whole machine above what it takes while the process waits. Raises JobError.
    """
    plan = MeasurementPlan(invocations=50)
    results: list[JobResult] = []
    ends: list[float] = []
    with device.open(cell.runtime, cell.version) as runner:

        def slice_of(plan: MeasurementPlan) -> JobResult:
            stop()
            job = replace(job_of(cell, images_of(cell), plan, 1), want=("latencies", "power"))
            result = runner.run(job, timeout_seconds=_LIMIT_SECONDS)
            if result.failure is not None:
                raise JobError(f"{cell.title} could not be measured: {result.failure.message}")
            return result

        idle = slice_of(plan)
        if idle.power:
            time.sleep(_IDLE_SECONDS)
        median_ns = float(np.median(idle.cells[0].latencies_ns))
        count = max(1, round(_SLICE_SECONDS * 1e9 / median_ns))
        timed = min(count, _TIMED)
        plan, started = replace(plan, warmup=count - timed, invocations=timed), time.monotonic()
        while not ends or ends[-1] < seconds:
            results.append(slice_of(plan))
            ends.append(time.monotonic() - started)
    last = results[-1]
    where = cell.recorded(last, device.name)
    payloads = (_sustained(results, ends), _energy(idle, results, count * cell.batch))
    return tuple(
        Record(cell=where, conditions=conditions_of(last), payload=each)
        for each in payloads
        if each is not None
    )


def _sustained(results: Sequence[JobResult], ends: Sequence[float]) -> Sustained:
    heat = [result.host.temperature_millicelsius for result in results]
    speed = [result.activity.frequency_khz if result.activity else None for result in results]
    return Sustained(
        seconds=tuple(round(end, 3) for end in ends),
        medians_ns=tuple(int(np.median(result.cells[0].latencies_ns)) for result in results),
        temperatures_millicelsius=_known(heat),
        frequencies_khz=_known(speed),
    )


def _known(values: Sequence[int | None]) -> tuple[int, ...]:
    known = tuple(value for value in values if value is not None)
    return known if len(known) == len(values) else ()


def _energy(idle: JobResult, results: Sequence[JobResult], images: int) -> Energy | None:
    """Return the energy of an inference above that of waiting; `images` are those of a slice."""
    if not (idle.power and results[0].power and results[-1].power):
        return None
    begin, end = results[0].power[0], results[-1].power[-1]
    idle_watts, busy_watts = _watts(idle.power[-1], begin), _watts(begin, end)
    seconds = (end.clock_ns - begin.clock_ns) / 1e9
    return Energy(
        joules_per_inference=(busy_watts - idle_watts) * seconds / (images * len(results)),
        idle_watts=idle_watts,
        busy_watts=busy_watts,
        source=end.source,
    )


def _watts(first: PowerReading, second: PowerReading) -> float:
    elapsed = max(1, second.clock_ns - first.clock_ns)  # what a device sends is not trusted
    return (second.joules - first.joules) * 1e9 / elapsed
