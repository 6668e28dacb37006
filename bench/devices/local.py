"""This machine's processor: a child process for each runner."""

from __future__ import annotations

from collections.abc import Sequence

from hemline.bench.devices.device import Device, installed_runtimes
from hemline.bench.devices.table import DEVICES
from hemline.environments.environment import RuntimeTarget
from hemline.errors import UsageError
from hemline.runtime.process import JobProcess


class LocalDevice(Device):
    """The processor that Hemline itself runs on."""

    name = "local"
    capabilities = DEVICES["local"].capabilities

    def __init__(self, address: str = "", *, targets: Sequence[RuntimeTarget] = ()) -> None:
        """`targets` are the runtimes that were asked for; of one version the first is used."""
        if address:
            raise UsageError(f"local has no address: write local, not local:{address}")
        self._targets: dict[tuple[str, str], RuntimeTarget] = {}
        for target in targets:
            self._targets.setdefault((target.runtime, target.version), target)

    def runtimes(self) -> tuple[tuple[str, str], ...]:
        """Return the runtimes that were asked for, else those that are installed here."""
        return tuple(self._targets) or installed_runtimes()

    def open(self, runtime: str, version: str) -> JobProcess:
        """Start a child process."""
        target = self._targets.get((runtime, version))
        return JobProcess() if target is None else JobProcess(target.command)
