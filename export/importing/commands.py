"""`hemline import`, and what `hemline export` of a model file does first."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from hemline.console import image_size, model_data_option, say
from hemline.data.fetch import FetchOptions
from hemline.errors import UsageError
from hemline.export.importing.scale import PixelScale
from hemline.train.nets.models import MODELS
from hemline.train.options import output_option

if TYPE_CHECKING:
    from hemline.contract.card import Card
    from hemline.data.datasets import Images
    from hemline.export.importing.importing import Samples

F = TypeVar("F", bound=Callable[..., Any])
_CHANNELS = (1, 3)

_OPTIONS = (
    click.option("--pixels", help="What pixels become in the model: 0..255, 0..1 or -1..1."),
    click.option("--mean", help="Taken from each pixel, instead of --pixels: one number or r,g,b."),
    click.option("--std", help="Divides what --mean leaves, likewise."),
    click.option(
        "--size",
        metavar="HxW",
        callback=image_size,
        help="Size of the images, if the file leaves it open.",
    ),
    click.option("--trust", is_flag=True, help="Run code that is in the model's file."),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """What the user says of a model's file.

    scale: what pixels become; None where it was not given.
    size: (height, width), likewise.
    trust: run code that is in the file.
    """

    scale: PixelScale | None = None
    size: tuple[int, int] | None = None
    trust: bool = False


def import_options(command: F) -> F:
    """Add the options of an import, as `options: ImportOptions`."""

    @functools.wraps(command)
    def with_options(
        *arguments: Any,
        pixels: str | None,
        mean: str | None,
        std: str | None,
        size: tuple[int, int] | None,
        trust: bool,
        **others: Any,
    ) -> Any:
        options = ImportOptions(scale=parse_scale(pixels, mean, std), size=size, trust=trust)
        return command(*arguments, options=options, **others)

    for option in reversed(_OPTIONS):
        option(with_options)
    return cast("F", with_options)


@click.command("import")
@click.argument("model", type=click.Path(path_type=Path, exists=True))
@output_option("Folder of the checkpoint (default: checkpoints/ and the model's name).")
@import_options
@model_data_option
def import_model(
    model: Path, output: Path | None, options: ImportOptions, data: FetchOptions
) -> None:
    """Import a model that was made elsewhere as a checkpoint.

    MODEL is a .keras, .h5, .tflite or .onnx file, or the folder of a SavedModel. Labelled images,
    with --data, confirm the pixel range.
    """
    folder, card = imported(model, output, options, data)
    for line in summary(card, folder):
        click.echo(line)


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
        scale=options.scale,
        size=options.size,
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
    scale = PixelScale(mean=origin.mean, std=origin.std)
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


def parse_scale(pixels: str | None, mean: str | None, std: str | None) -> PixelScale | None:
    """Return the scale of --pixels LOW..HIGH or of --mean and --std; None for neither.

    Means and deviations below 1, as torchvision writes them, are of pixels 0 … 1. Raises
    UsageError.
    """
    if pixels is not None and (mean is not None or std is not None):
        raise UsageError("--pixels and --mean with --std say the same: give one of them")
    if pixels is not None:
        return _range(pixels)
    if (mean is None) != (std is None):
        raise UsageError("--mean and --std go together")
    if mean is None or std is None:
        return None
    means, deviations = _numbers("--mean", mean), _numbers("--std", std)
    if min(deviations) <= 0:
        raise UsageError(f"--std must be above 0, not {std}")
    if max(deviations) < 1 and 0 <= min(means) <= max(means) <= 1:
        say("--mean and --std are of pixels 0 … 1: multiplied by 255")
        means, deviations = (tuple(255 * each for each in some) for some in (means, deviations))
    return PixelScale(mean=means, std=deviations)


def _range(pixels: str) -> PixelScale:
    try:
        low, high = (float(end) for end in pixels.split(".."))
    except ValueError as error:
        raise UsageError(f"--pixels is LOW..HIGH, such as 0..1, not {pixels!r}") from error
    if not (low < high and math.isfinite(high - low)):
        raise UsageError(f"--pixels must rise, {pixels!r} does not")
    return PixelScale.of_range(low, high)


def _numbers(option: str, text: str) -> tuple[float, ...]:
    try:
        values = tuple(float(each) for each in text.split(","))
    except ValueError as error:
        raise UsageError(f"{option} is a number or three, such as 127.5, not {text!r}") from error
    if len(values) not in _CHANNELS or not all(map(math.isfinite, values)):
        raise UsageError(f"{option} is one number or one for each of 3 channels, not {text!r}")
    return values


def _samples(data: FetchOptions) -> Samples:
    from hemline.export.user_images import read_images

    own = replace(data, reading=replace(data.reading, labels=None))  # those are the model's

    def labelled(shape: tuple[int, int, int]) -> Images | None:
        images = read_images(shape, own)
        return images if images.labelled else None

    return labelled
