"""`hemline import`, and what `hemline export` of a model file does first."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from hemline.arguments import PATH, output_option
from hemline.console import data_words, model_data_option, next_step
from hemline.data.fetch import FetchOptions
from hemline.export.api import ImportResult
from hemline.export.api import import_model as import_as_checkpoint
from hemline.export.input_options import UNSPECIFIED, InputOptions, input_options

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """What the user says of a model's file.

    source: its input.
    trust: run code that is in the file.
    """

    source: InputOptions = UNSPECIFIED
    trust: bool = False


def import_options(command: F) -> F:
    """Add the options of an import, as `options: ImportOptions`."""

    @functools.wraps(command)
    def with_options(*arguments: Any, source: InputOptions, trust: bool, **others: Any) -> Any:
        options = ImportOptions(source=source, trust=trust)
        return command(*arguments, options=options, **others)

    help_text = "Run code that is in the model's file."
    trusting = click.option("--trust", is_flag=True, help=help_text)(with_options)
    return input_options(cast("F", trusting))


@click.command("import")
@click.argument("model", type=PATH)
@output_option("Folder of the checkpoint (default: checkpoints/ and the model's name).")
@import_options
@model_data_option
def import_model(
    model: Path, output: Path | None, options: ImportOptions, data: FetchOptions
) -> None:
    """Import a model that was trained elsewhere.

    MODEL is a .keras, .h5, .tflite or .onnx file, or the folder of a SavedModel. The checkpoint can
    be exported like one that Hemline trained. Labelled images (--data) confirm the pixel range.
    """
    imported = import_file(model, output, options, data)
    for line in imported.lines:
        click.echo(line)
    next_step("export", imported.checkpoint, *data_words(data))


def import_file(
    path: Path, folder: Path | None, options: ImportOptions, data: FetchOptions
) -> ImportResult:
    """Import a model as the options say."""
    source = options.source
    return import_as_checkpoint(
        path,
        output=folder,
        pixels=source.scale,
        bgr=source.bgr,
        size=source.size,
        trust=options.trust,
        data=data,
    )
