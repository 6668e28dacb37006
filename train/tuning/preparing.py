"""Make a search of what was asked for and of the images that are there."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from hemline.data.datasets import Images
from hemline.files import sha256_of
from hemline.train.custom_data import suited
from hemline.train.nets.design import Design
from hemline.train.nets.models import ModelRow, build_model
from hemline.train.recipes.recipe import Recipe
from hemline.train.request import require_layers
from hemline.train.tuning.search import Search
from hemline.train.tuning.space import Space, named_space, read_space, require_possible, usual_space


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneRequest:
    """What to search for.

    model: row of the MODELS table.
    recipe: that the search begins from and changes.
    seed: of weights, order, augmentation and of what is tried.
    epochs, limit, validation: of a trial, in place of the recipe's; None for those.
    over: words that name what to search; empty for the usual space.
    space: TOML file that says it, in place of words.
    weights: file of pretrained weights.
    """

    model: ModelRow
    recipe: Recipe
    seed: int = 1
    epochs: int | None = None
    limit: int | None = None
    validation: int | None = None
    over: tuple[str, ...] = ()
    space: Path | None = None
    weights: Path | None = None


def prepare(request: TuneRequest, images: Images) -> Search:
    """Return the search; raises UsageError for one that cannot work."""
    batch = suited(request.recipe, images).batch
    request = replace(request, recipe=replace(request.recipe, batch=batch))
    space, trial = space_of(request, images), _trial_recipe(request, images)
    require_possible(space, trial)
    return Search(
        model=request.model.name,
        dataset=images.dataset.name,
        data_sha256=images.sha256,
        weights_sha256="" if request.weights is None else sha256_of(request.weights),
        recipe=request.recipe.as_fields(),
        epochs=trial.epochs,
        limit=trial.limit,
        validation=trial.validation,
        space=space,
        seed=request.seed,
        precision=_precision(request, trial, images),
    )


def space_of(request: TuneRequest, images: Images) -> Space:
    """Return what is searched; raises UsageError, FileFormatError."""
    if request.space is not None:
        return read_space(request.space)
    side = min(images.train_images.shape[1:3])
    if request.over:
        return named_space(request.over, request.recipe, side=side)
    pretrained = request.weights is not None
    return usual_space(request.model, request.recipe, side=side, pretrained=pretrained)


def deadline_after(minutes: float | None) -> float | None:
    """Return the time.monotonic() at which so many minutes are over."""
    return None if minutes is None else time.monotonic() + 60 * minutes


def _precision(request: TuneRequest, trial: Recipe, images: Images) -> str:
    if trial.precision != "auto":
        return trial.precision
    from hemline.train.tensorflow import quiet_keras

    quiet_keras()
    from hemline.train.fitting.precision import Workload, resolve_precision

    count, height, width, channels = images.train_images.shape
    shape, classes = (height, width, channels), len(images.dataset.labels)
    workload = Workload(
        model=build_model(request.model, shape, classes, design=Design.of(trial)),
        recipe=trial,
        images=min(count, trial.limit or count) - trial.validation,
    )
    return resolve_precision(workload)


def _trial_recipe(request: TuneRequest, images: Images) -> Recipe:
    given = {name: getattr(request, name) for name in ("epochs", "limit", "validation")}
    changes = {name: value for name, value in given.items() if value is not None}
    recipe = request.recipe.with_changes(changes)
    require_layers(request.model, recipe)
    return suited(recipe, images, given={"batch", *changes})
