"""What the user's own data needs: a name, and no more validation images than it can spare."""

from __future__ import annotations

from dataclasses import replace

from hemline.data.custom.loading import name_of
from hemline.data.datasets import Images
from hemline.data.fetch import FetchOptions
from hemline.train.nets.models import ModelRow
from hemline.train.recipes.recipe import Recipe

_PARTS = 5  # at most one of so many is kept apart for validation
_STEPS = 20  # of an epoch, that few images are parted into: a rate is made for many small steps
_SMALLEST_BATCH = 8  # what batch normalization can bear


def named_after(model: ModelRow, data: FetchOptions) -> str:
    """Return the name of a folder: the model's, and that of the user's own data if it is used."""
    return model.name if data.custom is None else f"{model.name}-{name_of(data.custom)}"


def spared(recipe: Recipe, images: Images) -> Recipe:
    """Return a recipe that keeps at most a fifth of the training images for validation."""
    spare = _used(recipe, images) // _PARTS
    return replace(recipe, validation=max(1, min(recipe.validation, spare)))


def in_steps(recipe: Recipe, images: Images) -> Recipe:
    """Return a recipe whose batches are small enough for few images of the user's own.

    A hundred images in one batch are one step an epoch, and nothing is learned in 24 of them.
    """
    if not images.dataset.is_custom:
        return recipe
    count = _used(recipe, images) - recipe.validation
    return replace(recipe, batch=min(recipe.batch, max(_SMALLEST_BATCH, count // _STEPS)))


def parts_line(images: Images, recipe: Recipe) -> str:
    """Return one line on the user's own images: how many, of what, and how they are parted."""
    _, height, width, channels = images.train_images.shape
    colour = "gray" if channels == 1 else "colour"
    drawn = "drawn" if images.test_indices else "the data's own"
    return (
        f"{len(images.dataset.labels)} classes, {height} × {width} {colour}: "
        f"{_used(recipe, images) - recipe.validation:,} images to train on, {recipe.validation:,} "
        f"for validation, {len(images.test_images):,} for test ({drawn}), in batches of "
        f"{recipe.batch}"
    )


def _used(recipe: Recipe, images: Images) -> int:
    total = len(images.train_images)
    return min(recipe.limit or total, total)
