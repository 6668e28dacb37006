"""Run a baseline in a process of its own, or take its result from the cache."""

from __future__ import annotations

import contextlib
import importlib.metadata
import logging
import pickle
import select
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hemline.child_process import StderrTail, how_it_ended
from hemline.contract import schema
from hemline.contract.score import Score
from hemline.data.datasets import Images
from hemline.data.splits import TrainingData, split_images, validation_size
from hemline.errors import HemlineError
from hemline.files import fingerprint, parse_json
from hemline.host import host_facts
from hemline.provenance import commit, utc_now, versions
from hemline.safe_path import module_command
from hemline.train.baselines.child import FitJob
from hemline.train.baselines.result import BaselineResult
from hemline.train.baselines.table import Baseline
from hemline.user_folders import cache_folder

log = logging.getLogger(__name__)

_PACKAGES = ("scikit-learn", "scipy", "numpy")
_TICK_SECONDS = 1.0  # how often the time that has passed is reported
_STOP_SECONDS = 5.0

# of the phase (fitting, predicting PART), its share that is done if known, and all seconds so far
OnProgress = Callable[[str, float | None, float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineRequest:
    """What to run.

    baseline: row of the BASELINES table.
    seed: of the classifier.
    threads: that it may use.
    limit: number of training images to use, validation among them; None for all.
    again: whether to run it even if its result is in the cache.
    """

    baseline: Baseline
    seed: int = 1
    threads: int = 1
    limit: int | None = None
    again: bool = False


def run_baseline(
    request: BaselineRequest, images: Images, *, on_progress: OnProgress
) -> BaselineResult:
    """Return the result of a baseline on a data set; what ran on all images is kept in the cache.

    Raises DataError when there are too few images, HemlineError when the fit fails.
    """
    data = split_for(images, request.limit)
    path = cached_path(request, images, data)
    # a part of the images is a quick look: its figures must never pass for the real ones
    whole = data.split.limit is None
    found = _cached(path) if whole and not request.again else None
    if found is not None:
        # the note may have been reworded since
        return replace(found, note=request.baseline.note)
    result = _result(request, images, data, fit_in_child(request, images, data, on_progress))
    if whole:
        try:
            schema.save(path, result)
        except HemlineError as error:
            log.warning("results are not cached: %s", error)
    return result


def split_for(images: Images, limit: int | None) -> TrainingData:
    """Hold out the validation images that every model holds out; raises DataError for too few."""
    total = min(limit or len(images.train_images), len(images.train_images))
    return split_images(images, validation=validation_size(total), limit=limit)


def cached_path(request: BaselineRequest, images: Images, data: TrainingData) -> Path:
    """Return the file that keeps a result: everything that the figures depend on is in its name."""
    row = request.baseline
    basis = {
        "estimator": row.estimator,
        "parameters": row.parameters,
        "seed": request.seed,
        "data": images.sha256,
        "validation": data.split.validation_sha256,
        "scikit-learn": importlib.metadata.version("scikit-learn"),
    }
    return cache_folder() / "baselines" / f"{row.name}-{fingerprint(basis)[:16]}.json"


def _cached(path: Path) -> BaselineResult | None:
    try:
        return schema.load(BaselineResult, path) if path.exists() else None
    except HemlineError as error:
        log.warning("%s: it is measured again", error)
        return None


def job_of(request: BaselineRequest, images: Images, data: TrainingData) -> FitJob:
    """Return what the child fits and counts."""
    return FitJob(
        baseline=request.baseline,
        seed=request.seed,
        threads=request.threads,
        parts={
            "train": (np.asarray(data.train_images), data.train_labels),
            "validation": (np.asarray(data.validation_images), data.validation_labels),
            "test": (np.asarray(images.test_images), images.test_labels),
        },
    )


def fit_in_child(
    request: BaselineRequest, images: Images, data: TrainingData, on_progress: OnProgress
) -> dict[str, Any]:
    """Return what `child.fit_and_score` returns; report progress at least every second.

    The child ends with this process, however that ends. Raises HemlineError when it fails.
    """
    name, started = request.baseline.name, time.monotonic()
    phase, share = "fitting", None
    with _child() as child:
        stderr = StderrTail(child.stderr)
        _send(child, job_of(request, images, data))
        for event in _events(child):
            if "error" in event:
                raise HemlineError(f"{name} failed: {event['error']}")
            if "correct" in event:
                return event
            phase, share = event.get("phase", phase), event.get("share", share)
            on_progress(phase, share, time.monotonic() - started)
        how = how_it_ended(child.wait(_STOP_SECONDS), stderr.text())
    memory = "; signal 9 usually means too little memory" if "signal 9" in how else ""
    raise HemlineError(f"{name} ended without a result {how}{memory}")


@contextlib.contextmanager
def _child() -> Iterator[subprocess.Popen[bytes]]:
    pipe = subprocess.PIPE  # its standard input is closed when this process ends, which ends it
    command = module_command("hemline.train.baselines.child")
    child = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0)
    try:
        yield child
    finally:
        child.kill()
        child.wait()
        for stream in (child.stdin, child.stdout):
            assert stream is not None  # noqa: S101 — Popen was asked for pipes
            stream.close()


def _send(child: subprocess.Popen[bytes], job: FitJob) -> None:
    assert child.stdin is not None  # noqa: S101 — as above
    rest = memoryview(pickle.dumps(job))
    with contextlib.suppress(BrokenPipeError):  # it has ended: its exit code says how
        while rest:
            rest = rest[child.stdin.write(rest) :]


def _events(child: subprocess.Popen[bytes]) -> Iterator[dict[str, Any]]:
    """Yield the child's events until it ends; an empty one at once, and where a second has none."""
    assert child.stdout is not None  # noqa: S101 — as above
    yield {}
    while True:
        ready, _, _ = select.select([child.stdout], [], [], _TICK_SECONDS)
        if not ready:
            yield {}
        elif line := child.stdout.readline():
            yield parse_json(line, where="the baseline's process")
        else:
            return


def _result(
    request: BaselineRequest, images: Images, data: TrainingData, fit: dict[str, Any]
) -> BaselineResult:
    row, host, correct = request.baseline, host_facts(), fit.pop("correct")
    counts = {"validation": len(data.validation_labels), "test": len(images.test_labels)}
    return BaselineResult(
        baseline=row.name,
        estimator=row.estimator,
        parameters=row.parameters,
        note=row.note,
        published=row.published.get(images.dataset.name),
        dataset=images.dataset.name,
        data_sha256=images.sha256,
        verified=images.verified,
        limit=data.split.limit,
        train_images=len(data.train_labels),
        seed=request.seed,
        scores=tuple(
            Score(split=split, images=count, correct=correct[split])
            for split, count in counts.items()
        ),
        threads=request.threads,
        versions=versions(_PACKAGES),
        host=f"{host.processor}, {host.cores} cores",
        commit=commit(),
        created=utc_now(),
        **fit,
    )
