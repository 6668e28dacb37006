"""The learning-rate schedules that a recipe can name, and what is decided after each epoch.

Those decisions are functions of the history alone, so that a resumed run decides alike.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hemline.contract.card import Epoch
from hemline.errors import UnknownNameError

if TYPE_CHECKING:
    from hemline.train.recipes.recipe import Recipe

_PLATEAU = "reduce-on-plateau"
_SMALLEST_FACTOR = 1e-3  # a rate lower than that changes nothing any more


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleRow:
    """A row of the SCHEDULES table.

    warmup: the usual share of steps before the highest rate.
    build: "module:class" taking (peak, total steps, warmup); None when the rate is constant
        within an epoch.
    """

    warmup: float = 0.0
    build: str | None = None


SCHEDULES: dict[str, ScheduleRow] = {
    "constant": ScheduleRow(build="hemline.train.recipes.optimizer:Constant"),
    "cosine": ScheduleRow(build="hemline.train.recipes.optimizer:Cosine"),
    "one-cycle": ScheduleRow(warmup=0.15, build="hemline.train.recipes.optimizer:OneCycle"),
    _PLATEAU: ScheduleRow(),
}


def find_schedule(name: str) -> ScheduleRow:
    """Return a row of the SCHEDULES table; raises UnknownNameError with the nearest name."""
    if name not in SCHEDULES:
        raise UnknownNameError("schedule", name, SCHEDULES)
    return SCHEDULES[name]


def build_schedule(recipe: Recipe, *, peak: float, steps: int) -> Any:
    """Return the peak itself, or a Keras schedule over so many steps."""
    build = find_schedule(recipe.schedule).build
    if build is None:
        return peak
    module, _, name = build.partition(":")
    return getattr(importlib.import_module(module), name)(peak, steps, recipe.warmup)


def plateau_factor(recipe: Recipe, history: Sequence[Epoch]) -> float:
    """Return what multiplies the rate of the epoch after `history`; 1 for other schedules."""
    if recipe.schedule != _PLATEAU:
        return 1.0
    factor, best, waited = 1.0, None, 0
    for epoch in history:
        if best is None or _better(recipe, epoch, best):
            best, waited = epoch, 0
            continue
        waited += 1
        if waited >= recipe.plateau_patience:
            factor, waited = max(factor * recipe.plateau_factor, _SMALLEST_FACTOR), 0
    return factor


def best_epoch(recipe: Recipe, history: Sequence[Epoch]) -> Epoch:
    """Return the epoch with the best validation figure, the first of equal ones."""
    best = history[0]
    for epoch in history[1:]:
        if _better(recipe, epoch, best):
            best = epoch
    return best


def is_over(recipe: Recipe, history: Sequence[Epoch]) -> bool:
    """Tell whether early stopping ends the run after `history`."""
    if not recipe.early_stopping or not history:
        return False
    return history[-1].epoch - best_epoch(recipe, history).epoch >= recipe.early_stopping


def _better(recipe: Recipe, one: Epoch, other: Epoch) -> bool:
    if recipe.monitor == "accuracy":
        # accuracies of few images are often equal: the loss decides then
        return (one.validation_accuracy, -one.validation_loss) > (
            other.validation_accuracy,
            -other.validation_loss,
        )
    return one.validation_loss < other.validation_loss
