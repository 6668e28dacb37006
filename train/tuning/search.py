"""What a study searches for: written into its file, so that unlike trials never meet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from hemline.contract.card import Scalar
from hemline.train.recipes.recipe import Recipe
from hemline.train.tuning.dimensions import Choices, Range, Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Everything that the figures of a trial depend on, except what the trial itself changes.

    model: name in the MODELS table.
    dataset, data_sha256: name of the data set, and its files to their hashes.
    weights_sha256: of the file of pretrained weights; empty for random ones.
    recipe: fields of the recipe that trials change.
    epochs, limit, validation: of a trial, in place of the recipe's.
    space: what is tried.
    seed: of weights, order, augmentation and of what is tried.
    precision: float32 or mixed_bfloat16; of a recipe that leaves it open, what the study began in.
    """

    KIND: ClassVar[str] = "search"
    SCHEMA: ClassVar[int] = 1

    model: str
    dataset: str
    data_sha256: dict[str, str]
    weights_sha256: str
    recipe: dict[str, Scalar]
    epochs: int
    limit: int
    validation: int
    space: tuple[Range | Choices, ...]
    seed: int
    precision: str

    def trial_recipe(self, values: Mapping[str, Value]) -> Recipe:
        """Return what a trial trains by; `values` are those of its study."""
        return self.found_recipe(values).with_changes(
            {"epochs": self.epochs, "limit": self.limit, "validation": self.validation}
        )

    def found_recipe(self, values: Mapping[str, Value]) -> Recipe:
        """Return the recipe with a trial's values, with its own epochs and images."""
        return Recipe.of_fields(self.recipe).with_changes(self.rounded(values))

    def rounded(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """Return a trial's values as they are trained with."""
        return {each.field: each.rounded(values[each.field]) for each in self.space}

    def own_values(self) -> dict[str, Value]:
        """Return the recipe's own values, where the space has them or something next to them."""
        near = {each.field: each.nearest(self.recipe[each.field]) for each in self.space}
        return {field: value for field, value in near.items() if value is not None}

    def difference(self, other: Search) -> str | None:
        """Return in words how this search differs from another; None where it does not."""
        for name in (each.name for each in fields(self)):
            one, two = getattr(self, name), getattr(other, name)
            if one != two:
                what = _PARTS.get(name, f"{name} {{}}, not {{}}")
                return what.format(_shown(name, one, two), _shown(name, two, one))
        return None


_PARTS = {
    "dataset": "data set {}, not {}",
    "data_sha256": "other images",
    "weights_sha256": "other pretrained weights",
    "recipe": "recipe with {}, not {}",
    "validation": "{} validation images, not {}",
    "space": "space with {}, not {}",
}


def _shown(name: str, one: Any, other: Any) -> object:
    """Return of fields and spaces only the first part that differs."""
    if name == "space":
        one, other = ({each.field: each for each in space} for space in (one, other))
    if not isinstance(one, dict):
        return one
    differing = (key for key in sorted({*one, *other}) if one.get(key) != other.get(key))
    if (key := next(differing, None)) is None:
        return ", ".join(one)  # the same ones in another order
    return f"{key} {one[key]}" if key in one else f"no {key}"
