"""`hemline inspect`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hemline import files
from hemline.arguments import FILE, json_option
from hemline.console import say
from hemline.errors import BackendError, UsageError
from hemline.tables import as_text

if TYPE_CHECKING:
    from hemline.export.inspection.models import Inspected
    from hemline.model_files.contents import Contents

_GRAPHS = (".svg", ".html")


@click.command()
@click.argument(
    "path",
    metavar="[FILE|BUNDLE|CHECKPOINT]",
    required=False,
    type=click.Path(path_type=Path, exists=True, readable=False),
)
@json_option("Everything, as one JSON document.")
@click.option("--graph", type=FILE, help="Also draw the operators into an .svg or .html file.")
def inspect(path: Path | None, as_json: bool, graph: Path | None) -> None:
    """Show a model's operators and tensors, or this machine.

    Prints the stamp, the plan, each operator with its output, weights and multiply-accumulates, and
    the grid of each tensor. Of a bundle, the file that would run here is shown. The operators of a
    .tflite file need LiteRT, those of an .onnx file and of a checkpoint the package onnx. Without a
    path, prints this machine and its runtimes.
    """
    if graph is not None and graph.suffix not in _GRAPHS:
        raise UsageError(f"--graph writes .svg or .html, not {graph.name}")
    if path is None:
        if graph is not None:
            raise UsageError("--graph needs a model")
        from hemline.runtime.information import machine_text

        click.echo(machine_text(as_json=as_json))
        return
    from hemline.export.inspection.models import inspect_model

    found = inspect_model(path)
    click.echo(_json(found) if as_json else _text(found))
    if found.contents is None:
        say(f"operators and tensors are not shown: {found.missing}")
        if graph is not None:
            raise BackendError(f"{graph} was not drawn: {found.missing}")
    elif graph is not None:
        _draw(found.contents, found.title, graph)


def _json(found: Inspected) -> str:
    contents = None if found.contents is None else found.contents.document()
    return json.dumps({**found.document, "contents": contents}, indent=1)


def _text(found: Inspected) -> str:
    from hemline.export.inspection.text import operator_table, summary_rows, tensor_table
    from hemline.runtime.information import rows_text

    if found.contents is None:
        return rows_text(found.rows)
    rows, shown = found.rows | summary_rows(found.contents), found.contents.computing()
    tables = [operator_table(shown)]
    if any(tensor.scales for tensor in shown.tensors):
        tables.append(tensor_table(shown))
    return "\n\n".join((rows_text(rows), *map(as_text, tables)))


def _draw(contents: Contents, title: str, path: Path) -> None:
    from hemline.export.inspection.picture import draw
    from hemline.pages import Page, write_page

    picture = draw(contents.computing(), title)
    if path.suffix == ".svg":
        files.write_bytes(path, picture.encode())
    else:
        lead = [f'<div class="wide">{picture}</div>']
        write_page(path, Page(title=title, lead=lead, footer="Hemline"))
    say(f"graph: {path}")
