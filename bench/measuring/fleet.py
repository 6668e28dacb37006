"""Bench several devices at once: each does one job at a time, and fails alone."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextvars import copy_context
from dataclasses import dataclass, replace

from hemline.bench.costs import COSTS
from hemline.bench.devices.addresses import open_device
from hemline.bench.devices.device import HERE, HERE_BUSY, Device
from hemline.bench.devices.table import DEVICES
from hemline.bench.measuring.device_bench import BenchRequest, DeviceRun, bench_device
from hemline.bench.measuring.subject import Subject
from hemline.contract.record import Record
from hemline.environments.environment import RuntimeTarget
from hemline.errors import HemlineError, UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceResult:
    """How a bench ended on one device.

    device: its name.
    error: why cells are missing or what failed there; None when all is measured and passed.
    records: of what passed there, from this run and what it resumed.
    """

    device: str
    error: HemlineError | None
    records: tuple[Record, ...] = ()

    @property
    def is_measured(self) -> bool:
        """Return whether files can be compared by what was measured there."""
        return any(isinstance(record.payload, COSTS) for record in self.records)


def open_fleet(
    names: str, *, fallback: bool = False, targets: Sequence[RuntimeTarget] = ()
) -> tuple[list[Device], tuple[DeviceResult, ...]]:
    """Return the devices in a list such as "local,pi4", and the results of those that cannot be.

    `fallback` goes to those that can fall back. Raises UsageError for a name that is wrong or
    stands there twice; the error of a single device.
    """
    wanted = [name.strip() for name in names.split(",")]
    devices: list[Device] = []
    failed = []
    for name in wanted:
        kind = DEVICES.get(name.partition(":")[0])
        falls_back = len(wanted) == 1 or (kind is not None and kind.falls_back)
        try:
            devices.append(open_device(name, fallback=fallback and falls_back, targets=targets))
        except UsageError:
            raise
        except HemlineError as error:
            if len(wanted) == 1:
                raise
            failed.append(DeviceResult(device=name, error=error))
    opened = [*(device.name for device in devices), *(result.device for result in failed)]
    if twice := next((name for name in opened if opened.count(name) > 1), None):
        raise UsageError(f"{twice!r} is named twice among the devices")
    return devices, tuple(failed)


def bench_fleet(
    devices: Sequence[Device],
    subjects: Sequence[Subject],
    request: BenchRequest,
    *,
    progress: Callable[[str], None],
    report: Callable[[str], None],
) -> tuple[DeviceResult, ...]:
    """Bench bundles on every device; return its results in order. Checks go to `report`.

    Devices at one place take turns, because they would disturb each other's measurements; places
    work at the same time. What a device predicts is in its bundle's records at once, and its
    latencies when its rounds are over, whatever happens to the others.
    """
    lock, stopped = threading.Lock(), threading.Event()

    def write(subject: Subject, records: Iterable[Record]) -> None:
        with lock:
            subject.append(records)

    def stop() -> None:
        if stopped.is_set():
            raise HemlineError("interrupted")

    def bench(device: Device) -> DeviceResult:
        prefix = f"{device.name}: " if len(devices) > 1 else ""
        run = DeviceRun(
            write=write, progress=lambda line: progress(f"{prefix}{line}"), report=report
        )
        error = None
        try:
            stop()
            with HERE_BUSY if device.place == HERE else contextlib.nullcontext():
                bench_device(device, subjects, replace(request, stop=stop), run)
        except HemlineError as problem:
            error = problem
        return DeviceResult(device=device.name, error=error, records=run.passed)

    places: dict[str, list[Device]] = {}
    for device in devices:
        places.setdefault(device.place, []).append(device)
    if len(places) <= 1:  # in this thread, where an interrupt ends it at once
        return tuple(bench(device) for device in devices)
    with ThreadPoolExecutor(max_workers=len(places)) as pool:
        turns = [
            # each thread reports where this one does
            pool.submit(copy_context().run, lambda each: [bench(one) for one in each], each)
            for each in places.values()
        ]
        try:
            finished = [turn.result() for turn in as_completed(turns)]
        except BaseException:
            stopped.set()  # each ends after the job that is under way
            for device in devices:
                device.interrupt()
            raise
    ended = {result.device: result for results in finished for result in results}
    return tuple(ended[device.name] for device in devices)
