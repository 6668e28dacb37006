"""The fields of a recipe as options of a command, under headings of their own in its help."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from hemline.train.recipes.recipe import Recipe

_OWN = "Options"


class RecipeOption(click.Option):
    """An option that changes a field of the recipe; `section` is its heading in the help."""

    def __init__(self, *arguments: Any, section: str, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.section = section


class RecipeCommand(click.Command):
    """A command with `recipe_options`: its own options come first, then those by section."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a list of options for each section."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for each in self.get_params(ctx):
            if isinstance(each, click.Argument):
                continue  # it stands in the first line
            heading = each.section if isinstance(each, RecipeOption) else _OWN
            if (line := each.get_help_record(ctx)) is not None:
                sections.setdefault(heading, []).append(line)
        for heading, lines in sections.items():
            with formatter.section(heading):
                formatter.write_dl(lines)


def recipe_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add an option for each field of Recipe; those not given stay None."""
    options = Recipe.options()
    for section, names in reversed(Recipe.sections().items()):
        for name in reversed(names):
            kind, default, text = options[name]
            flag = f"--{name.replace('_', '-')}"
            flag = f"{flag}/--no-{name.replace('_', '-')}" if kind is bool else flag
            command = click.option(
                flag,
                name,
                cls=RecipeOption,
                section=f"Recipe: {section}",
                type=kind,
                default=None,
                help=f"{text[0].upper()}{text[1:]} (fast: {_shown(default)}).",
            )(command)
    return command


def _shown(default: object) -> object:
    if isinstance(default, bool):
        return "yes" if default else "no"
    return "the model's own" if default is None else default
