"""Temperature and threshold: fitted on validation, sane at the edges."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from hemline.train.confidence import fit_temperature, fit_unknown_threshold

RANDOM = np.random.default_rng(3)
LOGITS = RANDOM.normal(0, 2, (20_000, 10)).astype(np.float32)
CHANCE = softmax(LOGITS, axis=1)
# labels drawn from the model's own probabilities: it is calibrated, its temperature is 1
LABELS = (CHANCE.cumsum(axis=1) > RANDOM.random((20_000, 1))).argmax(axis=1).astype(np.uint8)


@pytest.mark.parametrize("factor", [0.25, 1.0, 4.0])
def test_the_temperature_undoes_over_and_underconfidence(factor: float) -> None:
    # the error of a fit on 20,000 labels is under one percent
    assert fit_temperature(LOGITS * factor, LABELS) == pytest.approx(factor, rel=0.03)


@pytest.mark.parametrize(("count", "least"), [(6, 0.5), (300, 0.2)])
def test_few_images_that_are_all_correct_do_not_make_every_score_certain(
    count: int, least: float
) -> None:
    logits = (3 * np.eye(10, dtype=np.float32))[LABELS[:count]]
    temperature = fit_temperature(logits, LABELS[:count])
    assert least < temperature < 1
    assert softmax(logits / temperature, axis=1).max() < 0.999 or count == 300


def test_one_percent_of_the_right_answers_lie_under_the_threshold() -> None:
    threshold = fit_unknown_threshold(LOGITS, LABELS, 1.0)
    right = CHANCE.argmax(axis=1) == LABELS
    assert np.mean(CHANCE.max(axis=1)[right] < threshold) == pytest.approx(0.01, abs=0.002)


def test_a_model_that_is_always_sure_does_not_make_everything_unknown() -> None:
    sure = np.eye(10, dtype=np.float32)[LABELS] * 50
    assert fit_unknown_threshold(sure, LABELS, 1.0) == 0.9


def test_a_model_that_is_never_right_gets_no_threshold() -> None:
    wrong = np.eye(10, dtype=np.float32)[(LABELS + 1) % 10]
    assert fit_unknown_threshold(wrong, LABELS, 1.0) == 0.0
