"""Bench several devices at once: each does one job at a time, and fails alone."""

from __future__ import annotations

import contextlib
import resource
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextvars import copy_context
from dataclasses import dataclass, replace

from hemline.bench.costs import COSTS
from hemline.bench.devices.addresses import device_names, open_device
from hemline.bench.devices.device import HERE, HERE_BUSY, Device
from hemline.bench.devices.table import DEVICES
from hemline.bench.latency_summary import summarize
from hemline.bench.measuring.device_bench import BenchRequest, DeviceRun, bench_device
from hemline.bench.measuring.subject import Subject
from hemline.contract.record import Latency, Record
from hemline.environments.environment import RuntimeTarget
from hemline.errors import DeviceError, GateError, HemlineError, UsageError
from hemline.progress import duration
from hemline.tables import microseconds

PATIENCE_SECONDS = 180.0  # a Raspberry Pi starts in less than a minute
_AT_ONCE = 64  # places; a board in use costs this machine some 50 MB


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceResult:
    """How a bench ended on one device.

    device: its name.
    error: why cells are missing or what failed there; None when all is measured and passed.
    records: of what passed there, from this run and what it resumed.
    checks: (passed, run) in this run.
    cells: to measure there.
    losses: how often the device was lost, and came back or was given up.
    seconds: that its work took.
    """

    device: str
    error: HemlineError | None
    records: tuple[Record, ...] = ()
    checks: tuple[int, int] = (0, 0)
    cells: int = 0
    losses: int = 0
    seconds: float = 0.0

    @property
    def is_measured(self) -> bool:
        """Return whether files can be compared by what was measured there."""
        return any(isinstance(record.payload, COSTS) for record in self.records)

    @property
    def row(self) -> tuple[str, ...]:
        """Return what the device did, for FLEET_COLUMNS."""
        words = {
            DeviceError: "lost" if self.records or self.losses else "not reached",
            GateError: "failed",
            HemlineError: "incomplete",
        }
        measured = sum(isinstance(record.payload, COSTS) for record in self.records)
        timed = [
            (summarize(r.payload).median_us, f"{r.cell.artifact} · {r.cell.runtime}")
            for r in self.records
            if isinstance(r.payload, Latency)
        ]
        return (
            self.device,
            next((word for kind, word in words.items() if isinstance(self.error, kind)), "done"),
            "{} of {}".format(*self.checks) if self.checks[1] else "",
            f"{measured} of {self.cells}" if self.cells else "",
            f"{self.losses} ×" if self.losses else "",
            duration(self.seconds),
            "".join(f"{what} {microseconds(us)}" for us, what in sorted(timed)[:1]),
        )


FLEET_COLUMNS = ("device", "status", "?>correct", "?>measured", "?>lost", ">time", "?fastest")


def open_fleet(
    names: str | Sequence[str], *, fallback: bool = False, targets: Sequence[RuntimeTarget] = ()
) -> tuple[list[Device], tuple[DeviceResult, ...]]:
    """Return the devices in a list such as "local,pi4", and the results of those that cannot be.

    `fallback` goes to those that can fall back. Raises UsageError for a name that is wrong or
    stands there twice; the error of a single device.
    """
    wanted = device_names(names)
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
    latencies when its rounds are over, whatever happens to the others. A board that is lost is
    waited for.
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
        error, began = None, time.monotonic()
        device.patience_seconds = PATIENCE_SECONDS
        try:
            stop()
            with HERE_BUSY if device.place == HERE else contextlib.nullcontext():
                bench_device(device, subjects, replace(request, stop=stop), run)
        except HemlineError as problem:
            error = problem
        return DeviceResult(
            device=device.name,
            error=error,
            records=run.passed,
            checks=(sum(run.checks), len(run.checks)),
            cells=len(run.cells),
            losses=device.losses,
            seconds=time.monotonic() - began,
        )

    places: dict[str, list[Device]] = {}
    for device in devices:
        places.setdefault(device.place, []).append(device)
    if len(places) <= 1:  # in this thread, where an interrupt ends it at once
        return tuple(bench(device) for device in devices)
    # each cell of a board has a process here, and pipes to it
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with ThreadPoolExecutor(max_workers=min(len(places), _AT_ONCE)) as pool:
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
