"""The OPTIMIZERS table: what a recipe can name. It imports no recipe; keras_objects builds them."""

from __future__ import annotations

from dataclasses import dataclass

from hemline.errors import UnknownNameError


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
        build=f"hemline.train.recipes.keras_objects:{name}",
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
