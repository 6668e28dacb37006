"""`hemline train`."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from hemline.card import Card, Epoch
from hemline.console import data_option, fetch_options, quiet, say
from hemline.errors import HemlineError, UsageError
from hemline.fetch import load_images
from hemline.train.checkpoint import is_checkpoint
from hemline.train.models import MODELS, find_model
from hemline.train.recipe import Recipe, find_recipe


def recipe_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add an option for each field of Recipe; those not given stay None."""
    for name, (kind, default, text) in reversed(Recipe.options().items()):
        flag = f"--{name.replace('_', '-')}"
        flag = f"{flag}/--no-{name.replace('_', '-')}" if kind is bool else flag
        text = f"{text[0].upper()}{text[1:]} (fast: {default})."
        command = click.option(flag, name, type=kind, default=None, help=text)(command)
    return command


@click.command()
@click.argument("model", default="hem-50k")
@click.option("--recipe", "recipe_name", help="fast or quick (default: the model's own).")
@click.option(
    "--seed",
    default=1,
    show_default=True,
    type=click.IntRange(0, 2**32 - 1),
    help="Of weights, order and augmentation.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the checkpoint (default: checkpoints/MODEL).",
)
@click.option("--force", is_flag=True, help="Replace a finished checkpoint in the folder.")
@click.option("--restart", is_flag=True, help="Forget an unfinished run in the folder.")
@data_option
@recipe_options
def train(
    model: str,
    recipe_name: str | None,
    seed: int,
    output: Path | None,
    force: bool,
    restart: bool,
    data: Path | None,
    **given: Any,
) -> None:
    """Train a model on Fashion-MNIST and write its checkpoint.

    The same command goes on where an interrupted one stopped.
    """
    row = find_model(model)
    name = recipe_name or row.recipe
    changes = {key: value for key, value in given.items() if value is not None}
    recipe = replace(find_recipe(name), **changes)
    folder = output or Path("checkpoints") / row.name
    if is_checkpoint(folder) and not force:
        raise UsageError(f"{folder} holds a finished checkpoint: use --force or another --output")
    with _resumable(restart):
        card = run_training(
            model,
            recipe,
            f"{name}, changed" if changes else name,
            seed,
            folder,
            data,
            restart=restart,
        )
    click.echo(summary(card, folder))


def run_training(
    model: str,
    recipe: Recipe,
    recipe_name: str,
    seed: int,
    folder: Path,
    data: Path | None,
    *,
    restart: bool = False,
) -> Card:
    """Load the data, train with progress on stderr, and return the card."""
    images = load_images("fashion-mnist", fetch_options(data))
    say(f"training {model} ({MODELS[model].summary}) by recipe {recipe_name}, seed {seed}")
    from hemline.train.tensorflow import quiet_keras

    quiet_keras()
    from hemline.train.training import TrainRequest
    from hemline.train.training import train as train_model

    request = TrainRequest(
        model=find_model(model),
        recipe=recipe,
        recipe_name=recipe_name,
        seed=seed,
        folder=folder,
        restart=restart,
    )
    with _EpochPrinter(recipe.epochs) as printer:
        return train_model(request, images, on_epoch=printer)


@contextlib.contextmanager
def _resumable(restart: bool) -> Iterator[None]:
    """Say how to go on when the user interrupts."""
    try:
        yield
    except KeyboardInterrupt as error:
        again = "the same command without --restart" if restart else "the same command"
        raise HemlineError(f"interrupted: {again} goes on after the last whole epoch") from error


def summary(card: Card, folder: Path) -> str:
    """Return one line on a finished training."""
    validation, test = card.score("validation"), card.score("test")
    return (
        f"{folder}: {card.model}, {card.parameters:,} parameters, {card.macs / 1e6:.1f} M MAC, "
        f"validation {100 * validation.accuracy:.2f} %, test {100 * test.accuracy:.2f} %, "
        f"{card.training_seconds:.0f} s ({card.precision})"
    )


class _EpochPrinter:
    """A progress bar over epochs on a terminal, a plain line for each epoch elsewhere."""

    def __init__(self, epochs: int) -> None:
        self._bar: Any = None
        if sys.stderr.isatty() and not quiet():
            self._bar = click.progressbar(
                length=epochs,
                label="training",
                file=sys.stderr,
                item_show_func=lambda epoch: _figures(epoch) if epoch else "",
            )

    def __call__(self, epoch: Epoch, epochs: int) -> None:
        if self._bar is None:
            say(f"epoch {epoch.epoch:>3}/{epochs}  {_figures(epoch)}  {epoch.seconds:.1f} s")
            return
        if self._bar.pos == 0 and epoch.epoch > 1:
            self._bar.update(epoch.epoch - 1)  # a resumed run starts where it stopped
        self._bar.update(1, epoch)

    def __enter__(self) -> _EpochPrinter:
        if self._bar is not None:
            self._bar.__enter__()
        return self

    def __exit__(self, *problem: Any) -> None:
        if self._bar is not None:
            self._bar.__exit__(*problem)


def _figures(epoch: Epoch) -> str:
    return f"loss {epoch.loss:.3f}  validation {100 * epoch.validation_accuracy:.2f} %"
