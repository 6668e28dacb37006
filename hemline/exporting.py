"""Options that write the tables of a command into files, one mechanism for every command."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from hemline.files import write_bytes
from hemline.tables import Table, as_csv, as_json, as_markdown

F = TypeVar("F", bound=Callable[..., Any])
Export = Callable[..., None]  # of a table, and others by name
_FORMATS: dict[str, Callable[[Table], str]] = {
    "csv": as_csv,
    "markdown": as_markdown,
    "json": as_json,
}


def export_options(command: F) -> F:
    """Add --export-csv, --export-markdown and --export-json, as `export: Export`."""

    @wraps(command)
    def with_export(*arguments: Any, **others: Any) -> Any:
        named = {name: others.pop(f"export_{name}") for name in _FORMATS}
        return command(*arguments, export=partial(_write, named), **others)

    for name in reversed(_FORMATS):
        text = f"Write the table to a file, as {name if name == 'markdown' else name.upper()}."
        path = click.Path(path_type=Path, dir_okay=False)
        click.option(f"--export-{name}", type=path, metavar="FILE", help=text)(with_export)
    return cast("F", with_export)


def _write(named: dict[str, Path | None], table: Table, **others: Table) -> None:
    """Write a table to each file that is named, and others beside it: FILE-name.suffix."""
    for name, path in named.items():
        if path is None:
            continue
        write_bytes(path, f"{_FORMATS[name](table).rstrip()}\n".encode())
        for also, other in others.items():
            beside = path.with_name(f"{path.stem}-{also}{path.suffix}")
            write_bytes(beside, f"{_FORMATS[name](other).rstrip()}\n".encode())
