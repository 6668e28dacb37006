"""The kinds of devices."""

from __future__ import annotations

from dataclasses import dataclass

from hemline.bench.devices.device import Capabilities
from hemline.bench.devices.emulation.raspberry_pis import RASPBERRY_PIS


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceKind:
    """A row of the DEVICES table.

    name: before the colon of a device's address.
    summary: one line for help and tables.
    open: "module:attribute" that makes the Device of what is after the colon ("" without one) and
        those of the options below that were given.
    capabilities: the most that a device of this kind can tell.
    falls_back: whether `open` takes fallback, which lets this machine's processor run what the
        device cannot.
    takes_targets: whether `open` takes targets, runtimes of this machine to use.
    """

    name: str
    summary: str
    open: str
    capabilities: Capabilities
    falls_back: bool = False
    takes_targets: bool = False


DEVICES: dict[str, DeviceKind] = {
    kind.name: kind
    for kind in (
        DeviceKind(
            name="local",
            summary="this machine's processor",
            open="hemline.bench.devices.local:LocalDevice",
            capabilities=Capabilities(latencies=True, verified_here=True, raw_models=True),
            takes_targets=True,
        ),
        DeviceKind(
            name="emulated",
            summary="a Raspberry Pi in qemu: emulated:pi3, pi4, pi5 or pi-32bit",
            open="hemline.bench.devices.emulation.device:EmulatedDevice",
            capabilities=Capabilities(instructions=True, host=False, raw_models=True),
        ),
        DeviceKind(
            name="gpu",
            summary="this machine's GPU; gpu:software for a program in its place",
            open="hemline.bench.devices.gpu.device:GpuDevice",
            capabilities=Capabilities(latencies=True),
            falls_back=True,
        ),
        DeviceKind(
            name="tflm",
            summary="tflite-micro, for the class of microcontrollers",
            open="hemline.bench.devices.micro.device:TflmDevice",
            capabilities=Capabilities(arena=True, own_runtimes=True),
        ),
        DeviceKind(
            name="ssh",
            summary="a Raspberry Pi or any Linux board: ssh:user@host[:port]",
            open="hemline.bench.devices.ssh.device:SshDevice",
            capabilities=Capabilities(latencies=True, raw_models=True),
        ),
        DeviceKind(
            name="browser",
            summary="Chromium on this machine; browser:serve for any browser, a phone's too",
            open="hemline.bench.devices.browser.served:open_browser",
            capabilities=Capabilities(latencies=True, own_runtimes=True, fetches=True),
        ),
    )
}


def known_addresses() -> dict[str, str]:
    """Return what can be measured on without a name of the user's, with a line about each."""
    shown = {kind.name: kind.summary for kind in DEVICES.values() if kind.name != "emulated"}
    boards = (f"{pi.title}, emulated: instructions, no times" for pi in RASPBERRY_PIS.values())
    return shown | dict(zip((f"emulated:{name}" for name in RASPBERRY_PIS), boards, strict=True))
