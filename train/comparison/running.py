"""Train one model alike on several data sets, where it was not yet, and count its predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hemline.contract.card import Card
from hemline.contract.checkpoint import MODEL_NAME, is_checkpoint, read_card
from hemline.data.datasets import Images
from hemline.errors import HemlineError, UsageError, remedy
from hemline.files import sha256_of
from hemline.progress import say
from hemline.provenance import commit, utc_now
from hemline.train.comparison.comparison import DatasetComparison, DatasetRun
from hemline.train.custom_data import suited
from hemline.train.recipes.recipe import Recipe
from hemline.train.request import TrainRequest

Train = Callable[[TrainRequest, Images], Card]


def for_all(
    request: TrainRequest, datasets: Sequence[Images], *, given: frozenset[str]
) -> tuple[TrainRequest, bool]:
    """Return a request that suits every one of the data sets, and whether it lost its flips.

    A comparison is of the data, so that flips which one of them cannot bear are left out on all.
    """
    unfit = request.recipe.flip and not all(images.dataset.may_flip for images in datasets)
    recipe = replace(request.recipe, flip=False) if unfit else request.recipe
    for images in datasets:
        recipe = suited(recipe, images, given={"batch", *given})
    return replace(request, recipe=recipe), unfit


def compare_datasets(
    request: TrainRequest,
    datasets: Mapping[str, Images],
    train: Train,
    *,
    seeds: int,
    without_flips: bool,
    force: bool,
) -> DatasetComparison:
    """Train by `request` with the seeds 1, 2, … on each data set (name to images), and evaluate.

    Its folder is that of the checkpoints, one in a folder of each. `without_flips`: see `for_all`.
    `force`: see `trained`.
    """
    name = f"{request.recipe_name}{', without flips' if without_flips else ''}"
    done = [
        (trained(each, images, train, force=force), images, each.folder)
        for images in datasets.values()
        for seed in range(1, seeds + 1)
        for folder in [request.folder / f"{images.dataset.name}-seed-{seed}"]
        for each in [replace(request, recipe_name=name, seed=seed, folder=folder)]
    ]
    say(f"evaluating {len(done)} checkpoints")
    model = done[0][0].model
    return DatasetComparison(
        model=model.name,
        parameters=model.parameters,
        macs=model.macs,
        recipe=request.recipe_name,
        recipe_fields=request.recipe.as_fields(),
        without_flips=without_flips,
        runs=tuple(_run(*each) for each in done),
        versions=model.versions,
        commit=commit(),
        created=utc_now(),
    )


def trained(request: TrainRequest, images: Images, train: Train, *, force: bool) -> Card:
    """Return the card of the request's checkpoint; train it unless it was trained so before.

    `force` lets a checkpoint of anything else be replaced. Raises UsageError for one without it.
    """
    if (card := finished(request, images, force=force)) is not None:
        return card
    from hemline.train.tensorflow import quiet_keras

    quiet_keras().utils.clear_session()  # so that it is made as in a process of its own
    return train(request, images)


def finished(request: TrainRequest, images: Images, *, force: bool) -> Card | None:
    """Return the card of the request's checkpoint if it was trained so; raises as `trained`."""
    if not is_checkpoint(request.folder):
        return None
    card = read_card(request.folder)
    difference = _difference(card, request, images)
    if not difference:
        say(f"{request.folder}: already trained")
        return card
    if not force:
        raise UsageError(
            f"{request.folder} holds a checkpoint of {difference}", remedy=remedy("replace or move")
        )
    return None


def _difference(card: Card, request: TrainRequest, images: Images) -> str:
    """Return in what a checkpoint differs from the one that is asked for; empty for nothing."""
    found = card.trained
    if card.model.name != request.model.name:
        return f"another model ({card.model.name})"
    if changed := _changes(card, request.recipe):
        return f"another recipe ({changed})"
    if found.seed != request.seed:
        return f"another seed ({found.seed})"
    if found.data_sha256 != images.sha256:
        return f"different data than in {images.source}"
    if found.teachers != tuple(read_card(each).model.sha256 for each in request.teachers):
        return "a training with other teachers"
    if found.pretrained_sha256 != ("" if request.weights is None else sha256_of(request.weights)):
        return "a training with other pretrained weights"
    return ""


def _changes(card: Card, recipe: Recipe) -> str:
    try:
        before = Recipe.of_fields(card.trained.recipe_fields).as_fields()
    except HemlineError as error:
        return str(error)
    now = recipe.as_fields()
    names = [name for name in now if now[name] != before[name]]
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0]} {before[names[0]]} instead of {now[names[0]]}{more}" if names else ""


def _run(card: Card, images: Images, folder: Path) -> DatasetRun:
    training, validation = card.trained, card.trained.score("validation")
    return DatasetRun(
        dataset=images.dataset.name,
        labels=card.model.labels,
        data_sha256=images.sha256,
        verified=images.verified,
        seed=training.seed,
        train_images=(training.split.limit or len(images.train_labels)) - validation.images,
        validation_images=validation.images,
        validation_correct=validation.correct,
        confusion=_confusion(folder, images, len(card.model.labels)),
        epochs=len(training.history),
        training_seconds=training.seconds,
        precision=training.precision,
        checkpoint_sha256=card.model.sha256,
        host=card.model.host,
    )


def _confusion(folder: Path, images: Images, classes: int) -> tuple[tuple[int, ...], ...]:
    """Return the confusion matrix of a checkpoint on the test images."""
    from sklearn.metrics import confusion_matrix

    from hemline.train.tensorflow import quiet_keras

    model = quiet_keras().models.load_model(folder / MODEL_NAME, compile=False)
    from hemline.train.predictor import Predictor

    predicted = Predictor(model, fixed=True).logits(images.test_images).argmax(axis=1)
    table = confusion_matrix(images.test_labels, predicted, labels=range(classes))
    return tuple(tuple(int(count) for count in row) for row in table)
