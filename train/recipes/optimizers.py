"""The optimizers that a recipe can name."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hemline.errors import UnknownNameError

if TYPE_CHECKING:
    import keras

    from hemline.train.recipes.recipe import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerRow:
    """A row of the OPTIMIZERS table.

    learning_rate, weight_decay: what is usual, for a recipe that names neither.
    decays: whether it has a weight decay of its own.
    build: "module:function" taking (recipe, learning rate or schedule, options that every Keras
        optimizer takes) and giving the optimizer.
    """

    learning_rate: float
    weight_decay: float
    decays: bool
    build: str


def _row(name: str, learning_rate: float, weight_decay: float, *, decays: bool) -> OptimizerRow:
    return OptimizerRow(
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        decays=decays,
        build=f"hemline.train.recipes.optimizer:{name}",
    )


OPTIMIZERS: dict[str, OptimizerRow] = {
    "sphere-muon": _row("sphere_muon", 0.03, 5e-4, decays=True),
    "adam": _row("adam", 1e-3, 0.0, decays=False),
    "adamw": _row("adamw", 1e-3, 0.01, decays=True),
    "rmsprop": _row("rmsprop", 1e-3, 0.0, decays=False),
    "sgd": _row("sgd", 0.1, 5e-4, decays=True),
}


def find_optimizer(name: str) -> OptimizerRow:
    """Return a row of the OPTIMIZERS table; raises UnknownNameError with the nearest name."""
    if name not in OPTIMIZERS:
        raise UnknownNameError("optimizer", name, OPTIMIZERS)
    return OPTIMIZERS[name]


def build_optimizer(recipe: Recipe, rate: Any) -> keras.Optimizer:
    """Build the recipe's optimizer; `rate` is a number or a Keras schedule."""
    module, _, name = find_optimizer(recipe.optimizer).build.partition(":")
    options: dict[str, Any] = {}
    if recipe.ema:
        options = {"use_ema": True, "ema_momentum": recipe.ema, "ema_overwrite_frequency": None}
    return getattr(importlib.import_module(module), name)(recipe, rate, options)
