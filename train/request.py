"""What is asked of a training, with what is usual for the model and for the images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hemline.errors import UsageError
from hemline.files import write_bytes
from hemline.train.nets.models import ModelRow
from hemline.train.recipes.recipe import Recipe
from hemline.train.recipes.recipe_file import flip_is_given, named_recipe


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
        if self.recipe.frozen_epochs and self.model.transfer_recipe is None:
            raise UsageError(f"{self.model.name} has no pretrained layers: frozen_epochs must be 0")
        if self.folder.resolve() in [teacher.resolve() for teacher in self.teachers]:
            raise UsageError(f"{self.folder} is a teacher: save the checkpoint in another folder")

    def with_weights(self, content: bytes | None, folder: Path) -> TrainRequest:
        """Return the request with its file of weights, if any, written into another folder."""
        if content is None or self.weights is None:
            return self
        write_bytes(folder / self.weights.name, content)
        return replace(self, weights=folder / self.weights.name)


def new_request(
    model: ModelRow,
    *,
    recipe: str | None = None,
    weights: str | None = None,
    changes: Mapping[str, Any] | None = None,
    **others: Any,
) -> TrainRequest:
    """Return a request with what is usual for the model where nothing is given.

    recipe: name, file or checkpoint; the model's own depends on whether its weights are pretrained.
    weights: imagenet, random or a file; by default ImageNet's where the model has some.
    changes: fields of the recipe; others: fields of TrainRequest.

    Raises HemlineError for what cannot be trained.
    """
    from hemline.train.nets.pretrained import pretrained_weights

    file = pretrained_weights(model, weights)
    own = (model.transfer_recipe if file is not None else None) or model.recipe
    name, found = named_recipe(recipe or own)
    if changes:
        name, found = f"{name.removesuffix(', changed')}, changed", found.with_changes(changes)
    given = frozenset(changes or ())
    if recipe is not None and flip_is_given(recipe):
        given |= {"flip"}
    return TrainRequest(
        model=model, recipe=found, recipe_name=name, weights=file, given=given, **others
    )
