"""Where jobs can run. A device is a way to start the job runner and to move files to it."""

from __future__ import annotations

from dataclasses import dataclass

from hemline.errors import UnknownNameError


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A row of the DEVICES table.

    name: key in the table, also in records.
    summary: one line for help and tables.
    open: "module:function" that starts a job process.
    real_time: whether its wall times are latencies of a real device.
    """

    name: str
    summary: str
    open: str
    real_time: bool


DEVICES: dict[str, Device] = {
    "local": Device(
        name="local",
        summary="this machine's processor",
        open="hemline.runtime.process:JobProcess",
        real_time=True,
    ),
}


def find_device(name: str) -> Device:
    """Return a row of the DEVICES table; raises UnknownNameError with the nearest name."""
    if name not in DEVICES:
        raise UnknownNameError("device", name, DEVICES)
    return DEVICES[name]
