"""Options of the training commands: those they share, and the fields of a recipe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from hemline.data.datasets import DATASETS
from hemline.train.recipes.recipe import RECIPES, Recipe

_HEADINGS = {
    name: f"Recipe: {section}" for section, names in Recipe.sections().items() for name in names
}

recipe_option = click.option(
    "--recipe",
    "recipe_given",
    metavar="RECIPE",
    help=f"Recipe to start from: one of {', '.join(RECIPES)}; a TOML file; or a checkpoint "
    "(default: the model's own).",
)
weights_option = click.option(
    "--weights",
    metavar="WEIGHTS",
    help="Transfer models: imagenet (fetched by Keras), a file of weights, or random "
    "(default: imagenet).",
)
dataset_option = click.option(
    "--dataset",
    type=click.Choice(list(DATASETS)),
    default="fashion-mnist",
    show_default=True,
    help="Data set to train on, unless --data names a custom one.",
)


def seed_option(of: str) -> Callable[..., Any]:
    """Return --seed; `of` is what it decides."""
    return click.option(
        "--seed",
        default=1,
        show_default=True,
        type=click.IntRange(0, 2**32 - 1),
        help=f"Random seed for {of}.",
    )


def output_option(text: str) -> Callable[..., Any]:
    """Return -o, --output with its help."""
    folder = click.Path(path_type=Path, file_okay=False)
    return click.option("-o", "--output", type=folder, help=text)


class RecipeCommand(click.Command):
    """A command with `recipe_options`: its own options come first, then those by section."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a list of options for each section."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for each in self.get_params(ctx):
            if isinstance(each, click.Argument):
                continue  # it is in the first line
            heading = _HEADINGS.get(each.name or "", "Options")
            if (line := each.get_help_record(ctx)) is not None:
                sections.setdefault(heading, []).append(line)
        for heading, lines in sections.items():
            with formatter.section(heading):
                formatter.write_dl(lines)


def recipe_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add an option for each field of Recipe; those not given stay None."""
    for name, (kind, default, text) in reversed(Recipe.options().items()):
        flag = f"--{name.replace('_', '-')}"
        flag = f"{flag}/--no-{name.replace('_', '-')}" if kind is bool else flag
        told = f"{text[0].upper()}{text[1:]} (fast: {_shown(default)})."
        command = click.option(flag, name, type=kind, default=None, help=told)(command)
    return command


def _shown(default: object) -> object:
    if isinstance(default, bool):
        return "yes" if default else "no"
    return "the model's own" if default is None else default
