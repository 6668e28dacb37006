"""An emulated Raspberry Pi: real ARM builds of the runtimes in qemu's user mode, without root.

It shows whether an artifact works there, which bits it computes, and how many instructions an
inference takes. Wall time in an emulator says nothing of a board, so its clock counts instructions:
what a job result has as nanoseconds is a number of instructions here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hemline.bench.devices.device import Device, installed_runtimes
from hemline.bench.devices.emulation.emulator import PROGRAMS, Emulator, emulator
from hemline.bench.devices.emulation.guest_root import GuestRoot, guest_root, unpacked_wheels
from hemline.bench.devices.emulation.raspberry_pis import RaspberryPi, raspberry_pi
from hemline.bench.devices.table import DEVICES
from hemline.contract.job import Job, JobResult
from hemline.errors import HemlineError
from hemline.folders import TemporaryFolder
from hemline.runtime.one_file import NAME, write_runtime_file
from hemline.runtime.process import JobProcess

_PLACE = "hemline"  # folder below the guest's root, so that its paths are the same everywhere
_COUNT = "count"
_PYTHONS = "usr/bin"
# Runs in the guest: nothing from the current folder, packages and job runner by their paths, and
# the counter as the clock.
_START = """
import sys
sys.path = [path for path in sys.path if path]
import mmap, runpy, time
count, runner, *packages = sys.argv[1:]
with open(count, "rb") as stream:
    view = memoryview(mmap.mmap(stream.fileno(), 8, mmap.MAP_SHARED, mmap.PROT_READ)).cast("Q")
time.perf_counter_ns = lambda: view[0]
sys.path[:0] = packages
sys.argv = [runner, "jobs"]
runpy.run_path(runner, run_name="__main__")
"""


class EmulatedRunner(JobProcess):
    """A job runner in the emulator; times in its results are instructions."""

    def __init__(self, command: Sequence[str], folder: TemporaryFolder, seen_as: Path) -> None:
        """Start it; `folder` is its root, which the guest sees under another path.

        The folder is removed when the runner is closed.
        """
        self._folder, self._seen_as = folder, seen_as
        super().__init__(command)

    def run(self, job: Job, *, timeout_seconds: float = 3600.0) -> JobResult:
        """Run a job with its files where the guest finds every job's."""
        artifact, images = self._link(job.artifact), self._link(job.images)
        guest = replace(job, artifact=artifact, images=images)
        return super().run(guest, timeout_seconds=timeout_seconds)

    def close(self) -> None:
        """End the emulator."""
        super().close()
        self._folder.cleanup()

    def _link(self, path: str) -> str:
        real = Path(path).resolve()
        link = Path(self._folder.name) / _PLACE / real.name
        link.unlink(missing_ok=True)
        link.symlink_to(real)
        return str(self._seen_as / _PLACE / real.name)


class EmulatedDevice(Device):
    """One of RASPBERRY_PIS."""

    capabilities = DEVICES["emulated"].capabilities

    def __init__(self, address: str) -> None:
        """Choose a board; raises UsageError without a name, UnknownNameError with all."""
        self.pi: RaspberryPi = raspberry_pi(address)
        self.name = f"emulated:{address}"
        self.processor = self.pi.processor

    def runtimes(self) -> tuple[tuple[str, str], ...]:
        """Return the runtimes that have a build for the board, in the versions installed here.

        So every result there has one of this machine to be compared with.
        """
        return tuple(pair for pair in installed_runtimes() if self._has(pair[0]))

    def open(self, runtime: str, version: str) -> EmulatedRunner:
        """Start the emulator; on first use its parts are fetched into the cache.

        Raises HemlineError when the runtime has no build for the board or the parts cannot be had.
        """
        if not self._has(runtime):
            raise HemlineError(
                f"{runtime} has no build for 32-bit ARM: use {', '.join(self.pi.runtimes or ())}"
            )
        program, root = emulator(), guest_root(self.pi)
        wheels = unpacked_wheels(runtime, version, machine=self.pi.machine, python=root.python)
        packages = [*wheels, root.packages]  # Debian's are last: only 32-bit has numpy there
        folder = TemporaryFolder()
        seen_as = Path("/") if self.pi.finds_root else Path(folder.name)
        command = self._command(program, root, Path(folder.name), seen_as, packages)
        return EmulatedRunner(command, folder, seen_as)

    def versions(self) -> dict[str, str]:
        """Return the versions of qemu and the C library."""
        return {"qemu": emulator().version, "libc6": guest_root(self.pi).versions["libc6"]}

    def _has(self, runtime: str) -> bool:
        return self.pi.runtimes is None or runtime in self.pi.runtimes

    def _command(
        self, qemu: Emulator, root: GuestRoot, folder: Path, seen_as: Path, packages: Sequence[Path]
    ) -> list[str]:
        """Return the command that starts a runner, with all that it needs linked into a root."""
        place = folder / _PLACE
        place.mkdir()
        (place / _COUNT).write_bytes(bytes(8))
        write_runtime_file(place / NAME)
        for shared in root.folder.iterdir():
            (folder / shared.name).symlink_to(shared)
        for number, package in enumerate(packages):
            (place / str(number)).symlink_to(package)
        names = (_COUNT, NAME, *(str(number) for number in range(len(packages))))
        return [
            # the same start every time: then every count is the same, too
            *("env", "-i", "PYTHONHASHSEED=0"),
            *qemu.command(PROGRAMS[self.pi.architecture]),
            # without a name qemu takes a processor that gives wrong int8 results in silence
            *("-cpu", self.pi.processor),
            *("-L", str(folder)),
            *("-plugin", f"{_escaped(qemu.counter)},count={_escaped(place / _COUNT)}"),
            *("-0", str(seen_as / _PYTHONS / root.program)),
            *(str(folder / _PYTHONS / root.program), "-s", "-S", "-c", _START),
            *(str(seen_as / _PLACE / name) for name in names),
        ]


def _escaped(path: Path) -> str:
    return str(path).replace(",", ",,")  # a comma parts the options of a plugin
