"""The OPTIMIZERS table: what a recipe can name. It imports no recipe; keras_objects builds them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerRow:
    """A row of the OPTIMIZERS table.

    build: "module:class" of the Keras optimizer.
    learning_rate, weight_decay: what is usual, for a recipe that names neither.
    decays: whether it has a weight decay of its own.
    arguments: of the class, from a Recipe, beside the learning rate.
    """

    build: str
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    decays: bool = False
    arguments: Callable[[Any], dict[str, Any]] = lambda _: {}


OPTIMIZERS: dict[str, OptimizerRow] = {
    "sphere-muon": OptimizerRow(
        build="hemline.train.recipes.keras_objects:SphereMuon",
        learning_rate=0.03,
        weight_decay=5e-4,
        decays=True,
        arguments=lambda recipe: {
            "other_ratio": recipe.other_learning_rate / recipe.learning_rate,
            "momentum": recipe.momentum,
            "decay": recipe.weight_decay,
        },
    ),
    "adam": OptimizerRow(build="keras.optimizers:Adam"),
    "adamw": OptimizerRow(
        build="keras.optimizers:AdamW",
        weight_decay=0.01,
        decays=True,
        arguments=lambda recipe: {"weight_decay": recipe.weight_decay},
    ),
    "rmsprop": OptimizerRow(build="keras.optimizers:RMSprop"),
    "sgd": OptimizerRow(
        build="keras.optimizers:SGD",
        learning_rate=0.1,
        weight_decay=5e-4,
        decays=True,
        arguments=lambda recipe: {
            "momentum": recipe.momentum,
            "nesterov": recipe.momentum > 0,
            "weight_decay": recipe.weight_decay or None,
        },
    ),
}
