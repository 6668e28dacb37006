"""What a search tries: the SPACE table, or what the user names or writes into a TOML file."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hemline.errors import FileFormatError, HemlineError, UsageError
from hemline.files import read_bytes
from hemline.train.nets.models import ModelRow
from hemline.train.recipes.optimizers import OPTIMIZERS
from hemline.train.recipes.recipe import Recipe
from hemline.train.recipes.recipe_file import parse_toml
from hemline.train.tuning.dimensions import Choices, Dimension, Range, Scale, Value, parsed

Space = tuple[Dimension, ...]

_MOST_CORNERS = 1000  # of a space that are tried before a search: choices multiply


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceRow:
    """A row of the SPACE table: the usual range of a field.

    low, high: its ends.
    scale: see Range.
    step: see Range.
    unit: what the ends multiply: nothing, the recipe's own value, or the images' shorter side.
    """

    low: float
    high: float
    scale: Scale = "linear"
    step: float = 0.0
    unit: Literal["", "recipe", "side"] = ""


SPACE: dict[str, SpaceRow] = {
    "learning_rate": SpaceRow(low=0.1, high=10, scale="log", unit="recipe"),
    "weight_decay": SpaceRow(low=0.1, high=10, scale="log", unit="recipe"),
    # in place of weight decay for an optimizer that has none; the low end is next to nothing
    "l2": SpaceRow(low=1e-6, high=1e-3, scale="log"),
    "label_smoothing": SpaceRow(low=0, high=0.2),
    "shift": SpaceRow(low=0, high=1 / 7, unit="side"),  # 4 of 28 pixels
    "rotation": SpaceRow(low=0, high=15),
    "cutout": SpaceRow(low=0, high=1 / 2, step=2, unit="side"),
    "width": SpaceRow(low=0.5, high=1.5),
    # searched only when they are named
    "other_learning_rate": SpaceRow(low=0.1, high=10, scale="log", unit="recipe"),
    "fine_tuning_rate": SpaceRow(low=0.1, high=10, scale="log", unit="recipe"),
    "momentum": SpaceRow(low=0.8, high=0.99),
    "warmup": SpaceRow(low=0, high=0.4),
    "dropout": SpaceRow(low=0, high=0.5),
    "zoom": SpaceRow(low=0, high=0.2),
    "erasing": SpaceRow(low=0, high=0.5),
    "mixup": SpaceRow(low=0, high=0.4),
    "depth": SpaceRow(low=0, high=3),
    "kernel": SpaceRow(low=3, high=5, step=2),
}


def usual_space(model: ModelRow, recipe: Recipe, *, side: int, pretrained: bool) -> Space:
    """Return what is searched unless the user says otherwise; `side` is the images' shorter one.

    Pretrained weights fit one width only.
    """
    decay = "weight_decay" if OPTIMIZERS[recipe.optimizer].decays else "l2"
    names = ["learning_rate", decay, "label_smoothing", "shift", "rotation", "cutout"]
    names += ["width"] if "width" in model.designs and not pretrained else []
    return tuple(_usual(name, recipe, side) for name in names)


def named_space(words: Sequence[str], recipe: Recipe, *, side: int) -> Space:
    """Return the space of FIELD, FIELD=LOW..HIGH and FIELD=A,B,… words; raises UsageError."""
    return _distinct(tuple(_named(word, recipe, side) for word in words))


def read_space(path: Path) -> Space:
    """Return the space in a TOML file as `space_toml` writes it; raises FileFormatError."""
    document = parse_toml(read_bytes(path), where=f"{path} is not a search space")
    try:
        return _distinct(tuple(_read(name, value) for name, value in document.items()))
    except (HemlineError, TypeError, ValueError) as error:
        raise FileFormatError(f"{path}: {error}") from error


def space_toml(space: Space) -> str:
    """Return a space as a TOML file, each field with what it is."""
    options = Recipe.options()
    return "".join(f"{each.field} = {_toml(each)}  # {options[each.field][2]}\n" for each in space)


def require_possible(space: Space, recipe: Recipe) -> None:
    """Raise UsageError when the recipe cannot take what the space would try."""
    corners = itertools.islice(itertools.product(*(each.ends for each in space)), _MOST_CORNERS)
    for corner in corners:
        changes = {each.field: value for each, value in zip(space, corner, strict=True)}
        try:
            recipe.with_changes(changes)
        except UsageError as error:
            values = ", ".join(f"{name} {value}" for name, value in changes.items())
            raise UsageError(
                f"the search would include invalid values ({values}): {error}"
            ) from error


def _usual(name: str, recipe: Recipe, side: int) -> Range:
    row = SPACE[name]
    own: float = getattr(recipe, name) or 0.0
    if name == "weight_decay" and not own:
        own = OPTIMIZERS[recipe.optimizer].weight_decay
    if row.unit == "recipe" and not own:
        raise UsageError(f"{name} is 0 in the recipe: give a range, {name}=LOW..HIGH")
    factor = {"": 1.0, "recipe": own, "side": float(side)}[row.unit]
    low, high = (float(f"{end * factor:.6g}") for end in (row.low, row.high))
    if row.unit == "side":
        step = row.step or 1.0  # whole pixels
        high = low + step * max(1, round((high - low) / step))
    return Range(field=name, low=low, high=high, scale=row.scale, step=row.step)


def _named(word: str, recipe: Recipe, side: int) -> Dimension:
    given, equals, values = word.partition("=")
    name = given.strip().replace("-", "_")
    if not equals and name in SPACE:
        return _usual(name, recipe, side)
    if not equals:
        parsed(name, ())
        raise UsageError(f"{name} has no usual range: use {name}=LOW..HIGH or {name}=A,B,…")
    low, dots, high = values.partition("..")
    if not dots:
        return Choices(field=name, values=parsed(name, values.split(",")))
    ends = [float(end) for end in parsed(name, (low, high)) if not isinstance(end, str)]
    if len(ends) < 2:
        raise UsageError(f"{name} is not a number: list choices, {name}=A,B")
    scale = SPACE[name].scale if name in SPACE and ends[0] > 0 else "linear"
    return Range(field=name, low=ends[0], high=ends[1], scale=scale)


def _read(name: str, value: Any) -> Dimension:
    if isinstance(value, list):
        return Choices(field=name, values=tuple(_typed(name, each) for each in value))
    if not isinstance(value, dict):
        raise UsageError(f"{name} must be a list of choices or {{ low = …, high = … }}")
    unknown = set(value) - {"low", "high", "scale", "step"}
    if unknown or not {"low", "high"} <= set(value):
        raise UsageError(f"{name} can have low, high, scale and step, nothing else")
    if value.get("scale", "linear") not in ("linear", "log"):
        raise UsageError(f"{name}: scale must be linear or log, not {value['scale']!r}")
    numbers = {key: _number(name, value[key]) for key in ("low", "high", "step") if key in value}
    return Range(field=name, scale=value.get("scale", "linear"), **numbers)


def _typed(name: str, value: Any) -> Value:
    """Return a value of a TOML file as the field takes it: 1 where it takes 1.0."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return parsed(name, (str(value).lower() if isinstance(value, bool) else str(value),))[0]
    return parsed(name, (repr(value),))[0]


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError(f"{name} must have numbers, not {value!r}")
    return float(value)


def _toml(each: Dimension) -> str:
    if isinstance(each, Choices):
        return json.dumps(list(each.values), ensure_ascii=False)
    parts = [f"low = {_plain(each.low)}", f"high = {_plain(each.high)}"]
    parts += ['scale = "log"'] if each.scale == "log" else []
    parts += [f"step = {_plain(each.step)}"] if each.step else []
    return f"{{ {', '.join(parts)} }}"


def _plain(number: float) -> str:
    short = f"{number:g}"
    return short if float(short) == number else repr(number)


def _distinct(space: Space) -> Space:
    if not space:
        raise UsageError("a search needs at least one field")
    names = [each.field for each in space]
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"{repeated} is named twice")
    return space
