"""Options of the training commands: those they share, and the fields of a recipe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from hemline.data.datasets import DATASETS
from hemline.train.nets.models import MODELS
from hemline.train.recipes.recipe import RECIPES, Recipe

_HEADINGS = {
    name: f"Recipe: {section}" for section, names in Recipe.sections().items() for name in names
}

MODELS_EPILOG = "\b\nModels:\n" + "\n".join(
    f"  {row.name:<12} {row.summary}" for row in MODELS.values()
)
_OF_RECIPE = "hemline.help-recipe"  # key of a context's meta

recipe_option = click.option(
    "--recipe",
    "recipe_given",
    metavar="RECIPE",
    help=f"{', '.join(RECIPES)}, a TOML file or a checkpoint (default: the model's own).",
)
weights_option = click.option(
    "--weights",
    metavar="WEIGHTS",
    help="Of transfer models: imagenet (default, downloaded), a file, or random.",
)
dataset_option = click.option(
    "--dataset",
    type=click.Choice(list(DATASETS)),
    default="fashion-mnist",
    show_default=True,
    help="Data set, unless --data names custom images.",
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


class RecipeCommand(click.Command):
    """A command with `recipe_options`: --help shows its own, --help-recipe those by section."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a list of options for each section."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for each in self.get_params(ctx):
            heading = _HEADINGS.get(each.name or "", "Options")
            line = None if isinstance(each, click.Argument) else each.get_help_record(ctx)
            if line is not None and ctx.meta.get(_OF_RECIPE, False) == (heading != "Options"):
                sections.setdefault(heading, []).append(line)
        for heading, lines in sections.items():
            with formatter.section(heading):
                formatter.write_dl(lines)


def _help_recipe(context: click.Context, _: click.Parameter, given: bool) -> None:
    if given and not context.resilient_parsing:
        context.meta[_OF_RECIPE] = True
        click.echo(context.get_help())
        context.exit()


def recipe_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add an option for each field of Recipe, None if not given, and --help-recipe."""
    command = click.option(
        "--help-recipe",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_help_recipe,
        help=f"Show the {len(_HEADINGS)} options of the recipe and exit.",
    )(command)
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
