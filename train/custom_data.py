"""What a custom data set needs: a name, room for validation, and small batches."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from hemline.data.custom.loading import name_of
from hemline.data.datasets import Images
from hemline.data.fetch import FetchOptions
from hemline.data.splits import own_validation, validation_size
from hemline.errors import UsageError, remedy
from hemline.train.nets.models import ModelRow
from hemline.train.recipes.recipe import Recipe

_STEPS = 20  # an epoch of few images has at least so many: a rate is made for many small steps
_SMALLEST_BATCH = 8  # what batch normalization can bear


def named_after(model: ModelRow, data: FetchOptions) -> str:
    """Return the name of a folder: the model's, and that of a custom data set if there is one."""
    return model.name if data.custom is None else f"{model.name}-{name_of(data.custom)}"


def suited(recipe: Recipe, images: Images, *, given: Collection[str] = ()) -> Recipe:
    """Return a recipe for these images; fields in `given` stay as they are.

    At most a fifth of the images is held out for validation, or the data's own validation part.
    Images of the user's own are not flipped: an arrow means something else then. They go in batches
    small enough for few of them: a hundred in one batch are one step an epoch, and nothing is
    learned in 24 of those. Raises UsageError for a number of validation images where the data has
    its own.
    """
    count = _used(recipe, images)
    if images.validation_indices:
        if "validation" in given:
            raise UsageError(
                f"{images.source} has a validation part", remedy=remedy("own validation")
            )
        recipe = replace(recipe, validation=len(own_validation(images, count)))
    elif "validation" not in given:
        recipe = replace(recipe, validation=validation_size(count, recipe.validation))
    if "batch" not in given and images.dataset.is_custom:
        fitting = max(_SMALLEST_BATCH, (count - recipe.validation) // _STEPS)
        recipe = replace(recipe, batch=min(recipe.batch, fitting))
    if "flip" not in given and images.dataset.is_custom:
        recipe = replace(recipe, flip=False)
    return recipe


def parts_line(images: Images, recipe: Recipe) -> str:
    """Return one line on a custom data set: how many, of what, and how they are split."""
    _, height, width, channels = images.train_images.shape
    colour = "gray" if channels == 1 else "colour"
    source = "held out" if images.test_indices else "the data's own"
    validation = " (the data's own)" if images.validation_indices else ""
    flips = "flipped left to right at random" if recipe.flip else "not flipped"
    return (
        f"{len(images.dataset.labels)} classes, {height} × {width} {colour}: "
        f"{_used(recipe, images) - recipe.validation:,} training images, {recipe.validation:,} "
        f"validation{validation}, {len(images.test_images):,} test ({source}), in batches of "
        f"{recipe.batch}; images are {flips}"
    )


def _used(recipe: Recipe, images: Images) -> int:
    total = len(images.train_images)
    return min(recipe.limit or total, total)
