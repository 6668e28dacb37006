"""Make a search of what was asked for and of the images that are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hemline.data.datasets import Images
from hemline.files import sha256_of
from hemline.train.custom_data import suited
from hemline.train.nets.design import Design
from hemline.train.nets.models import build_model
from hemline.train.recipes.recipe import Recipe
from hemline.train.request import TrainRequest
from hemline.train.tuning.search import Search
from hemline.train.tuning.space import Space, named_space, read_space, require_possible, usual_space


def prepare(
    request: TrainRequest, images: Images, space: Space, changes: Mapping[str, int]
) -> Search:
    """Return the search of a space, from the request's recipe on.

    changes: epochs, limit and validation of a trial, in place of the recipe's. Raises UsageError
    for a search that cannot work.
    """
    own = suited(request.recipe, images, given=request.given & {"flip"})
    recipe = replace(request.recipe, batch=own.batch, flip=own.flip)
    trial = suited(recipe.with_changes(changes), images, given={"batch", "flip", *changes})
    require_possible(space, trial)
    return Search(
        model=request.model.name,
        dataset=images.dataset.name,
        data_sha256=images.sha256,
        weights_sha256="" if request.weights is None else sha256_of(request.weights),
        recipe=recipe.as_fields(),
        epochs=trial.epochs,
        limit=trial.limit,
        validation=trial.validation,
        space=space,
        seed=request.seed,
        precision=_precision(request, trial, images),
    )


def space_of(
    request: TrainRequest, images: Images, *, over: Sequence[str] = (), path: Path | None = None
) -> Space:
    """Return what is searched: that of a TOML file, of words, or the usual one.

    Raises UsageError, FileFormatError.
    """
    if path is not None:
        return read_space(path)
    side = min(images.train_images.shape[1:3])
    if over:
        return named_space(over, request.recipe, side=side)
    pretrained = request.weights is not None
    return usual_space(request.model, request.recipe, side=side, pretrained=pretrained)


def _precision(request: TrainRequest, trial: Recipe, images: Images) -> str:
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
