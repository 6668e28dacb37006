"""Train from Python, as `hemline train` does."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hemline.progress import Progress, say

if TYPE_CHECKING:
    from hemline.cluster import Resources
    from hemline.contract.card import Card, Epoch
    from hemline.data.datasets import Images
    from hemline.data.fetch import FetchOptions
    from hemline.tables import Table
    from hemline.train.request import TrainRequest

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResult:
    """A trained model.

    checkpoint: folder that holds it.
    card: what it is, how it was trained, and how many images it classifies correctly.
    folds: out-of-fold accuracy of its files, by cross-validation; None where it was not asked for.
    """

    checkpoint: Path
    card: Card
    folds: Table | None = None

    @property
    def validation_accuracy(self) -> float:
        """Return the share of validation images that are classified correctly, 0 to 1."""
        return self.card.trained.score("validation").accuracy

    @property
    def test_accuracy(self) -> float:
        """Return the share of test images that are classified correctly, 0 to 1."""
        return self.card.trained.score("test").accuracy

    @property
    def summary(self) -> str:
        """Return one line on the model and its training."""
        from hemline.data.custom.reading import counted
        from hemline.small_sets import accuracy_text
        from hemline.tables import macs_text

        model, training = self.card.model, self.card.trained
        validation, test = training.score("validation"), training.score("test")
        kept = f" (kept: epoch {training.kept_epoch})" if training.kept_epoch else ""
        return (
            f"{self.checkpoint}: {model.name}, {model.parameters:,} parameters, "
            f"{macs_text(model.macs)}, "
            f"validation {accuracy_text(validation.correct, validation.images)}, "
            f"test {accuracy_text(test.correct, test.images)}, "
            f"{counted(len(training.history), 'epoch')}"
            f"{kept}, {training.seconds:.0f} s ({training.precision})"
        )


def train(
    model: str | None = None,
    *,
    data: FetchOptions | Path | str | None = None,
    dataset: str = "fashion-mnist",
    output: Path | str | None = None,
    recipe: str | None = None,
    changes: Mapping[str, object] | None = None,
    seed: int = 1,
    teachers: Sequence[Path | str] = (),
    weights: str | None = None,
    tensorboard: Path | None = None,
    folds: int | None = None,
    force: bool = False,
    restart: bool = False,
) -> TrainResult:
    """Train a model and write its checkpoint; the same call continues an interrupted training.

    model: name in the MODELS table, such as mobilenetv2 (default: that of the checkpoint whose
        recipe is used, or hem-50k).
    data: your images: a folder with one subfolder per class or an .npz file, or how they are read
        (`hemline.api.images`); None for a published data set.
    dataset: the published data set, unless `data` is given: fashion-mnist or mnist.
    output: folder of the checkpoint (default: checkpoints/MODEL, or MODEL-DATA with your images).
    recipe: name, TOML file or checkpoint whose recipe is used (default: the model's own).
    changes: recipe fields by name, such as {"epochs": 5}.
    seed: random seed for weights, order and augmentation.
    teachers: checkpoints to distill from; several are averaged (default: those of the checkpoint
        whose recipe is used, for the same model and images).
    weights: of transfer models: imagenet, random or a file of weights.
    tensorboard: folder that TensorBoard reads.
    folds: number of parts of the training images for a cross-validation of training and export
        before the model itself is trained; its figures are also in folds.csv of the checkpoint.
    force: replace a finished checkpoint in the folder.
    restart: forget an unfinished training in the folder.

    Raises UsageError for a wrong request, DataError for images that cannot be used,
    DivergenceError when the loss is no longer a number.
    """
    request, images = _requested(
        model,
        recipe,
        teachers,
        data,
        dataset,
        output,
        folds=folds,
        force=force,
        changes=changes,
        weights=weights,
        seed=seed,
        restart=restart,
    )
    table = None
    if folds is not None:
        from hemline import files
        from hemline.errors import UsageError
        from hemline.export.folds import cross_validated
        from hemline.tables import as_csv

        if teachers:
            raise UsageError("a teacher has seen the images that a fold holds out: name none")
        table = cross_validated(request, images, folds, run_training)
        files.write_bytes(request.folder / "folds.csv", as_csv(table).encode())
    return replace(run_training(request, images, tensorboard=tensorboard), folds=table)


def train_seeds(
    seeds: Sequence[int],
    model: str | None = None,
    *,
    data: FetchOptions | Path | str | None = None,
    dataset: str = "fashion-mnist",
    output: Path | str | None = None,
    recipe: str | None = None,
    changes: Mapping[str, object] | None = None,
    teachers: Sequence[Path | str] = (),
    weights: str | None = None,
    force: bool = False,
    restart: bool = False,
    ray: str | None = None,
    resources: Resources | None = None,
) -> list[TrainResult]:
    """Train a model with several seeds side by side, each in a folder of its own.

    Checkpoints that are there already are kept. The arguments are those of `train`, but:

    seeds: numbers, one for each training.
    output: what the names of the folders begin with: OUTPUT-seed-1, ….
    ray: address of a Ray cluster, or empty for one of this machine's cores; None for processes
        here, one thread each.
    resources: of a training on Ray.
    """
    from hemline.data.custom.reading import counted
    from hemline.data.fetch import FetchOptions, load_images
    from hemline.host import cores
    from hemline.train import seeds as several
    from hemline.train import workers

    first, images = _requested(
        model,
        recipe,
        teachers,
        data,
        dataset,
        output,
        force=True,  # of each seed it is asked later
        changes=changes,
        weights=weights,
        seed=seeds[0],
        restart=restart,
    )
    first = _begun(first, images, f"seeds {', '.join(map(str, seeds))}")
    requests = several.with_seeds(first, seeds)
    with contextlib.ExitStack() as stack:
        place: workers.Workers
        if ray is None:
            place = stack.enter_context(workers.LocalWorkers(cores()))
            load: workers.Load = functools.partial(load_images, dataset, FetchOptions.of(data))
            where = "processes of one thread"
        else:
            from hemline.cluster import Resources, connected

            resources = resources or Resources()
            cluster = stack.enter_context(connected(ray, resources))
            place = workers.RayWorkers(cluster, resources)
            load, where = place.shared(images), str(cluster)
        at_once = min(place.places(), len(requests))
        say(f"{where}: {at_once} of {counted(len(requests), 'training')} at a time")
        cards = several.train_seeds(
            place, requests, images, load, ship=ray is not None, force=force
        )
    pairs = zip(requests, cards, strict=True)
    return [TrainResult(checkpoint=each.folder, card=card) for each, card in pairs]


def _requested(
    model: str | None,
    recipe: str | None,
    teachers: Sequence[Path | str],
    data: FetchOptions | Path | str | None,
    dataset: str,
    output: Path | str | None,
    *,
    folds: int | None = None,
    force: bool,
    **others: Any,
) -> tuple[TrainRequest, Images]:
    """Return what `train` is asked for, and the images; raises as `train`.

    others: of its arguments, those that `new_request` has too.
    """
    from hemline.contract.checkpoint import is_checkpoint
    from hemline.data.fetch import FetchOptions, load_images
    from hemline.errors import UsageError, remedy
    from hemline.train.custom_data import named_after
    from hemline.train.nets.models import DEFAULT, find_model
    from hemline.train.recipes.recipe import Recipe
    from hemline.train.recipes.recipe_file import recipe_card
    from hemline.train.request import new_request

    reproduced, options = recipe_card(recipe or ""), FetchOptions.of(data)
    row = find_model(
        model or (reproduced.model.name if reproduced and reproduced.training else DEFAULT)
    )
    folder = Path(output or Path("checkpoints") / named_after(row, options))
    if is_checkpoint(folder) and not force:
        raise UsageError(
            f"{folder} holds a finished checkpoint", remedy=remedy("replace checkpoint")
        )
    request = new_request(
        row,
        recipe=recipe,
        folder=folder,
        teachers=tuple(map(Path, teachers)),
        **others,
    )
    taught = reproduced and reproduced.training and reproduced.training.teachers
    useless = sorted(request.given.intersection(Recipe.sections()["Distillation"]))
    if useless and not (teachers or taught):
        raise UsageError(f"{useless[0]} needs a teacher", remedy=remedy("name a teacher"))
    images = load_images(dataset, options)
    if recipe and reproduced and taught and not teachers:
        request = _taught_like(Path(recipe), reproduced, request, images, folds)
    return request, images


def _taught_like(
    source: Path, card: Card, request: TrainRequest, images: Images, folds: int | None
) -> TrainRequest:
    """Return a request with the teachers of the checkpoint that it reproduces."""
    from hemline.train.checkpoint import find_teachers

    same = (card.model.name, card.trained.data_sha256) == (request.model.name, images.sha256)
    if not same or folds is not None:
        say(f"without the teachers of {source}: they are for {card.model.name} on its images")
        return request
    teachers = find_teachers(source, card)
    say(f"teachers: {', '.join(map(str, teachers))}")
    return replace(request, teachers=teachers)


def run_training(
    request: TrainRequest, images: Images, *, tensorboard: Path | None = None
) -> TrainResult:
    """Train by a recipe that suits the images; raises as `train` does."""
    request = _begun(request, images, f"seed {request.seed}")
    return TrainResult(checkpoint=request.folder, card=_trained(request, images, tensorboard))


def _begun(request: TrainRequest, images: Images, seeds: str) -> TrainRequest:
    """Say what is trained, and return the request with a recipe that suits the images."""
    from hemline.data.class_counts import counts_line, warn_of_counts
    from hemline.data.splits import require_room
    from hemline.errors import remedy
    from hemline.remedies import advice
    from hemline.train.custom_data import parts_line, suited
    from hemline.train.tensorflow import quiet_keras

    model, recipe = request.model, suited(request.recipe, images, given=request.given)
    request = replace(request, recipe=recipe)
    require_room(images, validation=recipe.validation, limit=recipe.limit or None)
    say(
        f"training {model.name} ({model.summary}) on {images.dataset.title} by recipe "
        f"{request.recipe_name}, {seeds}"
    )
    if images.dataset.is_custom:
        say(parts_line(images, recipe))
        say(counts_line(images))
        warn_of_counts(images)
    quiet_keras()
    if recipe.flip and not images.dataset.may_flip:
        log.warning(
            "the recipe flips images, but an image of %s flipped left to right is a different one: "
            "%s",
            images.dataset.title,
            advice(remedy("no flips")),
        )
    return request


def _trained(request: TrainRequest, images: Images, tensorboard: Path | None) -> Card:
    from hemline.train.tensorboard import EpochLog
    from hemline.train.training import train as train_model

    with contextlib.ExitStack() as stack:
        progress = stack.enter_context(Progress("training", request.recipe.epochs))
        listener = None
        if tensorboard is not None:
            listener = stack.enter_context(contextlib.closing(EpochLog(tensorboard)))

        def on_epoch(epoch: Epoch, epochs: int) -> None:
            accuracy = 100 * epoch.validation_accuracy
            figures = f"loss {epoch.loss:.3f}  validation {accuracy:.2f} %"
            line = f"epoch {epoch.epoch:>3}/{epochs}  {figures}  {epoch.seconds:.1f} s"
            progress.show(figures, done=epoch.epoch, line=line, seconds=epoch.seconds)
            if listener is not None:
                listener(epoch, epochs)

        return train_model(request, images, on_epoch=on_epoch)
