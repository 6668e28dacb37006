"""A device whose job runner dies: this machine, with a line of Python in place of the runner."""

from __future__ import annotations

import sys

from hemline.bench.devices.device import Capabilities
from hemline.bench.devices.local import LocalDevice
from hemline.runtime.process import JobProcess

DIES = "import os; input(); os.kill(os.getpid(), 9)"


class BrokenBoard(LocalDevice):
    """This machine, with a line of Python in place of the job runner."""

    name = "board"
    capabilities = Capabilities(latencies=True)

    def __init__(self, code: str) -> None:
        """Keep the line of Python."""
        super().__init__()
        self._code = code

    def runtimes(self) -> tuple[tuple[str, str], ...]:
        """Return LiteRT."""
        return super().runtimes()[:1]

    def open(self, runtime: str, version: str) -> JobProcess:
        """Start the line of Python."""
        del runtime, version
        return JobProcess((sys.executable, "-c", self._code))


def open_dying(address: str) -> BrokenBoard:
    """Return a board whose runner is killed by its first job."""
    del address
    return BrokenBoard(DIES)
