"""Options that write the tables of a command into files, one mechanism for every command."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from hemline.arguments import FILE, joined
from hemline.files import write_bytes
from hemline.tables import Table, as_csv, as_json, as_markdown

Export = Callable[..., None]  # of a table, and others by name
_FORMATS = {"csv": as_csv, "markdown": as_markdown, "json": as_json}


def _option(name: str) -> Callable[[Any], Any]:
    text = f"Write the table to a file, as {name if name == 'markdown' else name.upper()}."
    return click.option(f"--export-{name}", type=FILE, help=text)


def _write(named: dict[str, Path | None], table: Table, **others: Table) -> None:
    """Write a table to each file that is named, and others beside it: FILE-name.suffix."""
    for name, path in named.items():
        if path is None:
            continue
        write_bytes(path, f"{_FORMATS[name](table).rstrip()}\n".encode())
        for also, other in others.items():
            beside = path.with_name(f"{path.stem}-{also}{path.suffix}")
            write_bytes(beside, f"{_FORMATS[name](other).rstrip()}\n".encode())


def _writer(**named: Path | None) -> Export:
    return partial(_write, {name.removeprefix("export_"): path for name, path in named.items()})


# --export-csv, --export-markdown and --export-json, as `export: Export`
export_options = joined("export", _writer, *map(_option, _FORMATS))
