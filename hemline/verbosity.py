"""How much a command tells: -v and -q, before a command or after it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any] | click.Command)
# of a type of click to what stands for its values in the help
_VALUES = {"integer": "N", "integer range": "N", "float": "X", "float range": "X", "file": "FILE"}
_VALUES |= {"directory": "FOLDER"}
_LONG = 10  # characters of choices that move from the name of an option into its help


def verbosity_options(command: F) -> F:
    """Add the options to a command; what they say counts for its context's root."""
    for flag, text in (
        ("quiet", "Show results and errors only."),
        ("verbose", "Also show what is tried and what is skipped."),
    ):
        click.option(
            f"-{flag[0]}",
            f"--{flag}",
            flag,
            is_flag=True,
            help=text,
            expose_value=False,
            is_eager=True,
            callback=_set,
        )(command)
    return command


def with_verbosity(command: click.Command) -> click.Command:
    """Add the options to a command that is run by its name, and to those of a group.

    The values of all its options get short names, so that most have one line in the help.
    """
    commands = command.commands.values() if isinstance(command, click.Group) else (command,)
    for each in commands:
        if not any(param.name == "quiet" for param in each.params):
            verbosity_options(each)
        for option in each.params:
            if isinstance(option, click.Option) and option.metavar is None:
                option.metavar = _VALUES.get(option.type.name)
                choices = ", ".join(getattr(option.type, "choices", ()))
                if len(choices) > _LONG:
                    option.metavar, option.help = "NAME", f"{str(option.help)[:-1]}: {choices}."
    return command


def _set(context: click.Context, option: click.Parameter, given: bool) -> None:
    root = context.find_root()
    root.obj = root.obj or {}
    root.obj[option.name] = root.obj.get(option.name, False) or given
    if context is root:
        return  # the command that follows may say more
    quiet, verbose = (root.obj.get(name, False) for name in ("quiet", "verbose"))
    level = logging.ERROR if quiet else logging.INFO if verbose else logging.WARNING
    # click handles what was given first, so that the first call knows it
    logging.basicConfig(level=level, format="%(levelname)s: %(message)s", stream=sys.stderr)
    logging.getLogger("hemline").setLevel(level)
