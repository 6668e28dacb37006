"""Options of quantization without training, for the commands that export."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from hemline.arguments import flag, joined
from hemline.console import AliasedOption
from hemline.errors import UsageError
from hemline.export.quantization.calibrators.table import CALIBRATORS, find_calibrator

if TYPE_CHECKING:
    from hemline.export.quantization.options import PostTrainingOptions


def _options(
    calibrator: str,
    calibration_images: int | None,
    calibration_seed: int | None,
    equalization: bool,
    bias_correction: bool,
) -> PostTrainingOptions:
    from hemline.export.quantization.calibration import SEED
    from hemline.export.quantization.options import PostTrainingOptions

    if calibration_images is not None and calibration_images < 1:
        raise UsageError("--calibration-images must be at least 1")
    if calibration_seed is not None and calibration_seed < 0:
        raise UsageError("--calibration-seed must not be negative")
    return PostTrainingOptions(
        calibrator=find_calibrator(calibrator).name,
        images=calibration_images,
        seed=SEED if calibration_seed is None else calibration_seed,
        equalization=equalization,
        bias_correction=bias_correction,
    )


# quantization without training, as `post_training: PostTrainingOptions`
post_training_options = joined(
    "post_training",
    _options,
    click.option(
        "--calibrator",
        default="min-max",
        show_default=True,
        help=f"How 8-bit ranges are found: {', '.join(CALIBRATORS)}.",
    ),
    click.option(
        "--calibration-images",
        "--calibration",
        "calibration_images",
        cls=AliasedOption,
        type=int,
        metavar="N",
        help="Images for 8-bit ranges (default: 500, or all).",
    ),
    click.option("--calibration-seed", type=int, metavar="N", help="Random seed for their choice."),
    flag("--equalization", "Balance the weight ranges of neighbouring layers."),
    flag("--bias-correction", "Correct mean errors in the biases."),
)
