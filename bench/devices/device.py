"""What every device offers to the rest of bench: what it can tell, its runtimes, its job runners.

A device starts the job runner somewhere and moves files there. Everything else, from rounds to
records, is the same for all of them.
"""

from __future__ import annotations

import abc
import threading
from dataclasses import dataclass, field
from typing import Any, Protocol

from hemline.closing import Closing
from hemline.contract.job import HostFacts, Job, JobResult
from hemline.host import host_facts
from hemline.runtime.backends import Backend, find_backend
from hemline.runtime.process import JobProcess
from hemline.runtime.targets import installed_targets

HERE = "this machine"
# held by whoever keeps this machine's processor busy: timed rounds, and predictions to compare with
HERE_BUSY = threading.RLock()


class Runner(Protocol):
    """A job runner that stays open; one job at a time. JobProcess is the one of this machine."""

    def run(self, job: Job, *, timeout_seconds: float = ...) -> JobResult:
        """Run a job whose paths are of this machine; logits come back into a file here.

        Raises JobError when the runner is gone or returns no valid result.
        """

    def close(self) -> None:
        """End the runner."""

    def __enter__(self) -> Runner: ...

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a device can tell about an artifact.

    latencies: whether its wall times are latencies of a real device.
    instructions: whether its clock counts machine instructions instead of time.
    arena: whether its runtime reports the size of its tensor arena.
    verified_here: whether verification has checked its runtimes already.
    own_runtimes: whether its runtimes are not in BACKENDS: no artifact names them as supported, and
        what they compute is compared with a reference of their own.
    host: whether it has a host whose facts decide if two measurements can be compared.
    """

    latencies: bool = False
    instructions: bool = False
    arena: bool = False
    verified_here: bool = False
    own_runtimes: bool = False
    host: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeFit:
    """A runtime, its version, and why it cannot run on a device; None when it can."""

    runtime: str
    version: str
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What a device is and what can run there.

    host: facts of its host; None where it has none.
    rows: (what, text) to print.
    facts: more of them for JSON, by name.
    runtimes: that are installed here, and whether they fit there.
    """

    host: HostFacts | None
    runtimes: tuple[RuntimeFit, ...]
    rows: tuple[tuple[str, str], ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)


class Device(Closing, abc.ABC):
    """One place where jobs run.

    name: in records, and as it was asked for (local, emulated:pi4, ssh:pi@board).
    place: whose processor it keeps busy; devices at one place take turns.
    processor: model that is emulated; empty for a real one.
    """

    name: str
    place: str = HERE
    processor: str = ""
    capabilities: Capabilities = Capabilities()

    @abc.abstractmethod
    def runtimes(self) -> tuple[tuple[str, str], ...]:
        """Return the (runtime, version) pairs that can run there, in the order of BACKENDS."""

    @abc.abstractmethod
    def open(self, runtime: str, version: str) -> Runner:
        """Start a job runner for one of them.

        Raises HemlineError with the reason when the device cannot be reached or used.
        """

    def backend(self, runtime: str) -> Backend:
        """Return the row of one of its runtimes."""
        return find_backend(runtime)

    def reference(self, runtime: str) -> tuple[Runner, str]:
        """Start a job runner on this machine to compare with; return it and its runtime."""
        return JobProcess(), runtime

    def host(self) -> HostFacts | None:
        """Return the facts of its host, asked anew; None where they decide nothing."""
        return host_facts() if self.capabilities.host else None

    def versions(self) -> dict[str, str]:
        """Return package to version of what emulates it; records name them."""
        return {}

    def inspect(self) -> Inspection:
        """Reach the device and return what it is; raises HemlineError when it cannot be used."""
        fits = tuple(RuntimeFit(runtime=name, version=version) for name, version in self.runtimes())
        return Inspection(host=self.host(), runtimes=fits, rows=tuple(self.versions().items()))

    def close(self) -> None:
        """Give up connections; runners must be closed before."""


def installed_runtimes() -> tuple[tuple[str, str], ...]:
    """Return (runtime, version) of those installed beside Hemline, in the order of BACKENDS."""
    return tuple((target.runtime, target.version) for target in installed_targets())
