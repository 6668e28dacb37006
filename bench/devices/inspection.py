"""What `device check` finds out: the host, and which runtimes run a probe artifact there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from hemline.contract.job import HostFacts, Job, JobResult
from hemline.contract.timing import TimingJob
from hemline.environments.probe_artifact import probe_artifact
from hemline.errors import DeviceError, JobError
from hemline.folders import TemporaryFolder
from hemline.runtime.backends import Backend


class Runner(Protocol):
    """A job runner that stays open; one job at a time. JobProcess is the one of this machine."""

    def run(self, job: Job, *, timeout_seconds: float = ...) -> JobResult:
        """Run a job whose paths are of this machine; arrays come back into files here.

        Raises JobError when the runner is gone or returns no valid result.
        """

    def time(self, job: TimingJob, *, timeout_seconds: float = ...) -> JobResult:
        """Time raw models; raises JobError likewise."""

    def close(self) -> None:
        """End the runner."""

    def __enter__(self) -> Runner: ...

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeFit:
    """Whether a runtime runs on a device.

    runtime, version: of this machine.
    reason: why it does not fit; None when it does.
    delegate: what ran the operators of the probe; empty where nothing was run.
    """

    runtime: str
    version: str
    reason: str | None = None
    delegate: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What a device is and what can run there.

    host: facts of its host; None where it has none.
    runtimes: that are installed here, and whether they fit there.
    rows: (what, text) to print.
    facts: more of them for JSON, by name.
    """

    host: HostFacts | None
    runtimes: tuple[RuntimeFit, ...]
    rows: tuple[tuple[str, str], ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)


def probed(open_runner: Callable[[str, str], Runner], backend: Backend, version: str) -> RuntimeFit:
    """Run a model of one layer in a runtime of a device; raises DeviceError for a lost device."""
    fit = RuntimeFit(runtime=backend.name, version=version)
    with TemporaryFolder() as folder:
        artifact, images = Path(folder) / f"probe.{backend.format}", Path(folder) / "images.npy"
        artifact.write_bytes(probe_artifact(backend.format, backend.name))
        np.save(images, np.zeros((1, 1, 2, 1), np.uint8))
        job = Job(
            id="probe",
            artifact=str(artifact),
            runtime=backend.name,
            images=str(images),
            want=("latencies",),
        )
        try:
            with open_runner(backend.name, version) as runner:
                result = runner.run(job)
        except DeviceError:
            raise
        except JobError as error:
            return replace(fit, reason=str(error))
    if result.failure is not None:
        return replace(fit, reason=result.failure.message)
    return replace(fit, delegate=result.cells[0].delegate)
