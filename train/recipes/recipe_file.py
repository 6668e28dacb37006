"""Recipes as TOML files, which people write, share and keep.

A file has fields of Recipe; those that it does not name are of the recipe `base` (by default fast).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from hemline.contract.card import Card, Scalar
from hemline.contract.checkpoint import CARD_NAME
from hemline.contract.schema import load
from hemline.errors import FileFormatError, HemlineError, UnknownNameError
from hemline.train.recipes.recipe import RECIPES, Recipe

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_BASE = "base"
_LARGEST_BYTES = 1 << 16
# shown in the line of a field that the model has its own value of
_EXAMPLES: dict[type, Scalar] = {float: 0.3, bool: True}


def named_recipe(name: str) -> tuple[str, Recipe]:
    """Return what a recipe is called and the recipe: a name, a TOML file, a checkpoint or a card.

    Raises UnknownNameError with the nearest name, FileFormatError for a file that is not a recipe.
    """
    if name in RECIPES:
        return name, RECIPES[name]
    path = Path(name)
    if card := recipe_card(name):
        where = str(path if path.name == CARD_NAME else path / CARD_NAME)
        return card.trained.recipe, _checked(card.trained.recipe_fields, Recipe(), where)
    if path.suffix == ".toml" or path.is_file():
        return path.stem, read_recipe(path)
    raise UnknownNameError("recipe", name, RECIPES)


def recipe_card(name: str) -> Card | None:
    """Return the card of the checkpoint whose recipe is named; None for any other recipe."""
    path = Path(name)
    path = path if path.name == CARD_NAME else path / CARD_NAME
    return load(Card, path) if name not in RECIPES and path.is_file() else None


def flip_is_given(name: str) -> bool:
    """Return whether a recipe is a file in which the user decided on flips."""
    if name in RECIPES or recipe_card(name):
        return False
    return "flip" in parse_toml(Path(name).read_bytes(), where=name)


def read_recipe(path: Path) -> Recipe:
    """Return the recipe in a TOML file; raises FileFormatError."""
    try:
        with path.open("rb") as stream:
            content = stream.read(_LARGEST_BYTES + 1)
    except OSError as error:
        raise FileFormatError(
            f"cannot read the recipe {path}: {(error.strerror or str(error)).lower()}"
        ) from error
    if len(content) > _LARGEST_BYTES:
        raise FileFormatError(f"{path} is not a recipe: it has over {_LARGEST_BYTES} bytes")
    fields = parse_toml(content, where=f"{path} is not a recipe")
    base = fields.pop(_BASE, "fast")
    if not isinstance(base, str):
        raise FileFormatError(f"{path}: {_BASE} must be the name of a recipe")
    if base not in RECIPES:
        raise FileFormatError(f"{path}: {UnknownNameError('recipe', base, RECIPES)}")
    return _checked(fields, RECIPES[base], str(path))


def parse_toml(content: bytes, *, where: str) -> dict[str, Any]:
    """Return what a TOML file says; raises FileFormatError, which begins with `where`."""
    try:
        return tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits are the first
        raise FileFormatError(f"{where}, it is not TOML: {error}") from error


def recipe_toml(recipe: Recipe) -> str:
    """Return a recipe as the text of a TOML file, each field with what it is."""
    sections = Recipe.sections().items()
    return "\n".join(_section(recipe, heading, names) for heading, names in sections)


def _section(recipe: Recipe, heading: str, names: tuple[str, ...]) -> str:
    lines = [f"# {heading}"]
    for name in names:
        value: Scalar = getattr(recipe, name)
        kind, _, text = Recipe.options()[name]
        if value is not None:
            lines.append(f"{name} = {_toml(value)}  # {text}")
            continue
        # TOML has no word for "the model's own": such a field is left out
        line = f"{name} = {_toml(_EXAMPLES[kind])}  # {text}"
        lines.append(f"# {line}; default: the model's own")
    return "\n".join(lines) + "\n"


def _checked(fields: dict[str, Scalar], base: Recipe, where: str) -> Recipe:
    try:
        return base.with_changes(fields)
    except HemlineError as error:
        raise FileFormatError(f"{where}: {error}") from error


def _toml(value: Scalar) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    # JSON's texts are TOML's basic strings
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
