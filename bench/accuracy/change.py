"""How the predictions of an artifact differ from those of its float model, image by image."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hemline.bench.comparison import Row
from hemline.contract.record import Accuracy
from hemline.statistics import holm, mcnemar, paired_drop, wilson

_LEVEL = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Images that the float model and the artifact classified.

    images: number of images.
    source_correct, correct: classified correctly by the float model and by the artifact.
    lost, won: images that only the float model, or only the artifact, classifies correctly.
    """

    images: int
    source_correct: int
    correct: int
    lost: int
    won: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassChange(Counts):
    """One class of the test images.

    name: of the class.
    low, high: 95 % Wilson interval of the artifact's share, 0 … 1.
    p_value: of an exact McNemar test, by Holm's correction for the number of classes.
    """

    name: str
    low: float
    high: float
    p_value: float

    @property
    def is_loss(self) -> bool:
        """Return whether the class lost more than chance explains."""
        return self.lost > self.won and self.p_value < _LEVEL


@dataclass(frozen=True, slots=True, kw_only=True)
class Flip:
    """A test image whose prediction changed.

    image: its position.
    label, source, artifact: class indices: the true one, and the two predictions.
    """

    image: int
    label: int
    source: int
    artifact: int

    @property
    def kind(self) -> str:
        """Return lost, won, or wrong where both predictions are."""
        return {self.source: "lost", self.artifact: "won"}.get(self.label, "wrong")


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyChange(Counts):
    """An artifact against its float model, on the images that both classified.

    p_value: of an exact McNemar test.
    drop_points, margin_points: accuracy lost, and half the width of its 95 % interval, points.
    classes: in the order of the labels.
    flips: images lost first, then won, then those that both get wrong; classes that lost most
        first.
    """

    p_value: float
    drop_points: float
    margin_points: float
    classes: tuple[ClassChange, ...]
    flips: tuple[Flip, ...]

    @property
    def worst(self) -> ClassChange | None:
        """Return the class that lost most of those that lost more than chance explains."""
        losses = [each for each in self.classes if each.is_loss]
        return max(losses, key=lambda each: each.lost - each.won, default=None)


def change_of(row: Row) -> AccuracyChange | None:
    """Return the change of a row; None without a source model or labels."""
    source, labels = row.model.source, row.model.labels
    if source is None or labels is None or row.test.correct is None:
        return None
    return accuracy_change(source.test, row.test, labels, row.model.classes)


def accuracy_change(
    source: Accuracy,
    cell: Accuracy,
    labels: npt.NDArray[np.integer[Any]],
    classes: tuple[str, ...] = (),
) -> AccuracyChange:
    """Compare predictions of a float model and of a cell, perhaps of the first images only.

    `labels` are class indices (n,), `classes` their names. Raises FileFormatError for predictions
    that are damaged.
    """
    count = min(source.images, cell.images, len(labels))
    before, after, truth = (each[:count] for each in (source.classes(), cell.classes(), labels))
    was, now = np.asarray(before == truth, bool), np.asarray(after == truth, bool)
    whole, (drop, margin) = _counts(was, now), paired_drop(was, now)
    present = [int(label) for label in np.unique(truth)]
    parts = [_counts(was[truth == label], now[truth == label]) for label in present]
    p_values = holm([mcnemar(part["lost"], part["won"]) for part in parts])
    each_class = []
    for label, part, p_value in zip(present, parts, p_values, strict=True):
        low, high = wilson(part["correct"], part["images"])
        name = classes[label] if label < len(classes) else str(label)
        each_class.append(ClassChange(name=name, low=low, high=high, p_value=p_value, **part))
    return AccuracyChange(
        p_value=mcnemar(whole["lost"], whole["won"]),
        drop_points=drop,
        margin_points=margin,
        classes=tuple(each_class),
        flips=_flips(before, after, truth),
        **whole,
    )


def _counts(was: npt.NDArray[np.bool_], now: npt.NDArray[np.bool_]) -> dict[str, int]:
    """Return the fields of Counts from which images were and are classified correctly."""
    lost, won = int((was & ~now).sum()), int((now & ~was).sum())
    right = {"source_correct": int(was.sum()), "correct": int(now.sum())}
    return {"images": len(was), "lost": lost, "won": won, **right}


def _flips(
    before: npt.NDArray[Any], after: npt.NDArray[Any], truth: npt.NDArray[Any]
) -> tuple[Flip, ...]:
    found = [
        Flip(image=int(at), label=int(truth[at]), source=int(before[at]), artifact=int(after[at]))
        for at in np.flatnonzero(before != after)
    ]
    net = Counter[int]()
    for flip in found:
        net[flip.label] += {"lost": 1, "won": -1, "wrong": 0}[flip.kind]
    order = ("lost", "won", "wrong")
    return tuple(
        sorted(found, key=lambda f: (order.index(f.kind), -net[f.label], f.label, f.image))
    )
