"""`hemline train` and `hemline recipe`."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from hemline.arguments import FOLDER, force_option, output_option
from hemline.console import Progress, data_option, data_words, next_step, say
from hemline.contract.card import Card, Epoch
from hemline.contract.checkpoint import is_checkpoint
from hemline.data.class_counts import counts_line, warn_of_counts
from hemline.data.custom.reading import counted
from hemline.data.datasets import Images
from hemline.data.fetch import FetchOptions, load_images
from hemline.data.splits import require_room
from hemline.errors import InterruptedWorkError, UsageError
from hemline.small_sets import accuracy_text, few_images
from hemline.tables import macs_text
from hemline.train import options
from hemline.train.custom_data import named_after, parts_line, suited
from hemline.train.nets.models import MODELS, find_model
from hemline.train.recipes.recipe import Recipe
from hemline.train.recipes.recipe_file import named_recipe, recipe_toml
from hemline.train.request import TrainRequest, new_request

log = logging.getLogger(__name__)


_FOR_TEACHERS = set(Recipe.sections()["Distillation"])
_MODEL_LINES = "\n".join(f"  {row.name:<12} {row.summary}" for row in MODELS.values())


@click.command(cls=options.RecipeCommand, epilog=f"\b\nModels:\n{_MODEL_LINES}")
@click.argument("model", default="hem-50k")
@options.recipe_option
@options.seed_option("weights, order and augmentation")
@output_option("Folder of the checkpoint (default: checkpoints/MODEL, or MODEL-DATA with --data).")
@force_option("Replace a finished checkpoint in the folder.")
@click.option("--restart", is_flag=True, help="Forget an unfinished run in the folder.")
@click.option(
    "--teacher",
    "teachers",
    multiple=True,
    type=FOLDER,
    help="Checkpoint to distill from; several are averaged.",
)
@options.weights_option
@click.option(
    "--tensorboard",
    type=FOLDER,
    help="Folder that TensorBoard reads; each epoch's figures are written there.",
)
@options.dataset_option
@data_option
@options.recipe_options
def train(
    model: str,
    recipe_given: str | None,
    seed: int,
    output: Path | None,
    force: bool,
    restart: bool,
    teachers: tuple[Path, ...],
    weights: str | None,
    tensorboard: Path | None,
    dataset: str,
    data: FetchOptions,
    **given: Any,
) -> None:
    """Train a model and write its checkpoint.

    To resume an interrupted training, use the same command again. Each field of the recipe is an
    option too: see --help-recipe.
    """
    row = find_model(model)
    changes = {key: value for key, value in given.items() if value is not None}
    if not teachers and (useless := sorted(_FOR_TEACHERS & changes.keys())):
        raise UsageError(f"{useless[0]} is for --teacher, and there is none: leave it out")
    folder = output or Path("checkpoints") / named_after(row, data)
    if is_checkpoint(folder) and not force:
        raise UsageError(f"{folder} holds a finished checkpoint: use --force or another --output")
    request = new_request(
        row,
        recipe=recipe_given,
        weights=weights,
        changes=changes,
        seed=seed,
        folder=folder,
        restart=restart,
        teachers=teachers,
    )
    with resumable(restart):
        card = run_training(request, load_images(dataset, data), tensorboard=tensorboard)
    click.echo(summary(card, folder))
    for line in few_images(card.trained.score("test").images):
        say(line)
    next_step("export", folder, *data_words(data))


@click.command()
@click.argument("recipe", default="fast")
def recipe(recipe: str) -> None:
    """Print a recipe as a TOML file to edit.

    RECIPE is a name, a TOML file, or the folder of a checkpoint that was trained with one. Train
    with the edited file: hemline train --recipe FILE.
    """
    click.echo(recipe_toml(named_recipe(recipe)[1]), nl=False)


def run_training(request: TrainRequest, images: Images, *, tensorboard: Path | None = None) -> Card:
    """Train by a recipe that suits the images, with progress on stderr, and return the card."""
    model, recipe = request.model, suited(request.recipe, images, given=request.given)
    request = replace(request, recipe=recipe)
    require_room(images, validation=recipe.validation, limit=recipe.limit or None)
    say(
        f"training {model.name} ({model.summary}) on {images.dataset.title} by recipe "
        f"{request.recipe_name}, seed {request.seed}"
    )
    if images.dataset.is_custom:
        say(parts_line(images, recipe))
        say(counts_line(images))
        warn_of_counts(images)
    from hemline.train.tensorflow import quiet_keras

    quiet_keras()
    if recipe.flip and not images.dataset.may_flip:
        log.warning(
            "the recipe flips images, and one of %s flipped left to right is another one: use "
            "--no-flip",
            images.dataset.title,
        )
    from hemline.train.tensorboard import EpochLog
    from hemline.train.training import train as train_model

    with contextlib.ExitStack() as stack:
        progress = stack.enter_context(Progress("training", recipe.epochs))
        listeners: list[Callable[[Epoch, int], None]] = []
        if tensorboard is not None:
            listeners.append(stack.enter_context(contextlib.closing(EpochLog(tensorboard))))

        def on_epoch(epoch: Epoch, epochs: int) -> None:
            figures = _figures(epoch)
            line = f"epoch {epoch.epoch:>3}/{epochs}  {figures}  {epoch.seconds:.1f} s"
            progress.show(figures, done=epoch.epoch, line=line)
            for listener in listeners:
                listener(epoch, epochs)

        return train_model(request, images, on_epoch=on_epoch)


@contextlib.contextmanager
def resumable(
    restart: bool, *, kept: str = "", after: str = " after the last whole epoch"
) -> Iterator[None]:
    """Say what is kept and how to go on when the user interrupts."""
    try:
        yield
    except KeyboardInterrupt as error:
        again = "the same command without --restart" if restart else "the same command"
        raise InterruptedWorkError(f"interrupted: {kept}{again} goes on{after}") from error


def summary(card: Card, folder: Path) -> str:
    """Return one line on a finished training."""
    model, training = card.model, card.trained
    validation, test = training.score("validation"), training.score("test")
    kept = f" (kept: epoch {training.kept_epoch})" if training.kept_epoch else ""
    return (
        f"{folder}: {model.name}, {model.parameters:,} parameters, {macs_text(model.macs)}, "
        f"validation {accuracy_text(validation.correct, validation.images)}, "
        f"test {accuracy_text(test.correct, test.images)}, "
        f"{counted(len(training.history), 'epoch')}{kept}, {training.seconds:.0f} s "
        f"({training.precision})"
    )


def _figures(epoch: Epoch) -> str:
    return f"loss {epoch.loss:.3f}  validation {100 * epoch.validation_accuracy:.2f} %"
