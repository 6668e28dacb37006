"""Train one model alike on several data sets and count its answers on their test images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hemline.console import say
from hemline.contract.card import Card
from hemline.data.datasets import Images
from hemline.provenance import commit, utc_now
from hemline.train.comparison.checkpoints import trained
from hemline.train.comparison.comparison import DatasetComparison, DatasetRun
from hemline.train.custom_data import suited
from hemline.train.nets.models import ModelRow
from hemline.train.recipes.recipe import Recipe
from hemline.train.request import TrainRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonRequest:
    """What to compare.

    model: row of the MODELS table.
    recipe: of every training; recipe_name is what it is called.
    without_flips: whether flips were taken out of it.
    seeds: how many trainings on each data set, with the seeds 1, 2, ….
    folder: of the checkpoints.
    force: replace checkpoints of something else.
    restart: forget unfinished runs.
    """

    model: ModelRow
    recipe: Recipe
    recipe_name: str
    without_flips: bool
    seeds: int
    folder: Path
    force: bool = False
    restart: bool = False


def for_all(recipe: Recipe, datasets: Sequence[Images], *, spare: bool) -> tuple[Recipe, bool]:
    """Return the recipe as every one of the data sets can bear it, and whether it lost its flips.

    A comparison is of the data, so that flips which one of them cannot bear are left out on all.
    With `spare` no data set gives more for validation than it can spare.
    """
    unfit = recipe.flip and not all(images.dataset.may_flip for images in datasets)
    recipe = replace(recipe, flip=False) if unfit else recipe
    for images in datasets if spare else ():
        recipe = suited(recipe, images, given={"batch"})
    return recipe, unfit


def compare_datasets(
    request: ComparisonRequest, datasets: Mapping[str, Images]
) -> DatasetComparison:
    """Train what is not there yet, in the order of `datasets` (name to images), and evaluate it."""
    done = [
        (card, images, folder)
        for images in datasets.values()
        for seed in range(1, request.seeds + 1)
        for folder in [request.folder / f"{images.dataset.name}-seed-{seed}"]
        for card in [trained(_train_request(request, seed, folder), images, force=request.force)]
    ]
    say(f"evaluating {len(done)} checkpoints")
    card = done[0][0]
    return DatasetComparison(
        model=request.model.name,
        parameters=card.model.parameters,
        macs=card.model.macs,
        recipe=request.recipe_name,
        recipe_fields=request.recipe.as_fields(),
        without_flips=request.without_flips,
        runs=tuple(_run(*each) for each in done),
        versions=card.model.versions,
        commit=commit(),
        created=utc_now(),
    )


def _train_request(request: ComparisonRequest, seed: int, folder: Path) -> TrainRequest:
    name = request.recipe_name
    return TrainRequest(
        model=request.model,
        recipe=request.recipe,
        recipe_name=f"{name}, without flips" if request.without_flips else name,
        seed=seed,
        folder=folder,
        restart=request.restart,
    )


def _run(card: Card, images: Images, folder: Path) -> DatasetRun:
    validation = card.trained.score("validation")
    limit = card.trained.split.limit or len(images.train_labels)
    return DatasetRun(
        dataset=images.dataset.name,
        labels=card.model.labels,
        data_sha256=images.sha256,
        verified=images.verified,
        seed=card.trained.seed,
        train_images=limit - validation.images,
        validation_images=validation.images,
        validation_correct=validation.correct,
        confusion=_confusion(card, images, folder),
        epochs=len(card.trained.history),
        training_seconds=card.trained.seconds,
        precision=card.trained.precision,
        checkpoint_sha256=card.model.sha256,
        host=card.model.host,
    )


def _confusion(card: Card, images: Images, folder: Path) -> tuple[tuple[int, ...], ...]:
    """Return the confusion matrix of a checkpoint's answers on the test images."""
    from sklearn.metrics import confusion_matrix

    from hemline.train.evaluating.checkpoint_subject import CheckpointSubject

    model = CheckpointSubject(folder, card).model  # loads TensorFlow, quietly
    from hemline.train.predictor import Predictor

    answers = Predictor(model, fixed=True).logits(images.test_images).argmax(axis=1)
    table = confusion_matrix(images.test_labels, answers, labels=range(len(card.model.labels)))
    return tuple(tuple(int(count) for count in row) for row in table)
