"""From predictions to figures, by scikit-learn's definitions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hemline.bench.evaluation.calibration import calibration_of
from hemline.bench.evaluation.result import (
    Averages,
    ClassScores,
    Difference,
    Mistake,
    Origin,
    RunResult,
    WrongPrediction,
)
from hemline.statistics import commonest_mistakes, paired_drop, wilson

Labels = npt.NDArray[np.uint8]
Probabilities = npt.NDArray[np.float64]
_MOST_CONFUSED = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """Probabilities of every class for every image, float64 (n, classes).

    plain: without temperature.
    scaled: with it; the predicted classes are theirs.
    temperature: that divided the logits; None where each member had its own.
    """

    plain: Probabilities
    scaled: Probabilities
    temperature: float | None

    @property
    def predicted(self) -> npt.NDArray[np.intp]:
        """Return the index of the predicted class of each image, (n,)."""
        indices: npt.NDArray[np.intp] = self.scaled.argmax(axis=1)
        return indices


def predictions_of(logits: npt.NDArray[np.float32], temperature: float) -> Predictions:
    """Return the softmax of logits (n, classes), with and without temperature."""
    from scipy.special import softmax

    exact = logits.astype(np.float64)
    return Predictions(
        plain=softmax(exact, axis=1),
        scaled=softmax(exact / temperature, axis=1),
        temperature=temperature,
    )


def averaged(members: Sequence[Predictions]) -> Predictions:
    """Return the mean of the members' probabilities, each with its own temperature."""
    return Predictions(
        plain=np.mean([each.plain for each in members], axis=0),
        scaled=np.mean([each.scaled for each in members], axis=0),
        temperature=None,
    )


def result_of(
    origin: Origin,
    predictions: Predictions,
    labels: Labels,
    names: tuple[str, ...],
    *,
    images: Sequence[str],
    keras_logits: npt.NDArray[np.float32] | None = None,
    first: Predictions | None = None,
) -> RunResult:
    """Compare predictions with labels (n,); `names` are those of the classes.

    `images` are the names of the images. `keras_logits` (n, classes) are those of the model that a
    file was exported from, `first` the predictions of the one that all others are compared with.
    """
    from sklearn.metrics import confusion_matrix

    found, indices = predictions.predicted, np.arange(len(names))
    correct = int((found == labels).sum())
    low, high = wilson(correct, len(labels))
    table = confusion_matrix(labels, found, labels=indices)
    classes = _classes(labels, found, names)
    agreement = None if keras_logits is None else int((keras_logits.argmax(axis=1) == found).sum())
    return RunResult(
        origin=origin,
        images=len(labels),
        correct=correct,
        accuracy=correct / len(labels),
        accuracy_low=low,
        accuracy_high=high,
        classes=classes,
        macro=_averages(classes),
        weighted=_averages(classes, [each.support for each in classes]),
        confusion=tuple(tuple(int(count) for count in row) for row in table),
        most_confused=_most_confused(table, names),
        calibration=(
            calibration_of(predictions.plain, labels, 1.0),
            calibration_of(predictions.scaled, labels, predictions.temperature),
        ),
        keras_agreement=agreement,
        difference=None if first is None else _difference(first.predicted, found, labels),
        wrong=_wrong(predictions, labels, names, images),
    )


def _classes(
    labels: Labels, found: npt.NDArray[np.intp], names: tuple[str, ...]
) -> tuple[ClassScores, ...]:
    from sklearn.metrics import precision_recall_fscore_support

    # not classification_report: a class called "accuracy" would overwrite a line of it
    columns = precision_recall_fscore_support(
        labels, found, labels=np.arange(len(names)), average=None, zero_division=0
    )
    return tuple(
        ClassScores(label=name, precision=p, recall=r, f1_score=f, support=int(n))
        for name, p, r, f, n in zip(names, *(each.tolist() for each in columns), strict=True)
    )


def _averages(classes: Sequence[ClassScores], weights: Sequence[int] | None = None) -> Averages:
    def mean(values: Iterable[float]) -> float:
        return float(np.average(list(values), weights=weights))

    return Averages(
        precision=mean(each.precision for each in classes),
        recall=mean(each.recall for each in classes),
        f1_score=mean(each.f1_score for each in classes),
    )


def _most_confused(table: npt.NDArray[np.int64], names: tuple[str, ...]) -> tuple[Mistake, ...]:
    return tuple(
        Mistake(true=names[true], predicted=names[predicted], images=int(images))
        for true, predicted, images in commonest_mistakes(table, _MOST_CONFUSED)
    )


def _wrong(
    predictions: Predictions, labels: Labels, names: tuple[str, ...], images: Sequence[str]
) -> tuple[WrongPrediction, ...]:
    scores, found = predictions.scaled.max(axis=1), predictions.predicted
    return tuple(
        WrongPrediction(
            image=images[at],
            true=names[labels[at]],
            predicted=names[found[at]],
            score=float(scores[at]),
        )
        for at in np.argsort(-scores, kind="stable")
        if found[at] != labels[at]
    )


def _difference(
    first: npt.NDArray[np.intp], found: npt.NDArray[np.intp], labels: Labels
) -> Difference:
    drop, half_width = paired_drop(first == labels, found == labels)
    return Difference(points=-drop + 0.0, half_width=half_width)  # no −0.0
