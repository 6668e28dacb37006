"""Where jobs can run: the table of kinds, and what every device gives to the rest of bench.

A device starts the job runner somewhere and moves files there. Everything else, from rounds to
records, is the same for all of them.
"""

from __future__ import annotations

import importlib
import threading
from dataclasses import dataclass
from typing import Protocol

from hemline.contract.job import Job, JobResult
from hemline.errors import UnknownNameError, UsageError

HERE = "this machine"
# held by whoever keeps this machine's processor busy: timed rounds, and answers to compare with
HERE_BUSY = threading.RLock()


class Runner(Protocol):
    """A job runner that stays open; one job at a time. JobProcess is the one of this machine."""

    def run(self, job: Job, *, timeout_seconds: float = ...) -> JobResult:
        """Run a job whose paths are of this machine; logits come back into a file here.

        Raises JobError when the runner is gone or gives no valid result.
        """

    def close(self) -> None:
        """End the runner."""

    def __enter__(self) -> Runner: ...

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None: ...


class Device(Protocol):
    """One place where jobs run.

    name: in records, and as it was asked for (local, emulated:pi4, ssh:pi@board).
    real_time: whether its wall times are latencies of a real device.
    place: whose processor it keeps busy; devices at one place take turns.
    """

    name: str
    real_time: bool
    place: str

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
    falls_back: whether `open` takes fallback, which lets this machine's processor run what the
        device cannot.
    """

    name: str
    summary: str
    open: str
    falls_back: bool = False


DEVICES: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            name="local",
            summary="this machine's processor",
            open="hemline.bench.devices.local:LocalDevice",
        ),
        Kind(
            name="emulated",
            summary="a Raspberry Pi in qemu: emulated:pi3, pi4, pi5 or pi-32bit",
            open="hemline.bench.devices.emulation.device:EmulatedDevice",
        ),
        Kind(
            name="gpu",
            summary="this machine's GPU; gpu:software for a program in its place",
            open="hemline.bench.devices.gpu.device:GpuDevice",
            falls_back=True,
        ),
        Kind(
            name="tflm",
            summary="tflite-micro, for the class of microcontrollers",
            open="hemline.bench.devices.micro.device:TflmDevice",
        ),
        Kind(
            name="ssh",
            summary="a Raspberry Pi or any Linux board: ssh:user@host[:port]",
            open="hemline.bench.devices.ssh.device:open_ssh",
        ),
    )
}


def open_device(name: str, *, fallback: bool = False) -> Device:
    """Return the device called `name`: a kind, a kind and an address behind a colon, or a name
    that the user gave to one (`hemline device add`).

    Raises UnknownNameError with the nearest kind, UsageError for a fallback where there is none,
    HemlineError when the device cannot be used.
    """
    kind, _, address = name.partition(":")
    if fallback and not (kind in DEVICES and DEVICES[kind].falls_back):
        raise UsageError(f"{name} has nothing to fall back to: --fallback goes with --device gpu")
    if kind not in DEVICES:
        return _named(name)
    module, _, function = DEVICES[kind].open.partition(":")
    given = {"fallback": True} if fallback else {}
    device: Device = getattr(importlib.import_module(module), function)(address, **given)
    return device


def _named(name: str) -> Device:
    from hemline.bench.devices.registry import read_registry, registry_path
    from hemline.bench.devices.ssh.device import open_entry

    entries = read_registry(registry_path())
    if name not in entries:
        raise UnknownNameError("device", name, (*DEVICES, *entries))
    return open_entry(entries[name])
