"""Bench several devices at once: each does one job at a time, and fails on its own account."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from hemline.bench.devices import DEVICES, Device, open_device
from hemline.bench.one_device import Work, bench_device
from hemline.errors import HemlineError, UsageError
from hemline.manifest import Manifest
from hemline.record import RECORDS_NAME, Record, merge_into


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How it ended on one device.

    device: its name.
    error: why cells are missing or what is wrong there; None when all is done and right.
    """

    device: str
    error: HemlineError | None

    @property
    def exit_code(self) -> int:
        """Return the exit code that the error asks for; 0 without one."""
        return 0 if self.error is None else self.error.exit_code


def open_fleet(names: str, *, fallback: bool) -> tuple[list[Device], tuple[Outcome, ...]]:
    """Return the devices in a list such as "local,pi4", and the outcomes of those that cannot be.

    Raises UsageError for a name that is wrong or stands there twice; the error of a single device.
    """
    wanted = [name.strip() for name in names.split(",")]
    twice = next((name for name in wanted if wanted.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"--device names {twice!r} twice")
    devices, failed = [], []
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
    work at the same time. What a device has measured is in the bundle's records at once, whatever
    happens to it or to the others afterwards.
    """
    lock = threading.Lock()

    def keep(records: Iterable[Record]) -> None:
        with lock:
            merge_into(bundle / RECORDS_NAME, records)

    def bench(device: Device) -> Outcome:
        prefix = f"{device.name}: " if len(devices) > 1 else ""

        def progress(line: str) -> None:
            say(f"{prefix}{line}")

        try:
            bench_device(device, bundle, manifest, work, keep=keep, say=progress, tell=tell)
        except HemlineError as error:
            return Outcome(device=device.name, error=error)
        return Outcome(device=device.name, error=None)

    places: dict[str, list[Device]] = {}
    for device in devices:
        places.setdefault(device.place, []).append(device)
    if not places:
        return ()
    with ThreadPoolExecutor(max_workers=len(places)) as pool:
        turns = [
            pool.submit(lambda each: [bench(one) for one in each], each) for each in places.values()
        ]
        ended = {outcome.device: outcome for turn in turns for outcome in turn.result()}
    return tuple(ended[device.name] for device in devices)
