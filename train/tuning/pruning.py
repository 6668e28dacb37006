"""The ways to end a trial early, when after some epochs it is behind the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hemline.errors import UnknownNameError

if TYPE_CHECKING:
    from optuna.pruners import BasePruner

_FIRST_TRIALS = 5  # are trained to the end: a median of fewer says little
_WARM_SHARE = 4  # the first quarter of the epochs says little about the last ones
_KEPT_SHARE = 3  # successive halving: one trial in three goes on, three times as long


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruning:
    """A row of the PRUNINGS table."""

    name: str
    summary: str

    def pruner(self, epochs: int) -> BasePruner:
        """Return Optuna's pruner for trials of so many epochs."""
        from optuna import pruners

        if self.name == "median":
            return pruners.MedianPruner(
                n_startup_trials=_FIRST_TRIALS, n_warmup_steps=1 + epochs // _WARM_SHARE
            )
        if self.name == "halving":
            return pruners.SuccessiveHalvingPruner(
                min_resource=max(1, epochs // _KEPT_SHARE**2), reduction_factor=_KEPT_SHARE
            )
        return pruners.NopPruner()


PRUNINGS: dict[str, Pruning] = {
    row.name: row
    for row in (
        Pruning(name="median", summary="below the median of the others at that epoch"),
        Pruning(name="halving", summary="not among the best third at 1/9 and 1/3 of the epochs"),
        Pruning(name="none", summary="train every trial to its end"),
    )
}


def find_pruning(name: str) -> Pruning:
    """Return a row of the PRUNINGS table; raises UnknownNameError with the nearest name."""
    if name not in PRUNINGS:
        raise UnknownNameError("pruning", name, PRUNINGS)
    return PRUNINGS[name]
