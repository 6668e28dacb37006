"""`hemline import`, and what `hemline export` of a model file does first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from hemline.arguments import PATH, flag, joined, output_option
from hemline.console import data_words, model_data_option, next_step, repeated
from hemline.contract.checkpoint import read_card
from hemline.data.class_names import unknown_among
from hemline.data.fetch import FetchOptions
from hemline.export.api import ImportResult
from hemline.export.api import import_model as import_as_checkpoint
from hemline.export.input_options import INPUT_OPTIONS, UNSPECIFIED, InputOptions, input_of


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """What the user says of a model's file.

    source: its input.
    trust: run code that is in the file.
    """

    source: InputOptions = UNSPECIFIED
    trust: bool = False


def _options(trust: bool, **source: Any) -> ImportOptions:
    return ImportOptions(source=input_of(**source), trust=trust)


# what an import needs to know, as `options: ImportOptions`
import_options = joined(
    "options", _options, *INPUT_OPTIONS, flag("--trust", "Run code that is in the model's file.")
)


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
    for line in (*imported.lines, *unknown_among(read_card(imported.checkpoint).model.labels)):
        click.echo(line)
    if data.folder is None:
        next_with_images(model, imported.checkpoint)
    else:
        next_step("export", imported.checkpoint, *data_words(data))


def next_with_images(path: Path, checkpoint: Path, *options: str) -> None:
    """Print the command that exports a model's file with images, which confirm how it is used.

    options: of this command, to repeat.
    """
    labels: tuple[str, ...] = repeated("labels")
    origin = read_card(checkpoint).imported
    if not labels and origin is not None and origin.labels_confirmed == "nobody":
        labels = ("--labels", "FILE")
    source = repeated("pixels", "mean", "std", "channel_order", "size", "trust")
    next_step("export", path, *labels, *source, *options, "--data", "FOLDER")


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
