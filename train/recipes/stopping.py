"""What is decided after each epoch: the rate on a plateau, the best epoch, early stopping.

Decisions are functions of the history alone, so that a resumed run decides alike.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from hemline.contract.card import Epoch
from hemline.train.recipes.recipe import Recipe
from hemline.train.recipes.schedules import REDUCE_ON_PLATEAU

_SMALLEST_FACTOR = 1e-3  # a rate lower than that changes nothing any more


def plateau_factor(recipe: Recipe, history: Sequence[Epoch]) -> float:
    """Return what multiplies the rate of the epoch after `history`; 1 for other schedules."""
    if recipe.schedule != REDUCE_ON_PLATEAU:
        return 1.0
    factor, best, waited = 1.0, None, 0
    for epoch in history:
        if best is None or _rank(recipe, epoch) > _rank(recipe, best):
            best, waited = epoch, 0
            continue
        waited += 1
        if waited >= recipe.plateau_patience:
            factor, waited = max(factor * recipe.plateau_factor, _SMALLEST_FACTOR), 0
    return factor


def best_epoch(recipe: Recipe, history: Sequence[Epoch]) -> Epoch:
    """Return the epoch with the best validation figure, the first of equal ones."""
    return max(history, key=functools.partial(_rank, recipe))


def is_over(recipe: Recipe, history: Sequence[Epoch]) -> bool:
    """Return whether early stopping ends the run after `history`."""
    if not recipe.early_stopping or not history:
        return False
    return history[-1].epoch - best_epoch(recipe, history).epoch >= recipe.early_stopping


def _rank(recipe: Recipe, epoch: Epoch) -> tuple[float, float]:
    # accuracies of few images are often equal: the loss decides then
    accuracy = epoch.validation_accuracy if recipe.monitor == "accuracy" else 0.0
    return accuracy, -epoch.validation_loss
