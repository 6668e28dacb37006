"""Options of quantization without training, for the commands that export."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from hemline.errors import UsageError
from hemline.export.quantization.calibrators.table import CALIBRATORS, find_calibrator

if TYPE_CHECKING:
    from hemline.export.quantization.options import PostTrainingOptions

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--calibrator",
        default="min-max",
        show_default=True,
        help=f"How 8-bit ranges are found: {', '.join(CALIBRATORS)}.",
    ),
    click.option(
        "--calibration-images",
        type=int,
        metavar="N",
        help="Images for 8-bit ranges (default: 500, or all).",
    ),
    click.option(
        "--calibration", "older_count", type=int, hidden=True, help="As --calibration-images."
    ),
    click.option("--calibration-seed", type=int, metavar="N", help="Random seed for their choice."),
    click.option(
        "--equalization", is_flag=True, help="Balance the weight ranges of neighbouring layers."
    ),
    click.option("--bias-correction", is_flag=True, help="Correct mean errors in the biases."),
)


def post_training_options(command: F) -> F:
    """Add the options of quantization without training, as `post_training`."""

    @functools.wraps(command)
    def with_options(
        *arguments: Any,
        calibrator: str,
        calibration_images: int | None,
        older_count: int | None,
        calibration_seed: int | None,
        equalization: bool,
        bias_correction: bool,
        **others: Any,
    ) -> Any:
        count = older_count if calibration_images is None else calibration_images
        options = _options(calibrator, count, calibration_seed, equalization, bias_correction)
        return command(*arguments, post_training=options, **others)

    for option in reversed(_OPTIONS):
        option(with_options)
    return cast("F", with_options)


def _options(
    calibrator: str, count: int | None, seed: int | None, equalization: bool, correction: bool
) -> PostTrainingOptions:
    from hemline.export.quantization.calibration import SEED
    from hemline.export.quantization.options import PostTrainingOptions

    if count is not None and count < 1:
        raise UsageError("--calibration-images must be at least 1")
    if seed is not None and seed < 0:
        raise UsageError("--calibration-seed must not be negative")
    return PostTrainingOptions(
        calibrator=find_calibrator(calibrator).name,
        images=count,
        seed=SEED if seed is None else seed,
        equalization=equalization,
        bias_correction=correction,
    )
