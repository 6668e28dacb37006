"""A device whose times and activities are written down, for what follows from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from hemline.bench.devices.device import Capabilities, Device
from hemline.closing import Closing
from hemline.contract.job import (
    CellResult,
    HostActivity,
    HostFacts,
    Job,
    JobResult,
    PowerReading,
)
from hemline.errors import JobError

QUIET = HostActivity(
    elapsed_ticks=100, busy_ticks=1, stolen_ticks=0, frequency_khz=2_000_000, throttled=False
)
TIMED = Capabilities(latencies=True)


def quiet(_: int) -> HostActivity:
    return QUIET


def loaded(_: int) -> HostActivity:
    return replace(QUIET, busy_ticks=60)


def even(name: str, turn: int) -> int:
    return 1000 + len(name) + turn


def unknown(_: int) -> tuple[PowerReading, ...]:
    return ()


@dataclass
class Scripted(Closing):
    """A runner whose times and activities are written down."""

    device: Script

    def run(self, job: Job, *, timeout_seconds: float = 0.0) -> JobResult:
        """Return the next result of the script."""
        self.device.limits.append(timeout_seconds)
        name = Path(job.artifact).name
        turn = self.device.turns[name] = self.device.turns.get(name, -1) + 1
        if name == self.device.breaks:
            raise JobError(f"{job.artifact} in {job.runtime} ended the job runner (signal 9)")
        return JobResult(
            id=job.id,
            failure=None,
            runtime=job.runtime,
            runtime_version=self.device.version,
            numpy_version="",
            python_version="",
            import_ns=10,
            cells=(
                CellResult(
                    threads=1,
                    batch=1,
                    threads_used=None,
                    delegate="",
                    load_ns=100 + turn,
                    first_ns=5,
                    latencies_ns=(self.device.time_ns(name, turn),) * 3,
                    outputs={},
                ),
            ),
            peak_memory_bytes=1000 + turn,
            steady_memory_bytes=None,
            host=HostFacts(processor="A processor", cores=2, system="Linux"),
            process_ns=7,
            package_bytes=5 if "package" in job.want else None,
            activity=self.device.activity(turn),
            power=self.device.power(turn) if "power" in job.want else (),
        )

    def close(self) -> None:
        """End the runner."""
        self.device.ended += 1


@dataclass
class Script(Device):
    """A device elsewhere: times by file and turn, activities by turn."""

    time_ns: Callable[[str, int], int] = even
    activity: Callable[[int], HostActivity] = quiet
    power: Callable[[int], tuple[PowerReading, ...]] = unknown
    breaks: str = ""
    turns: dict[str, int] = field(default_factory=dict)
    limits: list[float] = field(default_factory=list)
    opened: int = 0
    ended: int = 0
    version: str = "1"
    name: str = "script"
    place: str = "elsewhere"
    capabilities: Capabilities = TIMED

    def runtimes(self) -> tuple[tuple[str, str], ...]:
        """Return one."""
        return (("litert", self.version),)

    def open(self, runtime: str, version: str) -> Scripted:
        """Start a runner."""
        del runtime, version
        self.opened += 1
        return Scripted(self)
