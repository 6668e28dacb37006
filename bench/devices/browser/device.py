"""A browser as a device: WebAssembly, one thread and one image at a time.

A latency is the mean of the calls in at least 5 ms, because browsers have coarse clocks.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hemline.activity import ActivityWatch
from hemline.bench.devices.browser.chromium import ChromiumPage, tree_seconds
from hemline.bench.devices.browser.page import Page
from hemline.bench.devices.device import HERE, Device
from hemline.bench.devices.table import DEVICES
from hemline.closing import Closing
from hemline.contract.job import CellResult, Failure, HostFacts, Job, JobResult, array_name
from hemline.contract.schema import to_document
from hemline.contract.settings import DEFAULT
from hemline.contract.stamp import Stamp, read_stamped
from hemline.contract.timing import TimingJob
from hemline.errors import DeviceError, JobError, UsageError
from hemline.host import host_facts
from hemline.npm_packages import fetched, locked
from hemline.programs import ProgramError, chromium, output_of
from hemline.runtime.backends import Backend
from hemline.runtime.job import job_images
from hemline.runtime.process import JobProcess

_LITERT = Backend("litert-js", "tflite", module="", session="", packages="@litertjs/core")
_ONNX = Backend("onnxruntime-web", "onnx", module="", session="", packages="onnxruntime-web")
_GPU = ("--enable-unsafe-webgpu", "--enable-features=Vulkan")  # on Linux it is not on by default
# each with the runtime of this machine that it is compared with
BROWSER_BACKENDS = {_LITERT.name: (_LITERT, "litert"), _ONNX.name: (_ONNX, "onnxruntime")}


class BrowserDevice(Device):
    """Chromium, or the program at the path `address`.

    gpu: whether it runs files by WebGPU.
    """

    capabilities = DEVICES["browser"].capabilities
    ends_its_children = False  # they end by themselves

    def __init__(self, address: str, *, options: Sequence[str] = (), gpu: bool = False) -> None:
        """`options` are further ones of Chromium; raises HemlineError without a browser."""
        self.name = ":".join(["browser", *[address] * bool(address), *["gpu"] * gpu])
        self.gpu = gpu
        if address and not Path(address).is_file():
            raise UsageError(
                f"{address} is not a program: name Chromium, a browser made of it, or serve"
            )
        self.program = Path(address) if address else chromium()
        self.options = (*options, *_GPU) if gpu else options
        try:
            self._version = output_of([str(self.program), "--version"], seconds=60.0).strip()
        except ProgramError as error:
            raise DeviceError(f"{self.program} does not start: {error}") from error

    def runtimes(self) -> tuple[tuple[str, str], ...]:
        """Return the WebAssembly runtimes, in the versions of npm.lock."""
        rows = [_LITERT] if self.gpu else [row for row, _ in BROWSER_BACKENDS.values()]
        return tuple((row.name, locked()[row.packages][0]) for row in rows)

    def backend(self, runtime: str) -> Backend:
        """Return the row of one of its runtimes."""
        return BROWSER_BACKENDS[runtime][0]

    def reference(self, runtime: str) -> tuple[JobProcess, str]:
        """Start a job runner with the same runtime for Python, and return its name too."""
        return JobProcess(), BROWSER_BACKENDS[runtime][1]

    def open(self, runtime: str, version: str) -> BrowserRunner:
        """Start a browser; raises DataError when the package of the runtime is missing."""
        package = fetched(self.backend(runtime).packages)
        return BrowserRunner(self, ChromiumPage(self.program, package, self.options), version)

    def host(self) -> HostFacts:
        """Return the facts of this machine with the browser, whose version decides as much."""
        facts = host_facts()
        return replace(facts, system=f"{' '.join(self._version.split()[:2])} on {facts.system}")


class BrowserRunner(Closing):
    """A worker in a page, which keeps the file that it has opened."""

    def __init__(self, device: BrowserDevice, page: Page, version: str) -> None:
        self._device, self._page, self._version = device, page, version

    def run(self, job: Job, *, timeout_seconds: float = 3600.0) -> JobResult:
        """Run the first cell of a job; raises HemlineError when the browser ends or is too slow."""
        cell, stamp = job.cells[0], read_stamped(Path(job.artifact)).stamp
        facts: dict[str, Any] = {"failure": f"{job.runtime} runs one thread and one image"}
        values, watch = b"", ActivityWatch(own_seconds=tree_seconds)
        if (cell.threads, cell.batch, cell.settings) == (1, 1, DEFAULT):
            facts, values = self._answer(job, stamp, timeout_seconds)
        is_here, failure = self._device.place == HERE, facts.get("failure")
        return JobResult(
            id=job.id,
            failure=Failure(kind="backend", message=failure) if failure else None,
            runtime=job.runtime,
            runtime_version=self._version,
            numpy_version=np.__version__,
            python_version=platform.python_version(),
            import_ns=_ns(facts.get("importMs", 0)),
            cells=() if failure else (_cell(job, stamp, facts, values),),
            peak_memory_bytes=facts.get("memoryBytes", 0),
            steady_memory_bytes=None,
            host=self._device.host(),
            activity=watch.activity() if is_here else None,
            package_bytes=facts.get("transferredBytes"),
        )

    def time(self, job: TimingJob, *, timeout_seconds: float = 3600.0) -> JobResult:
        """Raise JobError: raw models are not for browsers."""
        raise JobError(f"{job.runtime} times stamped files only, not for {timeout_seconds:g} s")

    def close(self) -> None:
        """End the browser."""
        self._page.close()

    def _answer(self, job: Job, stamp: Stamp, seconds: float) -> tuple[dict[str, Any], bytes]:
        images = np.ascontiguousarray(job_images(job))
        asked = {
            "title": f"{stamp.name} in {job.runtime}",
            "stamp": to_document(stamp),
            "gpu": self._device.gpu,
            "count": len(images),
            "warmup": job.cells[0].warmup,
            "invocations": (job.cells[0].invocations or len(images)) * ("latencies" in job.want),
            "outputs": job.outputs * ("outputs" in job.want),
        }
        content = {"images": images.tobytes(), "artifact": Path(job.artifact).read_bytes()}
        try:
            return self._page.run(asked, content, seconds)
        except JobError as error:
            raise type(error)(f"{stamp.name} in {job.runtime}: {error}") from error


def _cell(job: Job, stamp: Stamp, facts: dict[str, Any], values: bytes) -> CellResult:
    outputs, rest = {}, np.frombuffer(values, "<f4")
    specs = stamp.find_outputs(job.outputs * ("outputs" in job.want))
    count = len(rest) // max(1, sum(spec.size for spec in specs))
    for at, spec in enumerate(specs):
        part, rest = np.split(rest, [count * spec.size])
        outputs[spec.name] = str(Path(job.arrays or "") / array_name(job, job.cells[0], at))
        np.save(outputs[spec.name], part.reshape(count, spec.size))
    return CellResult(
        threads=1,
        batch=1,
        threads_used=None,
        delegate=facts["delegate"],
        load_ns=_ns(facts["loadMs"]),
        first_ns=_ns(facts["firstMs"]),
        latencies_ns=tuple(map(_ns, facts["samplesMs"])),
        outputs=outputs,
        software=bool(facts.get("software")),
    )


def _ns(milliseconds: float) -> int:
    return max(0, round(milliseconds * 1e6))
