"""Bench several devices at once: each does one job at a time, and fails on its own account."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

from hemline.bench.devices import DEVICES, HERE, HERE_BUSY, Device, open_device
from hemline.bench.measuring.one_device import Account, Work, bench_device
from hemline.contract.manifest import Manifest
from hemline.contract.record import RECORDS_NAME, Record, merge_into
from hemline.errors import HemlineError, UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How it ended on one device.

    device: its name.
    error: why cells are missing or what is wrong there; None when all is done and right.
    records: of what is right there, from this run and what it resumed.
    """

    device: str
    error: HemlineError | None
    records: tuple[Record, ...] = ()

    @property
    def exit_code(self) -> int:
        """Return the exit code that the error asks for; 0 without one."""
        return 0 if self.error is None else self.error.exit_code


def open_fleet(names: str, *, fallback: bool) -> tuple[list[Device], tuple[Outcome, ...]]:
    """Return the devices in a list such as "local,pi4", and the outcomes of those that cannot be.

    Raises UsageError for a name that is wrong or stands there twice; the error of a single device.
    """
    wanted = [name.strip() for name in names.split(",")]
    devices: list[Device] = []
    failed = []
    for name in wanted:
        kind = DEVICES.get(name.partition(":")[0])
        falls_back = len(wanted) == 1 or (kind is not None and kind.falls_back)
        try:
            devices.append(open_device(name, fallback=fallback and falls_back))
        except UsageError:
            raise
        except HemlineError as error:
            if len(wanted) == 1:
                raise
            failed.append(Outcome(device=name, error=error))
    opened = [*(device.name for device in devices), *(outcome.device for outcome in failed)]
    if twice := next((name for name in opened if opened.count(name) > 1), None):
        raise UsageError(f"--device names {twice!r} twice")
    return devices, tuple(failed)


def bench_fleet(
    devices: Sequence[Device],
    bundle: Path,
    manifest: Manifest,
    work: Work,
    *,
    say: Callable[[str], None],
    tell: Callable[[str], None],
) -> tuple[Outcome, ...]:
    """Bench every device; return the outcomes in their order. Findings go to `tell`.

    Devices at one place take turns, because they would disturb each other's measurements; places
    work at the same time. What a device has answered is in the bundle's records at once, and its
    latencies when its rounds are over, whatever happens to the others.
    """
    lock, stopped = threading.Lock(), threading.Event()

    def write(records: Iterable[Record]) -> None:
        with lock:
            merge_into(bundle / RECORDS_NAME, records)

    def stop() -> None:
        if stopped.is_set():
            raise HemlineError("interrupted")

    def bench(device: Device) -> Outcome:
        prefix = f"{device.name}: " if len(devices) > 1 else ""
        account = Account(write=write, say=lambda line: say(f"{prefix}{line}"), tell=tell)
        error = None
        try:
            stop()
            with HERE_BUSY if device.place == HERE else contextlib.nullcontext():
                bench_device(device, bundle, manifest, replace(work, stop=stop), account)
        except HemlineError as problem:
            error = problem
        right = tuple(r for r in account.records if _identity(r) not in account.wrong)
        return Outcome(device=device.name, error=error, records=right)

    places: dict[str, list[Device]] = {}
    for device in devices:
        places.setdefault(device.place, []).append(device)
    if len(places) <= 1:  # in this thread, where an interrupt ends it at once
        return tuple(bench(device) for device in devices)
    with ThreadPoolExecutor(max_workers=len(places)) as pool:
        turns = [
            pool.submit(lambda each: [bench(one) for one in each], each) for each in places.values()
        ]
        try:
            finished = [turn.result() for turn in as_completed(turns)]
        except BaseException:
            stopped.set()  # each ends after the job that is under way
            raise
    ended = {outcome.device: outcome for outcomes in finished for outcome in outcomes}
    return tuple(ended[device.name] for device in devices)


def _identity(record: Record) -> tuple[str, str, str]:
    cell = record.cell
    return (cell.artifact, cell.runtime, cell.runtime_version)
