"""Evaluate checkpoints and artifacts on the same images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hemline.data.fetch import FetchOptions
from hemline.errors import DataError, JobError, UsageError
from hemline.provenance import utc_now, versions
from hemline.train.evaluating.checkpoint_subject import CheckpointSubject
from hemline.train.evaluating.images import DataSource, SplitImages
from hemline.train.evaluating.measures import Answers, answers_of, averaged, result_of
from hemline.train.evaluating.pictures import Look
from hemline.train.evaluating.result import Evaluation, Origin
from hemline.train.evaluating.subject import Subject, find_subject

_PACKAGES = ("numpy", "scikit-learn")
_RUNTIME_PACKAGES = {"keras": ("keras", "tensorflow")}


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRequest:
    """What to evaluate.

    paths: checkpoints, artifacts or bundles, at least one.
    split: validation or test; None for test, or for validation where several are compared.
    runtime: that runs the artifacts; None for the first that may.
    data: where the data sets are read.
    ensemble: whether to average them as well.
    layer: whose feature maps to show; None for the first convolution.
    """

    paths: tuple[Path, ...]
    split: str | None = None
    runtime: str | None = None
    data: FetchOptions = field(default_factory=FetchOptions)
    ensemble: bool = False
    layer: str | None = None

    @property
    def chosen_split(self) -> str:
        """Return the split: who compares is about to choose, and test images are not for that."""
        if self.split is not None:
            return self.split
        return "test" if len(self.paths) == 1 or self.ensemble else "validation"


def evaluate(
    request: EvaluationRequest, *, say: Callable[[str], None]
) -> tuple[Evaluation, tuple[Look, ...]]:
    """Return the figures, and what the pictures of each result are made from.

    All that can be wrong with the request is found before the first image is run.
    """
    subjects = _subjects(request)
    data = DataSource(request.data)
    splits = [subject.split(request.chosen_split, data) for subject in subjects]
    _require_same_images(subjects, splits)
    if any(isinstance(subject, CheckpointSubject) for subject in subjects):
        say("loading TensorFlow")
    layers = [_maps_layer(subject, request.layer) for subject in subjects]
    looks: list[Look] = []
    for subject, split, layer, folder in zip(
        subjects, splits, layers, _folders(subjects), strict=True
    ):
        say(f"{subject.name}: {len(split.labels):,} {split.name} images from {split.source}")
        answers = answers_of(_finite(subject, subject.logits(split)), subject.temperature)
        first = looks[0].answers if looks else None
        looks.append(_look(subject, answers, split, layer, folder, first))
    if request.ensemble:
        looks.append(_ensemble(looks, subjects[0].labels))
    return _evaluation(looks, splits, subjects[0]), tuple(looks)


def _subjects(request: EvaluationRequest) -> list[Subject]:
    if request.ensemble and len(request.paths) < 2:
        raise UsageError("an ensemble needs at least two: name more checkpoints or artifacts")
    subjects = [find_subject(path, request.runtime) for path in request.paths]
    first = subjects[0]
    for at, other in enumerate(subjects):
        if any(other.name == each.name for each in subjects[:at]):
            raise UsageError(f"{other.name} is named twice")
        if other.labels != first.labels:
            raise UsageError(
                f"{other.name} and {first.name} have different classes: evaluate them one by one"
            )
        if other.shape != first.shape:
            raise UsageError(
                f"{other.name} takes images of {other.shape}, {first.name} of {first.shape}: "
                "evaluate them one by one"
            )
    checkpoints = [each for each in subjects if isinstance(each, CheckpointSubject)]
    if request.runtime is not None and len(checkpoints) == len(subjects):
        raise UsageError("--runtime is for artifacts: a checkpoint is run by Keras")
    if request.layer is not None and not checkpoints:
        raise UsageError("--layer is for checkpoints: an artifact does not show its layers")
    return subjects


def _require_same_images(subjects: Sequence[Subject], splits: Sequence[SplitImages]) -> None:
    first = splits[0]
    for subject, split in zip(subjects[1:], splits[1:], strict=True):
        same = split.pixels is first.pixels or split.sha256 == first.sha256
        if not same or not np.array_equal(split.labels, first.labels):
            raise DataError(
                f"the {split.name} images of {subject.name} are not those of {subjects[0].name}: "
                "compare them with --split test, or evaluate them one by one"
            )


def _maps_layer(subject: Subject, name: str | None) -> object:
    """Load a subject, and return the layer whose feature maps are shown."""
    subject.open()
    if not isinstance(subject, CheckpointSubject):
        return None
    from hemline.train.evaluating.layers import layer_with_maps

    return layer_with_maps(subject.model, name)


def _finite(subject: Subject, logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    broken = int((~np.isfinite(logits)).any(axis=1).sum())
    if broken:
        raise JobError(
            f"{subject.name} answers {broken:,} of {len(logits):,} images with what is no number: "
            "train or export it again"
        )
    return logits


def _look(
    subject: Subject,
    answers: Answers,
    split: SplitImages,
    layer: object,
    folder: str,
    first: Answers | None,
) -> Look:
    result = result_of(
        subject.origin(),
        answers,
        split.labels,
        subject.labels,
        keras_logits=split.keras_logits,
        first=first,
    )
    checkpoint = subject if isinstance(subject, CheckpointSubject) else None
    return Look(
        result=result,
        folder=folder,
        answers=answers,
        split=split,
        card=None if checkpoint is None else checkpoint.card,
        model=None if checkpoint is None else checkpoint.model,
        maps_layer=layer,
    )


def _ensemble(looks: Sequence[Look], names: tuple[str, ...]) -> Look:
    """Return the mean of the probabilities, each with its own temperature."""
    origins = [look.result.origin for look in looks]
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
        layers=(),
    )
    first, together = looks[0], averaged([look.answers for look in looks])
    return Look(
        result=result_of(origin, together, first.split.labels, names, first=first.answers),
        folder="ensemble",
        answers=together,
        split=first.split,
        card=None,
        model=None,
        maps_layer=None,
    )


def _sum(values: Iterable[int | None]) -> int | None:
    known = list(values)
    return None if None in known else sum(each for each in known if each is not None)


def _folders(subjects: Sequence[Subject]) -> list[str]:
    """Return a name for the folder of each one's pictures: the last parts that tell them apart."""
    if len(subjects) == 1:
        return ["."]
    parts = [Path(subject.name).absolute().parts for subject in subjects]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["-".join(each[-depth:]) for each in parts]
        if len(set(names)) == len(names) and "ensemble" not in names:
            return names
    return [str(at + 1) for at in range(len(subjects))]


def _evaluation(
    looks: Sequence[Look], splits: Sequence[SplitImages], subject: Subject
) -> Evaluation:
    runtimes = {look.result.origin.runtime for look in looks}
    packages = [each for name in sorted(runtimes) for each in _RUNTIME_PACKAGES.get(name, ())]
    first = splits[0]
    return Evaluation(
        split=first.name,
        dataset=first.dataset,
        title=first.title,
        source=first.source,
        images_sha256=first.sha256,
        labels=subject.labels,
        results=tuple(look.result for look in looks),
        notes=tuple(dict.fromkeys(note for split in splits for note in split.notes)),
        versions=versions((*_PACKAGES, *packages)),
        created=utc_now(),
    )
