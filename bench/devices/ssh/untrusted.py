"""Nothing that a device sends is trusted: text is made plain, results must fit their job."""

from __future__ import annotations

import dataclasses
import io
import math
import unicodedata
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from hemline.contract.job import CellResult, Job, JobResult
from hemline.contract.specs import OutputSpec
from hemline.contract.timing import TimingJob
from hemline.errors import JobError

T = TypeVar("T")
_LONGEST_TEXT = 1000  # characters; an error message with two paths has 300


def plain(text: str, longest: int = _LONGEST_TEXT) -> str:
    """Return one line of visible characters: no control, no formatting, not too long.

    Escape sequences and marks that turn the direction of writing would let a device write over what
    a terminal shows.
    """
    kept = "".join(
        each if unicodedata.category(each)[0] != "C" else " " for each in text[: 4 * longest]
    )
    line = " ".join(kept.split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def cleaned(value: T) -> T:
    """Return a dataclass, tuple or text with every text in it made plain."""
    result: Any = value
    if isinstance(value, str):
        result = plain(value)
    elif isinstance(value, tuple):
        result = tuple(map(cleaned, value))
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value) if field.init]
        result = dataclasses.replace(value, **{n: cleaned(getattr(value, n)) for n in names})
    return cast("T", result)


def cleaned_times(result: JobResult) -> JobResult:
    """Return the result of a timing job with every text made plain, but graphs, which are bytes."""
    clean = cleaned(result)
    pairs = zip(clean.cells, result.cells, strict=True)
    cells = tuple(dataclasses.replace(cell, graph=given.graph) for cell, given in pairs)
    return dataclasses.replace(clean, cells=cells)


def require_times(job: TimingJob, result: JobResult) -> None:
    """Raise JobError unless a result is that of the job: a few positive times of each model."""
    _require_same(job, result)
    if result.failure is not None:
        return
    times = [cell.latencies_ns for cell in result.cells]
    least = min(job.invocations, 1)
    if len(times) != len(job.models) or not all(least <= len(t) <= job.invocations for t in times):
        raise JobError("the device timed other models than requested")
    if any(latency <= 0 for each in times for latency in each):
        raise JobError("the device returned a latency that is not positive")


def _require_same(job: Job | TimingJob, result: JobResult) -> None:
    if (result.id, result.runtime) != (job.id, job.runtime):
        raise JobError(
            f"the device returned the result of another job than {job.id}: its runner is broken"
        )


def require_answer(job: Job, result: JobResult) -> None:
    """Raise JobError unless a result is that of the job: its id, its runtime, all of its cells."""
    _require_same(job, result)
    if result.failure is not None:
        return
    if len(result.cells) != len(job.cells):
        raise JobError(f"the device ran {len(result.cells)} of {len(job.cells)} cells")
    for asked, cell in zip(job.cells, result.cells, strict=True):
        if (cell.threads, cell.batch) != (asked.threads, asked.batch):
            raise JobError("the device ran other cells than requested")
        _require_latencies(job, asked.invocations, cell)
        if set(cell.outputs) != (set(job.outputs) if "outputs" in job.want else set()):
            raise JobError("the device returned other outputs than requested")


def _require_latencies(job: Job, invocations: int, cell: CellResult) -> None:
    count = len(cell.latencies_ns)
    wanted = "latencies" in job.want
    if bool(count) != wanted or (wanted and invocations not in (0, count)):
        raise JobError(f"the device returned {count} latencies instead of {invocations}")
    if any(latency <= 0 for latency in cell.latencies_ns):
        raise JobError("the device returned a latency that is not positive")


def npy_bytes(count: int, spec: OutputSpec) -> int:
    """Return the largest size of an .npy file with a float32 output of so many images."""
    return 4096 + 4 * count * spec.size  # numpy's header has 128 bytes, and may be padded


def read_output(
    content: bytes, count: int, spec: OutputSpec, where: str
) -> npt.NDArray[np.float32]:
    """Return the float32 array (images, size) in .npy bytes that came from a device.

    Only that of a tap may have more dimensions. Raises JobError for another shape or type.
    """
    try:
        array = np.load(io.BytesIO(content), allow_pickle=False)
    except Exception as error:  # whatever a crafted header does to numpy's parser
        raise JobError(
            f"{where} returned {spec.name} as an invalid array ({plain(str(error), 80)})"
        ) from error
    dtype, shape = getattr(array, "dtype", "?"), getattr(array, "shape", ())
    sizes = (count, spec.size)
    flat = (*shape[:1], math.prod(shape[1:])) if spec.role == "tap" else shape
    if not isinstance(array, np.ndarray) or (dtype, flat) != (np.float32, sizes):
        raise JobError(f"{where} returned {spec.name} as {dtype} {shape}, not float32 {sizes}")
    return array
