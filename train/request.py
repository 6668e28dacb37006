"""What is asked of a training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hemline.errors import UsageError
from hemline.train.nets.models import ModelRow
from hemline.train.recipes.recipe import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRequest:
    """What to train.

    model: row of the MODELS table.
    recipe: how; recipe_name is what it is called in the card.
    seed: of weights, order and augmentation.
    folder: of the checkpoint.
    restart: forget an unfinished run in the folder.
    teachers: folders of checkpoints whose answers are learned from too.
    weights: file of pretrained weights for the layers below a transfer model's top.
    """

    model: ModelRow
    recipe: Recipe
    recipe_name: str
    seed: int
    folder: Path
    restart: bool = False
    teachers: tuple[Path, ...] = ()
    weights: Path | None = None

    def __post_init__(self) -> None:
        """Raise UsageError for what no training can do."""
        if self.recipe.frozen_epochs and self.model.transfer_recipe is None:
            raise UsageError(f"{self.model.name} has no pretrained layers: use --frozen-epochs 0")
        if self.folder.resolve() in [teacher.resolve() for teacher in self.teachers]:
            raise UsageError(f"{self.folder} is a teacher: name another --output")
