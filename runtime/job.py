"""Run jobs: one JSON document a line on standard input, one JSON result a line on standard output.

    python3 hemline-runtime.pyz jobs

Sessions stay open between jobs, so a caller can interleave short rounds of many cells.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hemline.activity import ActivityWatch, process_age_ns
from hemline.contract.job import (
    CellResult,
    Failure,
    FailureKind,
    Job,
    JobCell,
    JobResult,
    PowerReading,
    array_name,
)
from hemline.contract.schema import from_document, to_document
from hemline.contract.settings import DEFAULT, Settings
from hemline.contract.stamp import StampedFile
from hemline.contract.timing import TimingJob
from hemline.errors import (
    BackendError,
    DataError,
    FileFormatError,
    HemlineError,
    UnsupportedRuntimeError,
    UsageError,
)
from hemline.files import parse_json, reason_of
from hemline.host import cores, host_facts, peak_memory_bytes, running_threads, steady_memory_bytes
from hemline.pictures.pixels import Pixels
from hemline.runtime.backends import (
    Backend,
    Session,
    SessionOptions,
    Tensor,
    attribute,
    find_backend,
    load_module,
    open_session,
    require_settings,
    require_specs,
    require_working,
    version_of,
)
from hemline.runtime.decoder import real_values
from hemline.runtime.pixels import PixelEncoder
from hemline.runtime.process_settings import set_up_process

if TYPE_CHECKING:
    from hemline.power import PowerMeter
    from hemline.runtime.timing import RawModels

_BLOCK_IMAGES = 1024  # encoded at once: 3 MB as float32, and the cost of a call is spread
_LARGEST_TENSORS_BYTES = 64 << 20  # images that wait as ready tensors; more is encoded as it goes

# of the failures of a job; all others are a crash
ERRORS: dict[FailureKind, type[HemlineError]] = {
    "unsupported": UnsupportedRuntimeError,
    "backend": BackendError,
    "file": FileFormatError,
    "data": DataError,
    "job": UsageError,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    session: Session
    threads: int | None
    load_ns: int
    first_ns: int


class JobRunner:
    """Run jobs one after the other, with sessions kept open between them."""

    def __init__(self) -> None:
        self._sessions: dict[tuple[object, ...], _Opened] = {}
        self._raw: RawModels | None = None
        self._import_ns: dict[str, int] = {}
        self._process: Settings | None = None
        self._cores = cores()  # of the host, not those that a job pins it to
        self._process_ns = process_age_ns()
        self._watch: ActivityWatch | None = ActivityWatch()
        self._meter: PowerMeter | None = None

    def run(self, job: Job | TimingJob) -> JobResult:
        """Run one job; whatever goes wrong comes back as the result's failure."""
        cells: tuple[CellResult, ...] = ()
        failure = None
        watch, self._watch = self._watch or ActivityWatch(), None
        before = self._power(job)
        try:
            cells = self._timed(job) if isinstance(job, TimingJob) else self._cells(job)
        except HemlineError as error:
            kinds = (kind for kind, cls in ERRORS.items() if isinstance(error, cls))
            failure = Failure(kind=next(kinds, "crash"), message=str(error))
        except Exception as error:  # noqa: BLE001 — a child must reply, whatever a runtime raises
            failure = Failure(kind="crash", message=f"{type(error).__name__}: {error}")
        activity, after = watch.activity(), self._power(job)
        return JobResult(
            id=job.id,
            failure=failure,
            runtime=job.runtime,
            runtime_version=_version_or_empty(job.runtime),
            numpy_version=np.__version__,
            python_version=platform.python_version(),
            import_ns=self._import_ns.get(job.runtime, 0),
            cells=cells,
            peak_memory_bytes=peak_memory_bytes(),
            steady_memory_bytes=steady_memory_bytes(),
            host=replace(host_facts(), cores=self._cores),
            process_ns=self._process_ns,
            package_bytes=None if failure else _package_bytes(job),
            activity=activity,
            power=tuple(each for each in (before, after) if each is not None),
        )

    def _power(self, job: Job | TimingJob) -> PowerReading | None:
        if "power" not in _wanted(job):
            return None
        from hemline.power import PowerMeter  # few jobs need it

        self._meter = self._meter or PowerMeter()
        return self._meter.read()

    def _cells(self, job: Job) -> tuple[CellResult, ...]:
        backend = find_backend(job.runtime)
        self._set_up({cell.settings.of_process for cell in job.cells})
        self._import(backend)
        file: StampedFile = attribute(backend.reader)(Path(job.artifact))
        if not job.allow_unsupported:
            file.stamp.require_supported(backend.name, version_of(backend))
        file.stamp.find_outputs(job.outputs)
        images = job_images(job)
        if len(images) == 0:
            raise DataError(f"{job.images} has no image {job.first}")
        return tuple(self._cell(job, cell, backend, file, images) for cell in job.cells)

    def _timed(self, job: TimingJob) -> tuple[CellResult, ...]:
        from hemline.runtime.timing import RawModels  # few processes need it

        backend = find_backend(job.runtime)
        require_settings(backend, "cpu", job.settings)
        self._set_up({job.settings.of_process})
        self._import(backend)
        self._raw = self._raw or RawModels()
        return self._raw.cells(job, load_module(backend), backend.format)

    def _set_up(self, asked: set[Settings]) -> None:
        """Set up the process for its first job; raises UsageError where another asks otherwise."""
        for settings in asked:
            if self._process is None:
                set_up_process(settings)
                self._process = settings
            elif settings != self._process:
                raise UsageError(
                    f"this process is set up with {self._process.text or 'nothing'}, not with "
                    f"{settings.text or 'nothing'}: run the job in another one"
                )

    def _import(self, backend: Backend) -> None:
        if backend.name in self._import_ns:
            return
        require_working(backend)
        started = time.perf_counter_ns()
        load_module(backend)
        self._import_ns[backend.name] = time.perf_counter_ns() - started

    def _cell(
        self, job: Job, cell: JobCell, backend: Backend, file: StampedFile, images: Pixels
    ) -> CellResult:
        encoder = PixelEncoder(file.stamp.input)
        what = (file.stamp.payload_sha256, backend.name, job.accelerator, job.fallback)
        key = (*what, cell.threads, cell.batch, cell.settings)
        fresh = key not in self._sessions
        if fresh:
            self._sessions[key] = _open(job, cell, backend, file, encoder.encode(images[:1]))
        opened = self._sessions[key]
        latencies: tuple[int, ...] = ()
        if "latencies" in job.want:
            latencies = _timed(opened.session, cell, encoder, images, job.outputs)
        outputs: dict[str, str] = {}
        if "outputs" in job.want:
            stored = _outputs(opened.session, cell, encoder, images, job.outputs)
            for at, spec in enumerate(file.stamp.find_outputs(job.outputs)):
                outputs[spec.name] = _save(job, cell, at, real_values(spec, stored[at]))
        return CellResult(
            threads=cell.threads,
            batch=cell.batch,
            threads_used=opened.threads,
            delegate=opened.session.delegate,
            load_ns=opened.load_ns if fresh else 0,
            first_ns=opened.first_ns if fresh else 0,
            latencies_ns=latencies,
            outputs=outputs,
            software=opened.session.software,
            arena_bytes=opened.session.arena_bytes,
        )


def serve(requests: IO[str], replies: IO[str]) -> None:
    """Run jobs until the requests end; write one result for each."""
    runner = JobRunner()
    for line in requests:
        if not line.strip():
            continue
        document = parse_json(line, where="the job")
        timing = isinstance(document, dict) and document.get("kind") == TimingJob.KIND
        kind: type[Job | TimingJob] = TimingJob if timing else Job
        job = from_document(kind, document, where="the job")
        replies.write(json.dumps(to_document(runner.run(job)), separators=(",", ":")) + "\n")
        replies.flush()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command: none."""
    del parser


def run(options: argparse.Namespace) -> int:
    """Run jobs until the standard input ends."""
    del options
    serve_standard_streams()
    return 0


def serve_standard_streams() -> None:
    """Run jobs from the standard streams, whatever native code prints there."""
    # Runtimes print to descriptor 1: keep the real one to ourselves and send theirs to stderr.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as replies:
        os.dup2(2, 1)
        serve(sys.stdin, replies)


def job_images(job: Job) -> Pixels:
    """Return the images of a job, read from the disk as they are needed; raises DataError."""
    try:
        images = np.load(job.images, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"cannot read the images {job.images}: {error}") from error
    last = None if job.count is None else job.first + job.count
    chosen: Pixels = images[job.first : last]
    return chosen


def _open(job: Job, cell: JobCell, backend: Backend, file: StampedFile, first: Tensor) -> _Opened:
    if cell.batch > 1 and not file.stamp.takes_batches:
        raise FileFormatError(f"{file.stamp.name} accepts one image at a time: use batch 1")
    if cell.batch > 1 and not backend.batches:
        raise BackendError(f"{backend.name} cannot resize a model for batches: use batch 1")
    before = running_threads()
    started = time.perf_counter_ns()
    options = SessionOptions(
        file.stamp.outputs,
        cell.threads,
        cell.batch,
        job.accelerator,
        job.fallback,
        None if cell.settings == DEFAULT else cell.settings,
    )
    session = open_session(backend, file.model, options)
    loaded = time.perf_counter_ns()
    require_specs(session, file.stamp.input, file.stamp.outputs)
    session.run(np.repeat(first, cell.batch, axis=0), job.outputs)
    finished = time.perf_counter_ns()
    after = running_threads()
    return _Opened(
        session=session,
        # this thread works too
        threads=None if before is None or after is None else 1 + after - before,
        load_ns=loaded - started,
        first_ns=finished - loaded,
    )


def _timed(
    session: Session, cell: JobCell, encoder: PixelEncoder, images: Pixels, names: Sequence[str]
) -> tuple[int, ...]:
    tensors: list[Tensor] = []
    for at in range(0, len(images), cell.batch):
        batch = _filled_up(np.asarray(images[at : at + cell.batch]), cell.batch)
        tensors.append(encoder.encode(batch))
        if len(tensors) * tensors[0].nbytes >= _LARGEST_TENSORS_BYTES:
            break
    count = cell.invocations or len(tensors)
    for at in range(cell.warmup):
        session.run(tensors[at % len(tensors)], names)
    clock, run, available = time.perf_counter_ns, session.run, len(tensors)
    taken = [0] * count
    with _without_garbage_collection():
        for at in range(count):
            tensor = tensors[at % available]
            started = clock()
            run(tensor, names)
            taken[at] = clock() - started
    return tuple(taken)


def _outputs(
    session: Session, cell: JobCell, encoder: PixelEncoder, images: Pixels, names: Sequence[str]
) -> list[Tensor]:
    """Return the raw outputs (images, …) of these names."""
    batch, parts = cell.batch, []
    block = max(1, _BLOCK_IMAGES // batch) * batch
    for start in range(0, len(images), block):
        # pixels are encoded by the block: one image at a time costs as much as a fast inference
        tensor = encoder.encode(_filled_up(np.asarray(images[start : start + block]), batch))
        parts += [
            session.run(tensor[at : at + batch], names) for at in range(0, len(tensor), batch)
        ]
    return [np.concatenate(each)[: len(images)] for each in zip(*parts, strict=True)]


def _filled_up(images: Pixels, batch: int) -> Pixels:
    """Return images in whole batches: the last one is filled up with its last image."""
    missing = -len(images) % batch
    return np.concatenate([images, np.repeat(images[-1:], missing, axis=0)]) if missing else images


def _save(job: Job, cell: JobCell, at: int, values: npt.NDArray[np.float32]) -> str:
    if job.arrays is None:
        raise DataError("the job wants outputs but has no folder for arrays")
    path = Path(job.arrays) / array_name(job, cell, at)
    try:
        np.save(path, values)
    except OSError as error:
        raise DataError(f"cannot write {path}: {reason_of(error)}") from error
    return str(path)


@contextlib.contextmanager
def _without_garbage_collection() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _wanted(job: Job | TimingJob) -> Sequence[str]:
    return job.want if isinstance(job, Job) else ()


def _package_bytes(job: Job | TimingJob) -> int | None:
    """Return the size of the installed runtime's files, without what Python compiled of them."""
    if "package" not in _wanted(job):
        return None
    package = find_backend(job.runtime).package.partition(".")[0]
    folder = Path(str(sys.modules[package].__file__)).parent
    return sum(
        path.stat().st_size
        for each in (folder, folder.with_name(f"{folder.name}.libs"))
        for path in each.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    )


def _version_or_empty(runtime: str) -> str:
    try:
        return version_of(find_backend(runtime))
    except Exception:  # noqa: BLE001 — a job that failed has a result all the same
        return ""
