"""The counts of one model trained alike on several data sets, and what follows from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from hemline.contract.card import Scalar
from hemline.contract.schema import to_document
from hemline.data.datasets import find_dataset
from hemline.statistics import commonest_mistakes, ratio_of_shares, wilson

_PAIRS = 5  # confused pairs that are reported of each data set


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetRun:
    """One training on one data set, and its predictions of all test images.

    dataset, labels: name in the DATASETS table, class names.
    data_sha256, verified: see hemline.data.datasets.Images.
    seed, train_images: see hemline.contract.card.Card.
    validation_images, validation_correct: number of images held out, and of correct predictions.
    confusion: number of test images of a class (row) that were predicted as a class (column).
    epochs, training_seconds, precision, checkpoint_sha256, host: see Card.
    """

    dataset: str
    labels: tuple[str, ...]
    data_sha256: dict[str, str]
    verified: bool
    seed: int
    train_images: int
    validation_images: int
    validation_correct: int
    confusion: tuple[tuple[int, ...], ...]
    epochs: int
    training_seconds: float
    precision: str
    checkpoint_sha256: str
    host: str

    def __post_init__(self) -> None:
        count = len(self.labels)
        if len(self.confusion) != count or any(len(row) != count for row in self.confusion):
            raise ValueError("confusion must have a row and a column for each label")
        if min(min(row) for row in self.confusion) < 0 or min(map(sum, self.confusion)) < 1:
            raise ValueError("confusion must count images of every class")


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetComparison:
    """The same model and recipe on several data sets.

    model, parameters, macs: see hemline.contract.card.Card.
    recipe, recipe_fields: what the recipe is called, every field of it as trained.
    without_flips: whether flips were left out of the recipe, because an image of one of the data
        sets becomes another one by them.
    runs: of one data set after the other, each with the same seeds.
    versions, commit, created: of packages, of Hemline (None outside a checkout), UTC time.
    """

    KIND: ClassVar[str] = "dataset comparison"
    SCHEMA: ClassVar[int] = 1

    model: str
    parameters: int
    macs: int
    recipe: str
    recipe_fields: dict[str, Scalar]
    without_flips: bool
    runs: tuple[DatasetRun, ...]
    versions: dict[str, str]
    commit: str | None
    created: str

    def __post_init__(self) -> None:
        seeds = {tuple(run.seed for run in self.runs_of(name)) for name in self.names}
        if len(self.names) < 2 or len(seeds) > 1:
            raise ValueError("runs must be of two data sets or more, with the same seeds of each")

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the data sets, in the order of the runs."""
        return tuple(dict.fromkeys(run.dataset for run in self.runs))

    def runs_of(self, name: str) -> list[DatasetRun]:
        """Return the runs on a data set, one for each seed."""
        return [run for run in self.runs if run.dataset == name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """The share of images that are predicted correctly, 0 … 1: the mean of all seeds.

    low, high: 95 % Wilson interval for other test images; that of one run, as all seeds predict
        the same images.
    seeds: of each seed.
    """

    accuracy: float
    low: float
    high: float
    seeds: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassAccuracy(Accuracy):
    """The accuracy on one class."""

    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfusedPair:
    """Images of class `true` that are predicted as `predicted`: the mean number of all seeds."""

    true: str
    predicted: str
    images: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome(Accuracy):
    """The accuracy on one data set.

    name, title, images: of the data set, and number of its test images.
    wrong: mean number of incorrect predictions.
    classes: in the order of the labels.
    spread_points: standard deviation of the accuracies of the classes, percentage points.
    most_confused: commonest first.
    """

    name: str
    title: str
    images: int
    wrong: float
    classes: tuple[ClassAccuracy, ...]
    spread_points: float
    most_confused: tuple[ConfusedPair, ...]

    @property
    def best(self) -> ClassAccuracy:
        """Return the class with the highest accuracy."""
        return max(self.classes, key=lambda each: each.accuracy)

    @property
    def worst(self) -> ClassAccuracy:
        """Return the class with the lowest accuracy."""
        return min(self.classes, key=lambda each: each.accuracy)


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorRatio:
    """How many times as many errors there are on `name` as on `reference`.

    low, high: 95 % interval of the log ratio of two shares (hemline.statistics.ratio_of_shares).
    """

    name: str
    reference: str
    ratio: float
    low: float
    high: float


def outcomes(comparison: DatasetComparison) -> tuple[Outcome, ...]:
    """Return the accuracies on each data set."""
    return tuple(_outcome(comparison.runs_of(name)) for name in comparison.names)


def error_ratios(comparison: DatasetComparison) -> tuple[ErrorRatio, ...]:
    """Compare the errors on each data set to those on the first; none where one has no errors."""
    first, *others = outcomes(comparison)
    return tuple(
        ErrorRatio(name=other.name, reference=first.name, ratio=ratio, low=low, high=high)
        for other in others
        if other.wrong and first.wrong
        for ratio, low, high in [
            ratio_of_shares(other.wrong, other.images, first.wrong, first.images)
        ]
    )


def as_json(comparison: DatasetComparison) -> dict[str, Any]:
    """Return the document with what is derived from it."""
    return {
        **to_document(comparison),
        "outcomes": [asdict(each) for each in outcomes(comparison)],
        "error_ratios": [asdict(each) for each in error_ratios(comparison)],
    }


def _outcome(runs: Sequence[DatasetRun]) -> Outcome:
    tables = np.array([run.confusion for run in runs], np.int64)  # (seeds, classes, classes)
    labels, images = runs[0].labels, int(tables[0].sum())
    correct = np.diagonal(tables, axis1=1, axis2=2)  # (seeds, classes)
    classes = tuple(
        ClassAccuracy(label=label, **_accuracy(correct[:, at], int(tables[0, at].sum())))
        for at, label in enumerate(labels)
    )
    return Outcome(
        **_accuracy(correct.sum(axis=1), images),
        name=runs[0].dataset,
        title=find_dataset(runs[0].dataset).title,
        images=images,
        wrong=images - float(correct.sum(axis=1).mean()),
        classes=classes,
        spread_points=100 * float(np.std([each.accuracy for each in classes])),
        most_confused=tuple(
            ConfusedPair(true=labels[true], predicted=labels[predicted], images=count)
            for true, predicted, count in commonest_mistakes(tables.mean(axis=0), _PAIRS)
        ),
    )


def _accuracy(correct: npt.NDArray[np.int64], images: int) -> dict[str, Any]:
    """Return the fields of Accuracy of the correct predictions of each seed, (seeds,)."""
    mean = float(correct.mean())
    low, high = wilson(round(mean), images)
    seeds = tuple(float(each) / images for each in correct)
    return {"accuracy": mean / images, "low": low, "high": high, "seeds": seeds}
