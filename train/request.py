"""What is asked of a training, with what is usual for the model and for the images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hemline.data.datasets import Images
from hemline.errors import UsageError
from hemline.train.custom_data import suited
from hemline.train.nets.models import ModelRow
from hemline.train.recipes.recipe import Recipe
from hemline.train.recipes.recipe_file import named_recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRequest:
    """What to train.

    model: row of the MODELS table.
    recipe: how; recipe_name is what it is called in the card.
    seed: of weights, order and augmentation.
    folder: of the checkpoint.
    restart: forget an unfinished run in the folder.
    teachers: folders of checkpoints to distill from.
    weights: file of pretrained weights for the layers below a transfer model's top.
    given: fields of the recipe that the user chose; images do not change them.
    """

    model: ModelRow
    recipe: Recipe
    recipe_name: str
    folder: Path
    seed: int = 1
    restart: bool = False
    teachers: tuple[Path, ...] = ()
    weights: Path | None = None
    given: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        """Raise UsageError for what no training can do."""
        require_layers(self.model, self.recipe)
        if self.folder.resolve() in [teacher.resolve() for teacher in self.teachers]:
            raise UsageError(f"{self.folder} is a teacher: the checkpoint needs another folder")

    def suited_to(self, images: Images) -> TrainRequest:
        """Return the request with a recipe for these images: see custom_data.suited."""
        return replace(self, recipe=suited(self.recipe, images, given=self.given))


def new_request(
    model: ModelRow,
    *,
    recipe: str | None = None,
    weights: str | None = None,
    changes: Mapping[str, Any] | None = None,
    **others: Any,
) -> TrainRequest:
    """Return a request with what is usual for the model where nothing is given.

    recipe: name, file or checkpoint; weights: see `usual_training`; changes: fields of the recipe.
    others: fields of TrainRequest. Raises HemlineError for what cannot be trained.
    """
    name, found, file = usual_training(model, recipe=recipe, weights=weights)
    if changes:
        name, found = f"{name.removesuffix(', changed')}, changed", found.with_changes(changes)
    given = frozenset(changes or ())
    return TrainRequest(
        model=model, recipe=found, recipe_name=name, weights=file, given=given, **others
    )


def usual_training(
    model: ModelRow, *, recipe: str | None, weights: str | None
) -> tuple[str, Recipe, Path | None]:
    """Return a recipe's name, the recipe, and the file of pretrained weights (None: random ones).

    weights: imagenet, random, or a file; None for what is usual: ImageNet's where a model has some.
    recipe: None for the model's own, which is another one with pretrained weights.
    """
    from hemline.train.nets.pretrained import pretrained_weights

    file = pretrained_weights(model, weights)
    own = (model.transfer_recipe if file is not None else None) or model.recipe
    return *named_recipe(recipe or own), file


def require_layers(model: ModelRow, recipe: Recipe) -> None:
    """Raise UsageError for a recipe that freezes layers of a model without pretrained ones."""
    if recipe.frozen_epochs and model.transfer_recipe is None:
        raise UsageError(f"{model.name} has no pretrained layers: frozen_epochs must be 0")
