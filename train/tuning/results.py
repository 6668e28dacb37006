"""The results of a study: its trials, the best ones, and the recipe that was found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from optuna.trial import FrozenTrial, TrialState

from hemline.data.custom.reading import counted
from hemline.tables import Table
from hemline.train.recipes.recipe import Recipe
from hemline.train.recipes.recipe_file import recipe_toml
from hemline.train.tuning.dimensions import Value, shown
from hemline.train.tuning.search import Search
from hemline.train.tuning.study import LOSS, PARAMETERS, REASON, SECONDS

STATES: dict[TrialState, Literal["complete", "pruned", "running", "failed"]] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.RUNNING: "running",
    TrialState.FAIL: "failed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialResult:
    """What is known of a trial.

    number: from 0; in the order in which they were begun.
    state: complete, pruned, running or failed.
    accuracy: of validation, 0 … 1, of the weights that would be kept; None unless complete.
    loss: of validation, of the same weights.
    values: fields to what was tried.
    parameters: of the model; None unless complete.
    seconds: of training; None while it runs.
    reason: why it has no accuracy.
    epochs: epoch to validation accuracy, of those that are finished.
    """

    number: int
    state: Literal["complete", "pruned", "running", "failed"]
    accuracy: float | None
    loss: float | None
    values: dict[str, Value]
    parameters: int | None
    seconds: float | None
    reason: str
    epochs: dict[int, float]

    @property
    def last(self) -> float | None:
        """Return its accuracy, or that of its last epoch where it has none."""
        if self.accuracy is not None or not self.epochs:
            return self.accuracy
        return self.epochs[max(self.epochs)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """All trials of a search, by number."""

    search: Search
    trials: tuple[TrialResult, ...]

    @property
    def best(self) -> TrialResult | None:
        """Return the best complete trial."""
        return next(iter(self.ranked()), None)

    def ranked(self) -> list[TrialResult]:
        """Return complete trials, the best first; the loss decides between equal accuracies."""
        complete = [each for each in self.trials if each.accuracy is not None]
        return sorted(complete, key=lambda each: (-(each.accuracy or 0.0), each.loss or 0.0))

    def count(self, state: str) -> int:
        """Return how many trials are in a state."""
        return sum(each.state == state for each in self.trials)

    @property
    def standard_error(self) -> float | None:
        """Return that of the best accuracy, a share of the validation images."""
        best = self.best
        if best is None or best.accuracy is None:
            return None
        return math.sqrt(best.accuracy * (1 - best.accuracy) / self.search.validation)


def results_of(search: Search, trials: Sequence[FrozenTrial]) -> Results:
    """Return what the file of a study says of its trials."""
    begun = [each for each in trials if each.state in STATES]
    return Results(search=search, trials=tuple(_result(search, each) for each in begun))


def _result(search: Search, trial: FrozenTrial) -> TrialResult:
    attributes = trial.user_attrs
    complete = trial.state == TrialState.COMPLETE
    named = all(each.field in trial.params for each in search.space)
    return TrialResult(
        number=trial.number,
        state=STATES[trial.state],
        accuracy=trial.value if complete else None,
        loss=attributes.get(LOSS) if complete else None,
        values=search.rounded(trial.params) if named else {},
        epochs=dict(sorted(trial.intermediate_values.items())),
        parameters=attributes.get(PARAMETERS),
        seconds=attributes.get(SECONDS),
        reason=attributes.get(REASON, ""),
    )


def best_recipe_toml(results: Results) -> str | None:
    """Return the best trial's recipe as a file; None before there is one."""
    best, search = results.best, results.search
    if best is None or best.accuracy is None:
        return None
    images = f"the first {search.limit:,} images" if search.limit else "all images"
    trained = counted(len(best.epochs), "epoch")
    return (
        f"# Found by tuning {search.model}: trial {best.number}, validation "
        f"{100 * best.accuracy:.2f} %\n"
        f"# after {trained} on {images}; epochs and images here are those of the "
        f"recipe.\n{recipe_toml(search.found_recipe(best.values))}"
    )


def table(results: Results, *, most: int) -> Table:
    """Return the best trials with what they tried and what they cost."""
    fields = [each.field for each in results.search.space]
    rows = [
        (
            str(each.number),
            f"{100 * (each.accuracy or 0.0):.2f} %",
            *(shown(each.values[field]) for field in fields),
            "" if each.parameters is None else f"{each.parameters:,}",
            str(len(each.epochs)),
            "" if each.seconds is None else f"{each.seconds:.1f}",
        )
        for each in results.ranked()[:most]
    ]
    kinds = {name: option[0] for name, option in Recipe.options().items()}
    tried = (f">{field}" if kinds[field] in (int, float) else field for field in fields)
    return Table.of((">trial", ">validation", *tried, ">parameters", ">epochs", ">s"), rows)
