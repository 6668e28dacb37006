"""What every device offers to the rest of bench: what it can tell, its runtimes, its job runners.

A device starts the job runner somewhere and moves files there. Everything else, from rounds to
records, is the same for all of them.
"""

from __future__ import annotations

import abc
import threading
from dataclasses import dataclass, replace

from hemline.bench.devices.inspection import Inspection, Runner, probed
from hemline.closing import Closing
from hemline.contract.job import HostFacts
from hemline.contract.manifest import Artifact, Manifest, Verdict
from hemline.errors import DeviceError
from hemline.host import host_facts
from hemline.runtime.backends import Backend, find_backend
from hemline.runtime.process import JobProcess
from hemline.runtime.targets import installed_targets

HERE = "this machine"
# held by whoever keeps this machine's processor busy: timed rounds, and predictions to compare with
HERE_BUSY = threading.RLock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a device can tell about an artifact.

    latencies: whether its wall times are latencies of a real device.
    instructions: whether its clock counts machine instructions instead of time.
    arena: whether its runtime reports the size of its tensor arena.
    verified_here: whether verification has checked its runtimes already.
    own_runtimes: whether its runtimes are not in BACKENDS: no artifact names them as supported, and
        what they compute is compared with a reference of their own.
    fetches: whether it fetches runtime and artifact anew each time.
    host: whether it has a host whose facts decide if two measurements can be compared.
    raw_models: whether it times models without stamps, as a profile needs.
    """

    latencies: bool = False
    instructions: bool = False
    arena: bool = False
    verified_here: bool = False
    own_runtimes: bool = False
    fetches: bool = False
    host: bool = True
    raw_models: bool = False


class LostError(DeviceError):
    """A device was lost while it worked, and may come back."""


class Device(Closing, abc.ABC):
    """One place where jobs run.

    name: in records, and as it was asked for (local, emulated:pi4, ssh:pi@board).
    place: whose processor it keeps busy; devices at one place take turns.
    processor: model that is emulated; empty for a real one.
    ends_its_children: whether the time of all that a job starts is known once it has ended.
    patience_seconds: how long to wait for a device that was lost, before its work fails; then the
        work is repeated.
    losses: how often it was lost, and waited for.
    """

    name: str
    place: str = HERE
    processor: str = ""
    ends_its_children: bool = True
    patience_seconds: float = 0.0
    losses: int = 0
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

    def supported(self, manifest: Manifest) -> Manifest:
        """Return a manifest in which artifacts support the runtimes that only this device has."""
        own = [
            Verdict(runtime=name, version=of, status="passed", numpy_version="", inputs_sha256="")
            for name, of in (self.runtimes() if self.capabilities.own_runtimes else ())
        ]

        def extended(artifact: Artifact) -> Artifact:
            fits = (each for each in own if self.backend(each.runtime).format == artifact.format)
            return replace(artifact, verdicts=(*artifact.verdicts, *fits))

        return replace(manifest, artifacts=tuple(map(extended, manifest.artifacts)))

    def host(self) -> HostFacts | None:
        """Return the facts of its host, asked anew; None where they decide nothing."""
        return host_facts() if self.capabilities.host else None

    def versions(self) -> dict[str, str]:
        """Return package to version of what emulates it; records name them."""
        return {}

    def inspect(self) -> Inspection:
        """Reach the device and return what it is; raises HemlineError when it cannot be used."""
        fits = tuple(
            probed(self.open, self.backend(runtime), version)
            for runtime, version in self.runtimes()
        )
        return Inspection(host=self.host(), runtimes=fits, rows=tuple(self.versions().items()))

    def interrupt(self) -> None:
        """Wait no longer for somebody to do something; called from another thread."""

    def close(self) -> None:
        """Give up connections; runners must be closed before."""


def installed_runtimes() -> tuple[tuple[str, str], ...]:
    """Return (runtime, version) of those installed beside Hemline, in the order of BACKENDS."""
    return tuple((target.runtime, target.version) for target in installed_targets())
