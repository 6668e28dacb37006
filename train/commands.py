"""`hemline train` and `hemline recipe`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hemline.arguments import FOLDER, flag, output_option, ray_option, ray_task_options
from hemline.console import data_option, data_words, next_step, repeated, say
from hemline.contract.card import Card
from hemline.data.class_names import unknown_among
from hemline.data.fetch import FetchOptions
from hemline.errors import InterruptedWorkError, UsageError
from hemline.small_sets import few_images
from hemline.tables import as_text
from hemline.train import options
from hemline.train.api import train as train_model
from hemline.train.api import train_seeds
from hemline.train.nets.models import find_model
from hemline.train.overfitting import overfitting_line
from hemline.train.recipes.recipe_file import named_recipe, recipe_toml

if TYPE_CHECKING:
    from hemline.cluster import Resources
    from hemline.train.api import TrainResult

_AFTER_EPOCH = " after the last complete epoch"


def _seeds(_: click.Context, __: click.Parameter, given: str | None) -> tuple[int, ...]:
    """Return the numbers of --seeds; raises UsageError."""
    words = given.split(",") if given else []
    seeds = tuple(int(word) for word in words if word.strip().isdecimal())
    if len(seeds) < len(words) or len(set(seeds)) < len(seeds) or max(seeds, default=0) >= 2**32:
        raise UsageError(f"--seeds {given} is not a list of different numbers, as in 1,2,3")
    return seeds


@click.command(cls=options.RecipeCommand, epilog=options.MODELS_EPILOG)
@click.argument("model", required=False)
@options.recipe_option
@options.seed_option("weights, order and augmentation")
@click.option(
    "--seeds",
    callback=_seeds,
    metavar="N,N,…",
    help="Train with several seeds side by side, in folders OUTPUT-seed-N.",
)
@ray_option("the trainings of --seeds")
@ray_task_options("a training")
@output_option("Folder of the checkpoint (default: checkpoints/MODEL, or MODEL-DATA with --data).")
@flag("--force", "Replace a finished checkpoint in the folder.")
@flag("--restart", "Discard an unfinished run in the folder.")
@click.option(
    "--teacher",
    "teachers",
    multiple=True,
    type=FOLDER,
    help="Checkpoint to distill from; repeatable, their outputs are averaged.",
)
@options.weights_option
@click.option(
    "--tensorboard",
    type=FOLDER,
    help="Folder to write the figures of each epoch to, for TensorBoard.",
)
@click.option(
    "--folds",
    type=click.IntRange(2, 20),
    help="Also cross-validate training and export, for few images: accuracy of each file on them.",
)
@options.dataset_option
@data_option
@options.recipe_options
def train(
    model: str | None,
    recipe_given: str | None,
    seed: int,
    seeds: tuple[int, ...],
    ray_address: str | None,
    resources: Resources,
    output: Path | None,
    force: bool,
    restart: bool,
    teachers: tuple[Path, ...],
    weights: str | None,
    tensorboard: Path | None,
    folds: int | None,
    dataset: str,
    data: FetchOptions,
    **given: Any,
) -> None:
    """Train a model and write its checkpoint.

    Without MODEL, it is that of the checkpoint whose recipe is used, or hem-50k. To resume an
    interrupted training, use the same command again. Each field of the recipe is an option too: see
    --help-recipe.
    """
    changes = {key: value for key, value in given.items() if value is not None}
    if seeds:
        _require_for_seeds(tensorboard=tensorboard, folds=folds)
        with resumable(restart):
            several = train_seeds(
                seeds,
                model,
                data=data,
                dataset=dataset,
                output=output,
                recipe=recipe_given,
                changes=changes,
                teachers=teachers,
                weights=weights,
                force=force,
                restart=restart,
                ray=ray_address,
                resources=resources,
            )
        _print_seeds(several, data)
        return
    if ray_address is not None:
        raise UsageError("--ray trains several seeds side by side: name them with --seeds")
    after = " with the first fold" if folds else _AFTER_EPOCH
    with resumable(restart, after=after):
        trained = train_model(
            model,
            data=data,
            dataset=dataset,
            output=output,
            recipe=recipe_given,
            changes=changes,
            seed=seed,
            teachers=teachers,
            weights=weights,
            tensorboard=tensorboard,
            folds=folds,
            force=force,
            restart=restart,
        )
    if trained.folds is not None:
        click.echo(as_text(trained.folds))
    click.echo(trained.summary)
    if memorised := overfitting_line(trained.card.trained):
        say(f"{memorised}: {_against_overfitting(trained.card)}")
    for line in unknown_among(trained.card.model.labels):
        say(line)
    for line in few_images(trained.card.trained.score("test").images):
        say(f"{line}{'' if folds else '; or cross-validate: --folds 5 --force'}")
    next_step("export", trained.checkpoint, *data_words(data))


def _require_for_seeds(**given: object) -> None:
    """Raise UsageError for options that go with one training only."""
    if repeated("seed"):
        raise UsageError("--seed and --seeds both name seeds: use one of them")
    if found := [name for name, value in given.items() if value is not None]:
        raise UsageError(f"--{found[0]} goes with one training: omit --seeds")


def _print_seeds(several: list[TrainResult], data: FetchOptions) -> None:
    from hemline.train.seeds import seeds_table, spread_lines

    click.echo(as_text(seeds_table([(each.checkpoint, each.card) for each in several])))
    click.echo("\n".join(("", *spread_lines([each.card for each in several]))))
    best = max(several, key=lambda each: each.validation_accuracy)
    next_step("export", best.checkpoint, *data_words(data))


def _against_overfitting(card: Card) -> str:
    """Return what helps that this training did not have."""
    flips = card.trained.recipe_fields.get("flip")
    ways = ["add images", *([] if flips else ["--flip if mirrored images are of the same class"])]
    if find_model(card.model.name).transfer_recipe is None:
        ways.append("start from a pretrained model: hemline train mobilenetv2")
    return ", or ".join(ways)


@click.command()
@click.argument("recipe", default="fast")
def recipe(recipe: str) -> None:
    """Print a recipe as a TOML file to edit.

    RECIPE is fast, quick, plain, plateau, scratch, transfer, a TOML file, or the folder of a
    checkpoint. Train with the edited file: hemline train --recipe FILE.
    """
    click.echo(recipe_toml(named_recipe(recipe)[1]), nl=False)


@contextlib.contextmanager
def resumable(restart: bool, *, kept: str = "", after: str = _AFTER_EPOCH) -> Iterator[None]:
    """Say what is kept and how to go on when the user interrupts."""
    try:
        yield
    except KeyboardInterrupt as error:
        again = " without --restart" if restart else ""
        message = f"interrupted: {kept}run the same command{again} to continue{after}"
        raise InterruptedWorkError(message) from error
