"""Run a baseline, or take its result out of the cache when it ran before."""

from __future__ import annotations

import importlib.metadata
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from hemline.contract import schema
from hemline.contract.card import Score
from hemline.data.datasets import Images
from hemline.data.splits import TrainingData, split_images
from hemline.errors import HemlineError, UsageError
from hemline.files import fingerprint
from hemline.host import host_facts
from hemline.provenance import commit, utc_now, versions
from hemline.train.baselines.process import Fit, Progress, fit_in_child
from hemline.train.baselines.result import BaselineResult
from hemline.train.baselines.table import Baseline
from hemline.user_folders import cache_folder

log = logging.getLogger(__name__)

_PACKAGES = ("scikit-learn", "scipy", "numpy")
_VALIDATION_SHARE = 12  # one image in twelve: 5,000 of 60,000, the same ones as for every model


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
    request: BaselineRequest, images: Images, *, on_progress: Callable[[Progress], None]
) -> BaselineResult:
    """Return the result of a baseline on a data set; what ran on all images is kept in the cache.

    Raises DataError when there are too few images, HemlineError when the fit fails.
    """
    data = split_part(images, request.limit)
    kept = cached_path(request, images, data)
    # a part of the images is a quick look: its figures must never pass for the real ones
    whole = data.split.limit is None
    found = _read(kept) if whole and not request.again else None
    if found is not None:
        # what is only said of the figures may have been put better since
        return replace(found, note=request.baseline.note)
    fit = fit_in_child(
        request.baseline,
        data,
        images,
        seed=request.seed,
        threads=request.threads,
        on_progress=on_progress,
    )
    result = _result(request, images, data, fit)
    if whole:
        _keep(kept, result)
    return result


def split_part(images: Images, limit: int | None) -> TrainingData:
    """Keep one of twelve of the first `limit` training images apart for validation.

    Raises UsageError for a limit that leaves fewer validation images than classes.
    """
    total = len(images.train_images) if limit is None else min(limit, len(images.train_images))
    classes = len(images.dataset.labels)
    if total // _VALIDATION_SHARE < classes:
        raise UsageError(
            f"{total} training images are too few for {classes} classes: it takes at least "
            f"{classes * _VALIDATION_SHARE}"
        )
    return split_images(images, validation=total // _VALIDATION_SHARE, limit=limit)


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


def _read(path: Path) -> BaselineResult | None:
    if not path.exists():
        return None
    try:
        found = schema.load(BaselineResult, path)
    except HemlineError as error:
        log.warning("%s: it is measured anew", error)
        return None
    return found


def _keep(path: Path, result: BaselineResult) -> None:
    try:
        schema.save(path, result)
    except HemlineError as error:
        log.warning("not kept for the next time: %s", error)


def _result(
    request: BaselineRequest, images: Images, data: TrainingData, fit: Fit
) -> BaselineResult:
    row, host = request.baseline, host_facts()
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
            Score(split=split, images=count, correct=fit.correct[split])
            for split, count in counts.items()
        ),
        converged=fit.converged,
        fit_seconds=fit.fit_seconds,
        predict_seconds=fit.predict_seconds,
        cpu_seconds=fit.cpu_seconds,
        threads=request.threads,
        peak_memory_bytes=fit.peak_memory_bytes,
        versions=versions(_PACKAGES),
        host=f"{host.processor}, {host.cores} cores",
        commit=commit(),
        created=utc_now(),
    )
