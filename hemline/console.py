"""What commands share in talking to the user: progress on stderr, options with one meaning."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from hemline.errors import HemlineError
from hemline.fetch import FetchOptions

F = TypeVar("F", bound=Callable[..., Any])


def say(message: str) -> None:
    """Print a progress line on stderr, unless the user asked for quiet."""
    if not quiet():
        click.echo(message, err=True)


def quiet() -> bool:
    """Tell whether the user asked for results and errors only."""
    context = click.get_current_context(silent=True)
    return context is not None and bool((context.find_root().obj or {}).get("quiet"))


def data_option(command: F) -> F:
    """Add --data (HEMLINE_DATA) to a command, given to it as `data`."""
    option = click.option(
        "--data",
        type=click.Path(path_type=Path, exists=True, file_okay=False),
        envvar="HEMLINE_DATA",
        show_envvar=True,
        help="Folder with the four IDX files (.gz or not); nothing is downloaded then.",
    )
    return option(command)


def fetch_options(data: Path | None, *, offline: bool = False) -> FetchOptions:
    """Return where to look for a data set."""
    return FetchOptions(folder=data, offline=offline)


def require_matplotlib() -> None:
    """Raise HemlineError when no picture can be drawn here, before the work for it begins."""
    if importlib.util.find_spec("matplotlib") is None:
        raise HemlineError("pictures need matplotlib: pip install matplotlib")
