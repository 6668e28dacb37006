"""What follows from a comparison of data sets: accuracies, spreads, mistakes and error ratios."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hemline.contract.schema import to_document
from hemline.data.datasets import find_dataset
from hemline.statistics import commonest_mistakes, ratio_of_shares, wilson
from hemline.train.comparison.comparison import DatasetComparison, DatasetRun

_PAIRS = 5  # confused pairs that are told of each data set


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassAccuracy:
    """How many images of a class are answered right: the mean of all seeds, 0 … 1.

    low, high: 95 % Wilson interval.
    seeds: of each seed.
    """

    label: str
    accuracy: float
    low: float
    high: float
    seeds: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfusedPair:
    """Images of class `true` that are taken for `predicted`: the mean number of all seeds."""

    true: str
    predicted: str
    images: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came out on one data set; shares are 0 … 1 and means of all seeds.

    name, title: of the data set.
    images: number of test images.
    wrong: mean number of wrong answers.
    accuracy: share of right ones.
    low, high: its 95 % Wilson interval, for the test images that happened to be drawn; that of one
        run, as all seeds answer the same images.
    seeds: accuracy of each seed.
    classes: in the order of the labels.
    spread_points: standard deviation of the accuracies of the classes, percentage points.
    most_confused: commonest first.
    """

    name: str
    title: str
    images: int
    wrong: float
    accuracy: float
    low: float
    high: float
    seeds: tuple[float, ...]
    classes: tuple[ClassAccuracy, ...]
    spread_points: float
    most_confused: tuple[ConfusedPair, ...]

    @property
    def best(self) -> ClassAccuracy:
        """Return the class with most right answers."""
        return max(self.classes, key=lambda each: each.accuracy)

    @property
    def worst(self) -> ClassAccuracy:
        """Return the class with fewest right answers."""
        return min(self.classes, key=lambda each: each.accuracy)


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorRatio:
    """How many times as many mistakes are made on `name` as on `reference`, and the 95 % interval.

    The interval is that of the log ratio of two shares (hemline.statistics.ratio_of_shares).
    """

    name: str
    reference: str
    ratio: float
    low: float
    high: float


def outcomes(comparison: DatasetComparison) -> tuple[Outcome, ...]:
    """Return what came out on each data set."""
    return tuple(
        _outcome([run for run in comparison.runs if run.dataset == name])
        for name in comparison.names
    )


def error_ratios(comparison: DatasetComparison) -> tuple[ErrorRatio, ...]:
    """Hold the errors on each data set to those on the first; none where one has no mistakes."""
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
    right = np.trace(tables, axis1=1, axis2=2)
    mean = float(right.mean())
    low, high = wilson(round(mean), images)
    classes = tuple(_class_accuracy(label, tables, at) for at, label in enumerate(labels))
    return Outcome(
        name=runs[0].dataset,
        title=find_dataset(runs[0].dataset).title,
        images=images,
        wrong=images - mean,
        accuracy=mean / images,
        low=low,
        high=high,
        seeds=tuple(float(each) / images for each in right),
        classes=classes,
        spread_points=100 * float(np.std([each.accuracy for each in classes])),
        most_confused=tuple(
            ConfusedPair(true=labels[true], predicted=labels[answer], images=count)
            for true, answer, count in commonest_mistakes(tables.mean(axis=0), _PAIRS)
        ),
    )


def _class_accuracy(label: str, tables: npt.NDArray[np.int64], at: int) -> ClassAccuracy:
    right, images = tables[:, at, at], int(tables[0, at].sum())
    low, high = wilson(round(float(right.mean())), images)
    return ClassAccuracy(
        label=label,
        accuracy=float(right.mean()) / images,
        low=low,
        high=high,
        seeds=tuple(float(each) / images for each in right),
    )
