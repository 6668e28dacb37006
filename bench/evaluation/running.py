"""Evaluate checkpoints and artifacts on the same images: by jobs, whatever they are."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hemline.bench.evaluation.images import DataSource, SplitImages, split_of
from hemline.bench.evaluation.measures import Predictions, averaged, predictions_of, result_of
from hemline.bench.evaluation.result import Evaluation, Origin, RunResult, Separation
from hemline.bench.evaluation.target import EvaluationTarget, find_target
from hemline.contract.job import Job, JobCell
from hemline.contract.model_summary import Layer
from hemline.contract.specs import LOGITS
from hemline.data.fetch import FetchOptions
from hemline.data.image_rows import ImageRows
from hemline.errors import DataError, JobError, UsageError, remedy
from hemline.folders import TemporaryFolder
from hemline.host import host_facts
from hemline.pictures.npy import write_npy
from hemline.progress import tracked
from hemline.provenance import utc_now, versions
from hemline.runtime.job import ERRORS, JobRunner
from hemline.runtime.process import JobPool

Logits = npt.NDArray[np.float32]
_PACKAGES = ("numpy", "scikit-learn")
_AT_ONCE = 500  # images in a job, whose end is progress
_PART = 2500  # images: fewer are not worth a process more, which takes 0.2 s to start
_KERAS_BATCH = 1000  # images: the session runs them in parts
_KERAS_VALUES = 1 << 24  # of such a batch at most: 111 images of 224 × 224 × 3


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRequest:
    """What to evaluate.

    paths: checkpoints, artifacts or bundles, at least one.
    split: validation or test; None for test, or for validation where several are compared.
    runtime: that runs the artifacts; None for the first that each supports.
    data: where the data sets are read.
    ensemble: whether to average them as well.
    strangers: sets of images of no class, which a model should not know.
    """

    paths: tuple[Path, ...]
    split: str | None = None
    runtime: str | None = None
    data: FetchOptions = field(default_factory=FetchOptions)
    ensemble: bool = False
    strangers: tuple[str, ...] = ()

    @property
    def chosen_split(self) -> str:
        """Return the split: a comparison prepares a choice, and test images are not for that."""
        if self.split is not None:
            return self.split
        return "test" if len(self.paths) == 1 or self.ensemble else "validation"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRun:
    """One result with all that its pictures are made from.

    result: the figures.
    predictions: of the images in `split`.
    """

    result: RunResult
    predictions: Predictions
    split: SplitImages


def prepare(request: EvaluationRequest) -> list[tuple[EvaluationTarget, SplitImages]]:
    """Return the targets with their images; raises HemlineError for all that does not fit."""
    targets = _targets(request)
    data = DataSource(request.data)
    splits = [split_of(target, request.chosen_split, data) for target in targets]
    first = splits[0]
    for target, split in zip(targets[1:], splits[1:], strict=True):
        same = split.pixels is first.pixels or split.sha256 == first.sha256
        if not same or not np.array_equal(split.labels, first.labels):
            raise DataError(
                f"the {split.name} images of {target.name} are not those of {targets[0].name}",
                remedy=remedy("compare on test"),
            )
    return list(zip(targets, splits, strict=True))


def run_all(pairs: Iterable[tuple[EvaluationTarget, SplitImages]]) -> list[Logits]:
    """Return float32 logits (n, classes) of each target; raises HemlineError when one fails."""
    with JobPool() as processes, TemporaryFolder() as folder:
        return [_logits(processes, Path(folder), *pair) for pair in pairs]


def outputs_of(
    target: EvaluationTarget, images: ImageRows, names: Sequence[str]
) -> dict[str, Logits]:
    """Return float32 outputs (n, …) of uint8 images (n, h, w, c), by name."""
    with JobPool() as processes, TemporaryFolder() as folder:
        write_npy(path := Path(folder) / "images.npy", images)
        return _outputs(processes, Path(folder), target, images, path, names)


def keras_cell(pixels: ImageRows) -> JobCell:
    """Return the setting in which Keras runs so many images fastest."""
    batch = min(_KERAS_BATCH, len(pixels), max(1, _KERAS_VALUES // pixels[0].size))
    return JobCell(threads=host_facts().cores, batch=batch)


def evaluate(
    pairs: Sequence[tuple[EvaluationTarget, SplitImages]],
    logits: Sequence[Logits],
    *,
    summaries: Sequence[tuple[Layer, ...]],
    ensemble: bool,
    separations: Sequence[tuple[Separation, ...]] = (),
) -> tuple[Evaluation, tuple[EvaluationRun, ...]]:
    """Return the figures, and what the pictures of each result are made from.

    `summaries` are the layers of each target's model, empty where they are not known;
    `separations` from strangers are of each target too, if any were named.
    """
    runs: list[EvaluationRun] = []
    for (target, split), values, layers in zip(pairs, logits, summaries, strict=True):
        predictions = predictions_of(values, target.spec.temperature)
        result = result_of(
            target.origin(layers),
            predictions,
            split.labels,
            target.spec.labels,
            keras_logits=split.keras_logits,
            first=runs[0].predictions if runs else None,
            images=split.image_names,
        )
        if separations:
            result = replace(result, separations=separations[len(runs)])
        runs.append(EvaluationRun(result=result, predictions=predictions, split=split))
    if ensemble:
        runs.append(_ensemble(runs, pairs[0][0].spec.labels))
    return _evaluation(runs, pairs), tuple(runs)


def _targets(request: EvaluationRequest) -> list[EvaluationTarget]:
    if request.ensemble and len(request.paths) < 2:
        raise UsageError("an ensemble needs at least two: name more checkpoints or artifacts")
    targets = [find_target(path, request.runtime) for path in request.paths]
    first = targets[0]
    for at, other in enumerate(targets):
        if any(other.path == each.path for each in targets[:at]):
            raise UsageError(f"{other.name} is named twice")
        if other.spec.labels != first.spec.labels:
            raise UsageError(
                f"{other.name} and {first.name} have different classes: evaluate them one by one"
            )
        shape, own = first.spec.input.shape, other.spec.input.shape
        if own != shape:
            raise UsageError(
                f"{other.name} needs images of {own}, {first.name} of {shape}: "
                "evaluate them one by one"
            )
    return targets


def _logits(
    processes: JobPool, folder: Path, target: EvaluationTarget, split: SplitImages
) -> Logits:
    images = split.path or _saved(split, folder)
    found = _outputs(processes, folder, target, split.pixels, images, (LOGITS,))[LOGITS]
    broken = int((~np.isfinite(found)).any(axis=1).sum())
    if broken:
        raise JobError(
            f"{target.name} returns non-finite logits for {broken:,} of {len(found):,} images: "
            "train or export it again"
        )
    return found


def _outputs(
    processes: JobPool,
    folder: Path,
    target: EvaluationTarget,
    pixels: ImageRows,
    path: Path,
    names: Sequence[str],
) -> dict[str, Logits]:
    """Return outputs of images, which are saved at `path`, by name."""
    count, cores = len(pixels), host_facts().cores
    if target.card is None:
        workers = max(1, min(cores, count // _PART))
        cell, runner = JobCell(), None  # one thread, one image, as verification: the same figures
    else:  # in this process, which has Keras for the model's layers: loading it again takes 4 s
        workers, cell, runner = 1, keras_cell(pixels), JobRunner()
    bounds = [*range(0, count, cell.batch * max(1, _AT_ONCE // cell.batch)), count]
    jobs = [
        Job(
            id=f"from-{first}",
            artifact=str(target.path),
            runtime=target.runtime.runtime,
            images=str(path),
            first=first,
            count=last - first,
            cells=(cell,),
            arrays=str(folder),
            outputs=tuple(names),
        )
        for first, last in itertools.pairwise(bounds)
    ]
    with ThreadPoolExecutor(workers) as pool:
        results = pool.map(lambda job: _run(processes, target, job, runner), jobs)
        found = list(tracked(results, len(jobs), f"evaluating {target.name}"))
    return {name: np.concatenate([each[name] for each in found]) for name in names}


def _run(
    processes: JobPool, target: EvaluationTarget, job: Job, runner: JobRunner | None
) -> dict[str, Logits]:
    if runner is None:
        with processes.process(target.runtime) as process:
            result = process.run(job)
    else:
        result = runner.run(job)
    if result.failure is not None:
        message = f"{target.name} in {target.runtime.name}: {result.failure.message}"
        raise ERRORS.get(result.failure.kind, JobError)(message)
    return {name: result.output(name) for name in job.outputs}


def _saved(split: SplitImages, folder: Path) -> Path:
    """Write the images where jobs read them; those of all targets are the same."""
    path = folder / "images.npy"
    if not path.exists():
        write_npy(path, split.pixels)
    return path


def _ensemble(runs: Sequence[EvaluationRun], names: tuple[str, ...]) -> EvaluationRun:
    """Return the mean of the probabilities, each with its own temperature."""
    origins = [run.result.origin for run in runs]
    models = {origin.model for origin in origins}
    origin = Origin(
        name="ensemble",
        kind="ensemble",
        model=models.pop() if len(models) == 1 else "",
        sha256="",
        parameters=_sum(each.parameters for each in origins),
        macs=_sum(each.macs for each in origins),
        size_bytes=_sum(each.size_bytes for each in origins),
        runtime="",
        runtime_version="",
        members=tuple(each.name for each in origins),
    )
    first, mean = runs[0], averaged([run.predictions for run in runs])
    result = result_of(
        origin,
        mean,
        first.split.labels,
        names,
        first=first.predictions,
        images=first.split.image_names,
    )
    return EvaluationRun(result=result, predictions=mean, split=first.split)


def _sum(values: Iterable[int | None]) -> int | None:
    known = list(values)
    return None if None in known else sum(each for each in known if each is not None)


def _evaluation(
    runs: Sequence[EvaluationRun], pairs: Sequence[tuple[EvaluationTarget, SplitImages]]
) -> Evaluation:
    by_keras = any(target.card is not None for target, _ in pairs)
    target, first = pairs[0]
    return Evaluation(
        split=first.name,
        dataset=first.dataset,
        title=first.title,
        source=first.source,
        images_sha256=first.sha256,
        labels=target.spec.labels,
        results=tuple(run.result for run in runs),
        notes=tuple(dict.fromkeys(note for _, split in pairs for note in split.notes)),
        versions=versions((*_PACKAGES, *(("keras", "tensorflow") if by_keras else ()))),
        created=utc_now(),
    )
