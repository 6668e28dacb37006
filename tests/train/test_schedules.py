"""Schedules: the rate of each step is the formula's; what follows an epoch is by its history."""

from __future__ import annotations

import numpy as np
import pytest

from hemline.contract.card import Epoch
from hemline.errors import UnknownNameError
from hemline.train.recipes.recipe import Recipe
from hemline.train.recipes.schedules import SCHEDULES
from hemline.train.recipes.stopping import best_epoch, is_over, plateau_factor
from hemline.train.tensorflow import quiet_keras

quiet_keras()

from hemline.train.recipes.keras_objects import build_schedule  # noqa: E402 — after its noise

PEAK, STEPS = 0.4, 40
MIDDLES = (np.arange(STEPS) + 0.5) / STEPS  # a step's rate is that of its middle


def history(losses: list[float], accuracies: list[float] | None = None) -> list[Epoch]:
    """Return epochs with these validation figures."""
    return [
        Epoch(
            epoch=number,
            seconds=1.0,
            learning_rate=0.1,
            loss=9.0 - number,  # always better: what is trained on decides nothing
            accuracy=number / 100,
            validation_loss=loss,
            validation_accuracy=accuracy,
        )
        for number, (loss, accuracy) in enumerate(
            zip(losses, accuracies or [0.5] * len(losses), strict=True), start=1
        )
    ]


def by_hand(schedule: str, warmup: float) -> np.ndarray:
    """Return the rate of each step."""
    if schedule == "one-cycle":
        return np.interp(MIDDLES, [0, warmup, 1], [0, PEAK, 0])
    rest = np.clip((MIDDLES - warmup) / (1 - warmup), 0, 1)
    later = PEAK * (1 + np.cos(np.pi * rest)) / 2 if schedule == "cosine" else PEAK
    return np.where(warmup > MIDDLES, PEAK * MIDDLES / (warmup or 1), later)


@pytest.mark.parametrize("warmup", [0.0, 0.25])
@pytest.mark.parametrize("schedule", [name for name, row in SCHEDULES.items() if row.by_step])
def test_the_rate_of_every_step_is_that_of_the_formula(schedule: str, warmup: float) -> None:
    recipe = Recipe(schedule=schedule, warmup=warmup)
    built = build_schedule(recipe, peak=PEAK, steps=STEPS)
    rates = [float(built(step)) for step in range(STEPS)]
    # float32: a few roundings of 6e-8 of the peak
    np.testing.assert_allclose(rates, by_hand(schedule, warmup), atol=1e-6 * PEAK, rtol=1e-5)
    assert float(built(10 * STEPS)) >= 0, "not even after the end"


@pytest.mark.parametrize(
    ("losses", "factor"),
    [
        ([], 1),
        ([3, 2, 1], 1),
        ([1, 2], 1),
        ([1, 2, 2], 0.5),  # two epochs without a better one
        ([1, 1, 1], 0.5),  # equal is not better
        ([1, 2, 0.9, 1, 0.8, 1], 1),  # a better one in between begins the count anew
        ([1, 2, 2, 2], 0.5),
        ([1, 2, 2, 2, 2], 0.25),
        ([1, 2, 2, 0.5, 0.6, 0.6], 0.25),
        ([1, *[2] * 200], 1e-3),  # and no lower
    ],
)
def test_a_rate_falls_when_validation_stands_still(losses: list[float], factor: float) -> None:
    recipe = Recipe(schedule="reduce-on-plateau", plateau_patience=2, plateau_factor=0.5)
    assert plateau_factor(recipe, history(losses)) == pytest.approx(factor)
    assert plateau_factor(Recipe(schedule="cosine"), history(losses)) == 1


def test_what_improves_is_the_loss_or_the_accuracy() -> None:
    epochs = history([3, 1, 2, 2.5], [0.5, 0.6, 0.8, 0.8])
    assert best_epoch(Recipe(monitor="loss"), epochs).epoch == 2
    assert best_epoch(Recipe(monitor="accuracy"), epochs).epoch == 3, "the lower loss of both"
    assert best_epoch(Recipe(monitor="loss"), history([1, 1, 1])).epoch == 1


@pytest.mark.parametrize(
    ("losses", "over"),
    [([], False), ([1, 2], False), ([1, 2, 3], True), ([3, 2, 1], False), ([1, 2, 0.5, 1], False)],
)
def test_a_run_ends_early_after_so_many_epochs_without_improvement(
    losses: list[float], over: bool
) -> None:
    assert is_over(Recipe(early_stopping=2), history(losses)) is over
    assert not is_over(Recipe(early_stopping=0), history(losses))


def test_an_unknown_schedule_gets_the_nearest_one() -> None:
    with pytest.raises(UnknownNameError, match="unknown schedule 'cosin': did you mean 'cosine'"):
        Recipe(schedule="cosin")
