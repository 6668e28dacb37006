"""Compare the logits that an artifact gives in two places."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hemline.contract.manifest import Artifact


@dataclass(frozen=True, slots=True, kw_only=True)
class Equality:
    """How one artifact's logits differ between two places, in the same runtime and version.

    images: that both were given.
    same_labels: images that both label alike.
    logits: that were compared.
    unequal: of these, the number with other bits.
    largest_difference: between two logits; 0.0 when all bits are equal.
    largest_steps: the same in steps of the output's quantization; None for float outputs, and
        where a logit is not finite.
    """

    images: int
    same_labels: int
    logits: int
    unequal: int
    largest_difference: float
    largest_steps: int | None

    def __str__(self) -> str:
        if self.largest_difference == 0.0:
            return f"equal bits on {self.images} images"
        if self.largest_steps is not None:
            return f"{self.largest_steps} step{'s' if self.largest_steps > 1 else ''} apart"
        return f"{self.largest_difference:.1e} apart"


def equality_of(
    artifact: Artifact, there: npt.NDArray[np.float32], here: npt.NDArray[np.float32]
) -> Equality:
    """Compare logits (images, classes) that an artifact gave in two places."""
    with np.errstate(all="ignore"):  # a device may return infinities and NaN
        difference = float(np.abs(there - here).max())
    in_steps = artifact.output.dtype != "float32" and math.isfinite(difference)
    return Equality(
        images=len(there),
        same_labels=int((there.argmax(1) == here.argmax(1)).sum()),
        logits=there.size,
        unequal=int((there != here).sum()),
        largest_difference=difference,
        largest_steps=round(difference / artifact.output.scale) if in_steps else None,
    )


def validation_images(bundle: Path) -> str:
    """Return the path of the images that everything here runs on: never those of the test split."""
    return str(bundle / "evaluation" / "validation-images.npy")
