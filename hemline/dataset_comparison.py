"""One model trained alike on several data sets: what was counted, and what follows from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from hemline.card import Scalar
from hemline.dataset import find_dataset
from hemline.schema import to_document
from hemline.statistics import ratio_of_shares, wilson
from hemline.tables import Table

_PAIRS = 5  # confused pairs that are told of each data set


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetRun:
    """One training on one data set, and its answers on all test images.

    dataset: name in the DATASETS table.
    labels: class names.
    data_sha256: file name to hash of the decompressed bytes.
    verified: whether every file is the official one.
    seed: of weights, order and augmentation.
    train_images: number of images that it was trained on, without those for validation.
    validation_images, validation_correct: number of images kept apart, and of right answers there.
    confusion: number of test images of a class (row) that were taken for a class (column).
    epochs: that were trained.
    training_seconds: wall time.
    precision: float32 or mixed_bfloat16.
    checkpoint_sha256: of checkpoint.keras.
    host: processor and cores that trained it.
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

    model: name in the MODELS table.
    parameters, macs: scalars that inference needs, multiply-accumulates of one inference.
    recipe: what the recipe is called.
    recipe_fields: every field of it as trained.
    without_flips: whether flips were taken out of the recipe, because an image of one of the data
        sets becomes another one by them.
    runs: of one data set after the other, each with the same seeds.
    versions: of packages.
    commit: of Hemline; None outside a checkout.
    created: UTC time.
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
        seeds = {tuple(run.seed for run in self.runs if run.dataset == name) for name in self.names}
        if len(self.names) < 2 or len(seeds) > 1:
            raise ValueError("runs must be of two data sets or more, with the same seeds of each")

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the data sets, in the order of the runs."""
        return tuple(dict.fromkeys(run.dataset for run in self.runs))


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


def comparison_table(comparison: DatasetComparison) -> Table:
    """Return a row for each data set: accuracy, best and worst class, spread, time."""
    found = outcomes(comparison)
    several = len(found[0].seeds) > 1
    columns = ("data set", "test", "95 % interval", *(("seeds",) if several else ()))
    more = ("validation", "best class", "worst class", "spread", "epochs", "min")
    return Table(
        columns=(*columns, *more),
        numeric=(False, *(True for _ in columns[1:]), True, False, False, True, True, True),
        rows=tuple(_row(comparison, each, several) for each in found),
    )


def finding_lines(comparison: DatasetComparison) -> list[str]:
    """Return the error ratio and the most confused pairs, a line for each."""
    found = {each.name: each for each in outcomes(comparison)}
    ratios = [
        f"{each.ratio:.1f} × as many errors on {found[each.name].title} as on "
        f"{found[each.reference].title} (95 % interval of the log ratio: {each.low:.1f} … "
        f"{each.high:.1f})"
        for each in error_ratios(comparison)
    ]
    perfect = [each.title for each in found.values() if not each.wrong]
    return [
        *ratios,
        *(f"{title}: no mistakes, so there is no error ratio" for title in perfect),
        *(f"{each.title}, most confused: {_pairs(each)}" for each in found.values() if each.wrong),
    ]


def conditions_lines(comparison: DatasetComparison) -> list[str]:
    """Return what the figures rest on."""
    runs = comparison.runs
    seeds = sorted({run.seed for run in runs})
    images = dict.fromkeys(f"{run.train_images:,}" for run in runs)
    flips = ", without flips" if comparison.without_flips else ""
    lines = [
        f"{comparison.model}, {comparison.parameters:,} parameters, {comparison.macs / 1e6:.1f} M "
        f"MAC; recipe {comparison.recipe}{flips}; seed{'s' if len(seeds) > 1 else ''} "
        f"{', '.join(map(str, seeds))}; {' and '.join(images)} training images; "
        f"{' and '.join(dict.fromkeys(run.precision for run in runs))}; "
        f"{' and '.join(dict.fromkeys(run.host for run in runs))}; {comparison.created[:10]}"
    ]
    if comparison.without_flips:
        unlike = [each.title for each in map(find_dataset, comparison.names) if not each.may_flip]
        lines.append(
            f"flips are left out on every data set: an image of {' and '.join(unlike)} flipped "
            "left to right is another one"
        )
    unverified = {run.dataset for run in runs if not run.verified}
    lines += [f"{find_dataset(name).title}: unverified files" for name in sorted(unverified)]
    return lines


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
        most_confused=_most_confused(tables.mean(axis=0), labels),
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


def _most_confused(
    table: npt.NDArray[np.float64], labels: tuple[str, ...]
) -> tuple[ConfusedPair, ...]:
    mistakes = table - np.diag(np.diag(table))
    order = np.argsort(-mistakes, axis=None, kind="stable")[:_PAIRS]
    pairs = [divmod(int(at), len(labels)) for at in order]
    return tuple(
        ConfusedPair(
            true=labels[row], predicted=labels[column], images=float(mistakes[row, column])
        )
        for row, column in pairs
        if mistakes[row, column]
    )


def _row(comparison: DatasetComparison, outcome: Outcome, several: bool) -> tuple[str, ...]:
    runs = [run for run in comparison.runs if run.dataset == outcome.name]
    validation = sum(run.validation_correct for run in runs) / sum(
        run.validation_images for run in runs
    )
    seeds = f"{100 * min(outcome.seeds):.2f} … {100 * max(outcome.seeds):.2f} %"
    return (
        outcome.title,
        f"{100 * outcome.accuracy:.2f} %",
        f"{100 * outcome.low:.2f} … {100 * outcome.high:.2f} %",
        *((seeds,) if several else ()),
        f"{100 * validation:.2f} %",
        *(f"{each.label} {100 * each.accuracy:.2f} %" for each in (outcome.best, outcome.worst)),
        f"{outcome.spread_points:.2f} points",
        _span([run.epochs for run in runs]),
        _span([math.ceil(run.training_seconds / 60) for run in runs]),
    )


def _pairs(outcome: Outcome) -> str:
    return ", ".join(
        f"{pair.true} → {pair.predicted} ({pair.images:.0f})" for pair in outcome.most_confused
    )


def _span(values: Sequence[int]) -> str:
    return " … ".join(str(value) for value in dict.fromkeys((min(values), max(values))))
