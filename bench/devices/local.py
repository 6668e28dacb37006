"""This machine's processor: a child process for each runner."""

from __future__ import annotations

from hemline.errors import UsageError
from hemline.runtime.backends import BACKENDS, installed, version_of
from hemline.runtime.process import JobProcess


class LocalDevice:
    """The processor that Hemline itself runs on."""

    name = "local"
    real_time = True

    def __init__(self, address: str) -> None:
        if address:
            raise UsageError(f"local takes no address: write --device local, not local:{address}")

    def runtimes(self) -> tuple[tuple[str, str], ...]:
        """Return the runtimes that are installed here."""
        here = (backend for backend in BACKENDS.values() if installed(backend))
        return tuple((backend.name, version_of(backend)) for backend in here)

    def open(self, runtime: str, version: str) -> JobProcess:
        """Start a child process."""
        del runtime, version
        return JobProcess()

    def close(self) -> None:
        """There is nothing to give up."""
