"""`hemline import`, and what `hemline export` of a model file does first."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from hemline.arguments import PATH, output_option
from hemline.console import data_words, model_data_option, next_step, say
from hemline.data.fetch import FetchOptions
from hemline.export.input_options import UNSPECIFIED, InputOptions, input_options
from hemline.export.pixel_scale import PixelScale
from hemline.train.nets.models import MODELS

if TYPE_CHECKING:
    from hemline.contract.card import Card
    from hemline.data.datasets import Images
    from hemline.export.importing.importing import Samples

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
    folder, card = imported(model, output, options, data)
    for line in summary(card, folder):
        click.echo(line)
    next_step("export", folder, *data_words(data))


def imported(
    path: Path, folder: Path | None, options: ImportOptions, data: FetchOptions
) -> tuple[Path, Card]:
    """Import a model unless it is imported already; return its checkpoint and card."""
    from hemline.export.importing.importing import ImportRequest, checkpoint_name, import_model

    name = checkpoint_name(path)
    name = f"{name}-imported" if name in MODELS else name
    request = ImportRequest(
        path=path,
        folder=folder or Path("checkpoints") / name,
        labels=data.reading.labels,
        scale=options.source.scale,
        bgr=options.source.bgr,
        size=options.source.size,
        trust=options.trust,
    )
    samples = None if data.folder is None else _samples(data)
    return request.folder, import_model(request, samples=samples, say=say)


def summary(card: Card, folder: Path) -> list[str]:
    """Return what was imported, and what nobody confirmed."""
    model, origin = card.model, card.imported
    if origin is None:
        raise AssertionError("an imported model has an import card")
    height, width, channels = model.shape
    scale = PixelScale(mean=origin.mean, std=origin.std, bgr=origin.bgr)
    labels = ", ".join(model.labels[:4]) + (", …" if len(model.labels) > 4 else "")
    lines = [
        f"{folder}: {origin.file} ({origin.kind}), {height} × {width} × {channels}, pixel range "
        f"{scale.text}, {len(model.labels)} classes ({labels})",
        f"{model.parameters:,} parameters, {model.macs:,} multiply-accumulates; probabilities "
        f"within {origin.largest_difference:.1g} of the source on {origin.reference_images} inputs",
    ]
    if origin.unconfirmed:
        tried = "these images do not decide it"
        advice = tried if origin.images_sha256 else "labelled images can confirm it (--data)"
        lines.append(f"not confirmed: {', '.join(origin.unconfirmed)}; {advice}")
    return lines


def _samples(data: FetchOptions) -> Samples:
    from hemline.export.user_images import read_images

    own = replace(data, reading=replace(data.reading, labels=None))  # those are the model's

    def labelled(shape: tuple[int, int, int]) -> Images | None:
        images = read_images(shape, own)
        return images if images.labelled else None

    return labelled
