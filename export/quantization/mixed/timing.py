"""Time two files of one model against each other, in turn, in the runtime of their format."""

from __future__ import annotations

import statistics
from pathlib import Path

import numpy as np

from hemline.contract.job import Job, JobCell
from hemline.contract.specs import Format, SupportedRuntime
from hemline.contract.stamp import Stamp, stamp_onnx, stamp_tflite
from hemline.errors import JobError, NotNeededError
from hemline.export.writers.converted import ConvertedModel
from hemline.folders import TemporaryFolder
from hemline.runtime.process import JobProcess

RUNTIMES: dict[Format, str] = {"tflite": "litert", "onnx": "onnxruntime"}
NOISE = 1.03  # the medians of equal files differ by less
_ROUNDS = 25  # odd: their median is one of them
_ROUND_NS = 10_000_000  # long against the clock, short against what else the machine does
_FEWEST = 3  # invocations in a round
_IMAGES = 8
_IMAGES_FILE = "images.npy"


def time_ratio(first: ConvertedModel, second: ConvertedModel, file_format: Format) -> float:
    """Return the time of a file, divided by that of another one, for single images of noise.

    Both are open in one child process and run in short rounds, in turn: what slows the machine down
    for a while slows both. The ratio is the median over the rounds.
    """
    with TemporaryFolder() as folder, JobProcess() as process:
        shape = (_IMAGES, first.input.height, first.input.width, first.input.channels)
        images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        np.save(Path(folder) / _IMAGES_FILE, images)
        jobs = [
            _job(Path(folder), name, model, file_format)
            for name, model in (("first", first), ("second", second))
        ]
        count = max(_FEWEST, _ROUND_NS // max(_median(process, job, _FEWEST) for job in jobs))
        ratios = []
        for number in range(_ROUNDS):
            order = jobs if number % 2 else jobs[::-1]
            found = {job.id: _median(process, job, count) for job in order}
            ratios.append(found["first"] / found["second"])
    return statistics.median(ratios)


def require_faster(
    made: ConvertedModel, in_float: ConvertedModel, file_format: Format
) -> ConvertedModel:
    """Return a file; raises NotNeededError where the float file is faster beyond noise."""
    ratio = time_ratio(made, in_float, file_format)
    if ratio > NOISE:
        raise NotNeededError(
            f"with the layers in float that the accuracy needs, it takes {ratio:.2f} × the time of "
            f"fp32.{file_format} in {RUNTIMES[file_format]}"
        )
    return made


def _median(process: JobProcess, job: Job, invocations: int) -> int:
    """Return the median latency of some invocations in nanoseconds; raises JobError."""
    cell = JobCell(warmup=_FEWEST, invocations=invocations)
    result = process.run(
        Job(
            id=job.id,
            artifact=job.artifact,
            runtime=job.runtime,
            images=job.images,
            cells=(cell,),
            want=("latencies",),
        )
    )
    if result.failure is not None:
        raise JobError(f"{job.runtime} does not run it: {result.failure.message}")
    return int(statistics.median(result.cells[0].latencies_ns))


def _job(folder: Path, name: str, model: ConvertedModel, file_format: Format) -> Job:
    """Write a stamped file; return the job that runs it."""
    runtime = RUNTIMES[file_format]
    size = next(each.size for each in model.outputs if each.role == "logits")
    stamp = Stamp(
        name=f"{name}.{file_format}",
        scheme=name,
        format=file_format,
        model=name,
        labels=tuple(map(str, range(size))),
        input=model.input,
        outputs=model.outputs,
        supported_runtimes=(SupportedRuntime(runtime=runtime, minimum="0"),),
        parent_sha256="",
    )
    path = folder / stamp.name
    write = stamp_tflite if file_format == "tflite" else stamp_onnx
    path.write_bytes(write(model.content, stamp))
    return Job(id=name, artifact=str(path), runtime=runtime, images=str(folder / _IMAGES_FILE))
