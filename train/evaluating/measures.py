"""From answers to figures, by scikit-learn's definitions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hemline.statistics import commonest_mistakes, paired_drop, wilson
from hemline.train.evaluating.reliability import calibration_of
from hemline.train.evaluating.result import (
    Averages,
    ClassScores,
    Difference,
    Mistake,
    Origin,
    Result,
)

Labels = npt.NDArray[np.uint8]
Probabilities = npt.NDArray[np.float64]
_MOST_CONFUSED = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Probabilities of every class for every image, float64 (n, classes).

    plain: without temperature.
    scaled: with it; the answers are theirs.
    temperature: that divided the logits; None where each member had its own.
    """

    plain: Probabilities
    scaled: Probabilities
    temperature: float | None

    @property
    def predicted(self) -> npt.NDArray[np.intp]:
        """Return the index of the class of each answer, (n,)."""
        indices: npt.NDArray[np.intp] = self.scaled.argmax(axis=1)
        return indices


def answers_of(logits: npt.NDArray[np.float32], temperature: float) -> Answers:
    """Return the softmax of logits (n, classes), with and without temperature."""
    from scipy.special import softmax

    exact = logits.astype(np.float64)
    return Answers(
        plain=softmax(exact, axis=1),
        scaled=softmax(exact / temperature, axis=1),
        temperature=temperature,
    )


def averaged(members: Sequence[Answers]) -> Answers:
    """Return the mean of the members' probabilities, each with its own temperature."""
    return Answers(
        plain=np.mean([each.plain for each in members], axis=0),
        scaled=np.mean([each.scaled for each in members], axis=0),
        temperature=None,
    )


def result_of(
    origin: Origin,
    answers: Answers,
    labels: Labels,
    names: tuple[str, ...],
    *,
    keras_logits: npt.NDArray[np.float32] | None = None,
    first: Answers | None = None,
) -> Result:
    """Hold answers to labels (n,); `names` are those of the classes.

    `keras_logits` (n, classes) are those of the model that a file was exported from, `first` the
    answers of the one that all others are compared with.
    """
    from sklearn.metrics import confusion_matrix

    found, indices = answers.predicted, np.arange(len(names))
    correct = int((found == labels).sum())
    low, high = wilson(correct, len(labels))
    table = confusion_matrix(labels, found, labels=indices)
    classes = _classes(labels, found, names)
    agreement = None if keras_logits is None else int((keras_logits.argmax(axis=1) == found).sum())
    return Result(
        origin=origin,
        images=len(labels),
        correct=correct,
        accuracy=correct / len(labels),
        accuracy_low=low,
        accuracy_high=high,
        classes=classes,
        macro=_averages(labels, found, names, "macro"),
        weighted=_averages(labels, found, names, "weighted"),
        confusion=tuple(tuple(int(count) for count in row) for row in table),
        most_confused=_most_confused(table, names),
        calibration=(
            calibration_of(answers.plain, labels, 1.0),
            calibration_of(answers.scaled, labels, answers.temperature),
        ),
        keras_agreement=agreement,
        difference=None if first is None else _difference(first.predicted, found, labels),
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
        ClassScores(
            label=name,
            precision=float(precision),
            recall=float(recall),
            f1_score=float(f1_score),
            support=int(support),
        )
        for name, precision, recall, f1_score, support in zip(names, *columns, strict=True)
    )


def _averages(
    labels: Labels, found: npt.NDArray[np.intp], names: tuple[str, ...], how: str
) -> Averages:
    from sklearn.metrics import precision_recall_fscore_support

    precision, recall, f1_score, _ = precision_recall_fscore_support(
        labels, found, labels=np.arange(len(names)), average=how, zero_division=0
    )
    return Averages(precision=float(precision), recall=float(recall), f1_score=float(f1_score))


def _most_confused(table: npt.NDArray[np.int64], names: tuple[str, ...]) -> tuple[Mistake, ...]:
    return tuple(
        Mistake(true=names[true], predicted=names[answer], images=int(images))
        for true, answer, images in commonest_mistakes(table, _MOST_CONFUSED)
    )


def _difference(
    first: npt.NDArray[np.intp], found: npt.NDArray[np.intp], labels: Labels
) -> Difference:
    drop, half_width = paired_drop(first == labels, found == labels)
    return Difference(points=-drop + 0.0, half_width=half_width)  # no −0.0
