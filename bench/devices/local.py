"""This machine's processor: a child process for each runner."""

from __future__ import annotations

from collections.abc import Sequence

from hemline.bench.devices import HERE
from hemline.environments.environment import RuntimeTarget
from hemline.errors import UsageError
from hemline.runtime.backends import BACKENDS, installed, version_of
from hemline.runtime.process import JobProcess


class LocalDevice:
    """The processor that Hemline itself runs on."""

    name = "local"
    real_time = True
    place = HERE

    def __init__(self, address: str, targets: Sequence[RuntimeTarget] = ()) -> None:
        """`targets` are the runtimes that were asked for; of one version the first is used."""
        self._targets: dict[tuple[str, str], RuntimeTarget] = {}
        for target in targets:
            self._targets.setdefault((target.runtime, target.version), target)
        if address:
            raise UsageError(f"local takes no address: write --device local, not local:{address}")

    def runtimes(self) -> tuple[tuple[str, str], ...]:
        """Return the runtimes that were asked for, else those that are installed here."""
        if self._targets:
            return tuple(self._targets)
        here = (backend for backend in BACKENDS.values() if installed(backend))
        return tuple((backend.name, version_of(backend)) for backend in here)

    def open(self, runtime: str, version: str) -> JobProcess:
        """Start a child process."""
        target = self._targets.get((runtime, version))
        return JobProcess() if target is None else JobProcess(target.command)

    def close(self) -> None:
        """There is nothing to give up."""
