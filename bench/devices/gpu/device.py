"""A GPU of this machine, or a program in its place: what really runs is asked of every session."""

from __future__ import annotations

import json
from dataclasses import replace

from hemline.bench.devices.device import Capabilities, Device, installed_runtimes
from hemline.bench.devices.gpu.software_gpu import software_gpu
from hemline.contract.job import Job, JobResult
from hemline.errors import HemlineError, UsageError
from hemline.programs import ProgramError, output_of
from hemline.runtime.backends import BACKENDS
from hemline.runtime.process import JobProcess, local_command
from hemline.safe_path import code_command

_SOFTWARE = "software"
_PROBE_SECONDS = 60.0
# Runs in a child: a driver that crashes must not take the command with it.
_PROBE = """
import ctypes, json
from hemline.runtime.sessions.vulkan import software_adapter
try:
    cuda = ctypes.CDLL("libcuda.so.1").cuInit(0) == 0
except OSError:
    cuda = False
adapter = software_adapter()
print(json.dumps(cuda or adapter is None))
"""


class GpuRunner(JobProcess):
    """A job runner that asks the GPU for everything."""

    def __init__(self, environment: tuple[str, ...], *, fallback: bool) -> None:
        """Start it with variables written NAME=value; `fallback` as in Job."""
        self._fallback = fallback
        super().__init__((*(("env", *environment) if environment else ()), *local_command()))

    def run(self, job: Job, *, timeout_seconds: float = 3600.0) -> JobResult:
        """Run one job on the GPU; a processor that runs it without leave is its failure."""
        asked = replace(job, accelerator="gpu", fallback=self._fallback)
        return super().run(asked, timeout_seconds=timeout_seconds)


class GpuDevice(Device):
    """The GPU of this machine, or with the address `software` SwiftShader."""

    def __init__(self, address: str, *, fallback: bool = False) -> None:
        """Find out what there is; `fallback` lets the processor run what the GPU cannot.

        Raises UsageError for another address, HemlineError when the software GPU cannot be had or
        the driver of a GPU crashes.
        """
        if address not in ("", _SOFTWARE):
            raise UsageError(f"write gpu or gpu:{_SOFTWARE}, not gpu:{address}")
        self.name = f"gpu:{address}" if address else "gpu"
        self._fallback = fallback
        self._environment = software_gpu() if address else ()
        self.capabilities = Capabilities(latencies=not address and _is_real())

    def runtimes(self) -> tuple[tuple[str, str], ...]:
        """Return the runtimes installed here that have a way to a GPU."""
        return tuple(p for p in installed_runtimes() if BACKENDS[p[0]].gpu_session is not None)

    def open(self, runtime: str, version: str) -> GpuRunner:
        """Start a child process."""
        del runtime, version
        return GpuRunner(self._environment, fallback=self._fallback)


def _is_real() -> bool:
    """Tell whether a GPU, and not a program in its place, may run what is asked of a GPU."""
    try:
        lines = output_of(code_command(_PROBE), seconds=_PROBE_SECONDS).splitlines()
        return bool(json.loads(lines[-1]))
    except (ProgramError, ValueError, IndexError) as error:
        raise HemlineError(
            f"asking Vulkan and CUDA for a GPU failed ({error}): reinstall the GPU's driver"
        ) from error
