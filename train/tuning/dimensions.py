"""One field of a recipe and the values that a search tries for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from hemline.errors import UsageError
from hemline.train.recipes.recipe import Recipe

if TYPE_CHECKING:
    import optuna

Value = int | float | str | bool
Scale = Literal["linear", "log"]

_DIGITS = 3  # of a tried number: more would only look exact
# What trials are compared by, or where they run: one value must do for all of a study.
_NOT_SEARCHED = ("epochs", "limit", "validation", "precision", "strategy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Numbers from low to high, both included.

    field: of Recipe.
    low, high: smallest and largest number, low < high.
    scale: log makes equal ratios equally likely, linear equal differences.
    step: between two numbers, from low on; 0 for none (whole numbers: 1).
    """

    KIND: ClassVar[str] = "range"

    field: str
    low: float
    high: float
    scale: Scale = "linear"
    step: float = 0.0

    def __post_init__(self) -> None:
        kind = _kind(self.field)
        if kind not in (int, float):
            raise UsageError(f"{self.field} is not a number: list choices, {self.field}=A,B")
        if not (math.isfinite(self.low) and self.low < self.high < math.inf):
            raise UsageError(f"{self.field}: {self.low:g} … {self.high:g} is not a range")
        if self.scale == "log" and (self.low <= 0 or self.step):
            raise UsageError(f"{self.field}: a log scale must start above 0 and have no step")
        if self.step < 0 or _broken((self.high - self.low) / (self.step or self.high - self.low)):
            raise UsageError(f"{self.field}: steps of {self.step:g} do not reach {self.high:g}")
        if kind is int and any(map(_broken, (self.low, self.high, self.step))):
            raise UsageError(f"{self.field} needs whole numbers")

    @property
    def ends(self) -> tuple[Value, ...]:
        """Return the smallest and the largest value."""
        return self._number(self.low), self._number(self.high)

    def suggest(self, trial: optuna.trial.Trial) -> Value:
        """Return what a trial of Optuna tries, as its study has it."""
        log = self.scale == "log"
        if _kind(self.field) is int:
            step = int(self.step) or 1
            return trial.suggest_int(self.field, int(self.low), int(self.high), step=step, log=log)
        return trial.suggest_float(self.field, self.low, self.high, step=self.step or None, log=log)

    def rounded(self, value: Value) -> Value:
        """Return the number that is trained with for the one in the study: 3 digits of it."""
        number = float(f"{float(value):.{_DIGITS}g}")
        return self._number(min(max(number, self.low), self.high))

    def nearest(self, value: Value | None) -> Value | None:
        """Return the value of the range nearest to a recipe's own; None where it has none."""
        if value is None:
            return None
        number = min(max(float(value), self.low), self.high)
        if self.step:
            number = self.low + self.step * round((number - self.low) / self.step)
        return self._number(number)

    def _number(self, value: float) -> Value:
        return round(value) if _kind(self.field) is int else value

    def __str__(self) -> str:
        step = f", steps of {self.step:g}" if self.step else ""
        return f"{self.low:g} … {self.high:g}{step}{' (log)' if self.scale == 'log' else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """Values that are named one by one.

    field: of Recipe.
    values: at least two, all unlike.
    """

    KIND: ClassVar[str] = "choices"

    field: str
    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        _kind(self.field)
        if len(set(self.values)) < max(2, len(self.values)):
            raise UsageError(f"{self.field} needs two or more different choices")

    @property
    def ends(self) -> tuple[Value, ...]:
        """Return every value."""
        return self.values

    def suggest(self, trial: optuna.trial.Trial) -> Value:
        """Return what a trial of Optuna tries."""
        chosen = trial.suggest_categorical(self.field, self.values)
        return self.values[self.values.index(chosen)]  # which cannot be None

    def rounded(self, value: Value) -> Value:
        """Return the value itself."""
        return value

    def nearest(self, value: Value | None) -> Value | None:
        """Return a recipe's own value where it is a choice; else None."""
        return value if value in self.values else None

    def __str__(self) -> str:
        return ", ".join(map(shown, self.values))


Dimension = Range | Choices


def shown(value: Value) -> str:
    """Return a value as it is written in a table."""
    if isinstance(value, float):
        return f"{value:g}"
    return str(value).lower() if isinstance(value, bool) else str(value)


def parsed(field: str, texts: Sequence[str]) -> tuple[Value, ...]:
    """Return texts as values of a recipe's field; raises UsageError, UnknownNameError."""
    kind = _kind(field)
    return tuple(_parsed(field, kind, text.strip()) for text in texts)


def _parsed(field: str, kind: type, text: str) -> Value:
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise UsageError(f"{field} must be true or false, not {text!r}")
        return text.lower() == "true"
    try:
        value: Value = kind(text)
    except ValueError as error:
        what = "a whole number" if kind is int else "a number"
        raise UsageError(f"{field} must be {what}, not {text!r}") from error
    return value


def _kind(field: str) -> type:
    """Return the type of a field's values; raises UsageError for one that cannot be searched."""
    options = Recipe.options()
    if field not in options:
        Recipe().with_changes({field: None})  # raises with the nearest name
    if field in _NOT_SEARCHED:
        raise UsageError(f"{field} must be the same in all trials: set it as a recipe or option")
    return options[field][0]


def _broken(number: float) -> bool:
    return abs(number - round(number)) > 1e-9
