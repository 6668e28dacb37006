"""The options that specify the input of a model that was made elsewhere."""

from __future__ import annotations

import math
from dataclasses import dataclass

import click

from hemline.arguments import joined
from hemline.console import image_size, say
from hemline.errors import UsageError
from hemline.export.pixel_scale import PixelScale


@dataclass(frozen=True, slots=True, kw_only=True)
class InputOptions:
    """What the user specifies of a model's input; every field is None unless specified.

    scale: what pixels become, without the order of the channels.
    bgr: whether the model expects blue, green and red in this order.
    size: (height, width) of the images, where the file leaves it open.
    """

    scale: PixelScale | None = None
    bgr: bool | None = None
    size: tuple[int, int] | None = None


UNSPECIFIED = InputOptions()


def input_of(
    pixels: str | None,
    mean: str | None,
    std: str | None,
    channel_order: str | None,
    size: tuple[int, int] | None,
) -> InputOptions:
    """Return what the options say."""
    bgr = None if channel_order is None else channel_order == "bgr"
    return InputOptions(scale=parse_pixels(pixels, mean, std), bgr=bgr, size=size)


INPUT_OPTIONS = (
    click.option("--pixels", help="Pixel range of the model's input: 0..255, 0..1 or -1..1."),
    click.option("--mean", help="Instead of --pixels, with --std: one number, or one per channel."),
    click.option("--std", help="See --mean; if below 1, both are of pixels 0 … 1."),
    click.option(
        "--channel-order",
        type=click.Choice(["rgb", "bgr"]),
        help="Channel order of the model's input (default: rgb).",
    ),
    click.option(
        "--size",
        metavar="HxW",
        callback=image_size,
        help="Size of the images, if the file leaves it open.",
    ),
)
input_options = joined("source", input_of, *INPUT_OPTIONS)


def parse_pixels(pixels: str | None, mean: str | None, std: str | None) -> PixelScale | None:
    """Return the scale of --pixels LOW..HIGH or of --mean and --std, None for neither.

    Raises UsageError.
    """
    if pixels is None:
        if (mean is None) != (std is None):
            raise UsageError("--mean and --std go together, on the same scale")
        return None if mean is None or std is None else _normalization(mean, std)
    if mean is not None or std is not None:
        raise UsageError("--pixels and --mean with --std mean the same: give one of them")
    return PixelScale.of(pixels)


def _normalization(mean: str, std: str) -> PixelScale:
    """Return the scale of --mean and --std, of pixels 0 … 1 where every std is below 1.

    No model expects pixels 0 … 255 divided by less than 1.
    """
    means, stds = _numbers("--mean", mean), _numbers("--std", std)
    if not all(value > 0 for value in stds):
        raise UsageError(f"--std must be above 0, not {std}")
    if any(value < 1 for value in stds):
        if max(map(abs, means)) > 1 or max(stds) > 1:
            raise UsageError(
                f"--mean {mean} and --std {std} are on different scales: give both for pixels 0 … "
                "1, or both for pixels 0 … 255"
            )
        say("--mean and --std are for pixels 0 … 1: multiplied by 255")
        means, stds = [255 * value for value in means], [255 * value for value in stds]
    return PixelScale(
        mean=means[0] if len(means) == 1 else tuple(means),
        std=stds[0] if len(stds) == 1 else tuple(stds),
    )


def _numbers(option: str, text: str) -> list[float]:
    """Return one number or three; raises UsageError."""
    try:
        found = [float(each) for each in text.split(",")]
    except ValueError as error:
        raise UsageError(f"{option} is a number or three, such as 127.5, not {text!r}") from error
    if len(found) not in (1, 3) or not all(map(math.isfinite, found)):
        raise UsageError(f"{option} is one number, or one for each of 3 channels, not {text}")
    return found
