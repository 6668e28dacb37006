"""An artifact against its float model, image by image."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from hemline.bench.accuracy.change import accuracy_change
from hemline.contract.record import Accuracy, pack_predictions
from hemline.statistics import holm, mcnemar


def predicted(classes: np.ndarray, labels: np.ndarray) -> Accuracy:
    right = int((classes == labels[: len(classes)]).sum())
    return Accuracy(
        split="test",
        images=len(classes),
        correct=right,
        agreement=0,
        keras_correct=0,
        predictions=pack_predictions(classes),
    )


@pytest.mark.parametrize(("lost", "won"), [(0, 0), (1, 0), (5, 5), (12, 3), (0, 9), (40, 61)])
def test_the_p_value_is_that_of_an_exact_binomial_test(lost: int, won: int) -> None:
    expected = binomtest(lost, lost + won).pvalue if lost + won else 1.0
    assert mcnemar(lost, won) == pytest.approx(expected, rel=1e-9)


def test_thousands_of_images_have_a_p_value_in_no_time() -> None:
    assert mcnemar(3000, 3000) == 1.0
    assert 0 < mcnemar(3200, 3000) < 0.02
    assert mcnemar(5000, 0) == 0.0


def test_holm_multiplies_the_smallest_by_all_and_never_sinks() -> None:
    """The worked values: 0.01 × 4, 0.02 × 3, then 0.03 × 2 and 0.04 × 1, which is less."""
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_classes_and_images_that_changed_are_counted() -> None:
    labels = np.repeat([0, 1, 2], 100)
    before, after = labels.copy(), labels.copy()
    before[[0, 299]] = 2, 0  # the float model is wrong twice
    after[100:120] = 2  # class 1 loses 20
    after[299] = 1  # wrong in another way; image 0 is won
    change = accuracy_change(
        predicted(before, labels), predicted(after, labels), labels, tuple("abc")
    )
    assert (change.images, change.source_correct, change.correct) == (300, 298, 279)
    assert (change.lost, change.won) == (20, 1)
    assert change.p_value == mcnemar(20, 1)
    assert change.drop_points == pytest.approx(100 * 19 / 300)
    a, b, c = change.classes
    assert (b.name, b.images, b.source_correct, b.correct, b.lost, b.won) == (
        "b",
        100,
        100,
        80,
        20,
        0,
    )
    assert 0.71 < b.low < 0.8 < b.high < 0.87
    assert b.p_value == pytest.approx(3 * mcnemar(20, 0))
    assert (a.won, c.lost, c.won) == (1, 0, 0)
    assert change.worst == b
    assert [flip.image for flip in change.flips] == [*range(100, 120), 0, 299]
    assert [flip.kind for flip in change.flips] == ["lost"] * 20 + ["won", "wrong"]
    assert (change.flips[-1].label, change.flips[-1].source, change.flips[-1].artifact) == (2, 0, 1)


def test_no_class_is_named_where_chance_explains_the_loss() -> None:
    labels = np.repeat(np.arange(10), 30)
    after = labels.copy()
    after[[0, 30, 31, 60]] = 9
    change = accuracy_change(predicted(labels, labels), predicted(after, labels), labels)
    assert change.worst is None
    assert change.classes[1].name == "1"


def test_a_cell_that_ran_the_first_images_is_compared_on_these() -> None:
    labels = np.arange(100) % 3
    cell = predicted(labels[:40], labels)
    change = accuracy_change(predicted(labels, labels), cell, labels)
    assert (change.images, change.lost, change.flips) == (40, 0, ())
    assert change.p_value == 1.0
