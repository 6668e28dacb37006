"""Where jobs can run: the table of kinds, and what every device gives to the rest of bench.

A device starts the job runner somewhere and moves files there. Everything else, from rounds to
records, is the same for all of them.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from hemline.errors import UnknownNameError
from hemline.job import Job, JobResult


class Runner(Protocol):
    """A job runner that stays open; one job at a time. JobProcess is the one of this machine."""

    def run(self, job: Job, *, timeout_seconds: float = ...) -> JobResult:
        """Run a job whose paths are of this machine; logits come back into a file here.

        Raises JobError when the runner is gone or gives no valid result.
        """

    def close(self) -> None:
        """End the runner."""

    def __enter__(self) -> Runner: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


class Device(Protocol):
    """One place where jobs run.

    name: in records, and as it was asked for (local, emulated:pi4, ssh:pi@board).
    real_time: whether its wall times are latencies of a real device.
    """

    name: str
    real_time: bool

    def runtimes(self) -> tuple[tuple[str, str], ...]:
        """Return the (runtime, version) pairs that can run there, in the order of BACKENDS."""

    def open(self, runtime: str, version: str) -> Runner:
        """Start a job runner for one of them.

        Raises HemlineError with what to do when the device cannot be reached or used.
        """

    def close(self) -> None:
        """Give up connections; runners must be closed before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A row of the DEVICES table.

    name: what stands before the colon of a device's name.
    summary: one line for help and tables.
    open: "module:function" taking what stands after the colon ("" without one), giving a Device.
    """

    name: str
    summary: str
    open: str


DEVICES: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            name="local",
            summary="this machine's processor",
            open="hemline.bench.devices.local:LocalDevice",
        ),
    )
}


def open_device(name: str) -> Device:
    """Return the device called `name`: a kind, or a kind and an address behind a colon.

    Raises UnknownNameError with the nearest kind, HemlineError when the device cannot be used.
    """
    kind, _, address = name.partition(":")
    if kind not in DEVICES:
        raise UnknownNameError("device", name, DEVICES)
    module, _, function = DEVICES[kind].open.partition(":")
    device: Device = getattr(importlib.import_module(module), function)(address)
    return device
