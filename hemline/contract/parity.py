"""The one parity check: are these the outputs that the same images have in a reference?

Verification, devices, admission and self-test ask it of a file in a runtime. It separates broken
files (values that are not finite, labels that chance does not explain, values far off) from files
that a runtime rounds differently, and so looks at all images: a single probability near a tie may
move by 0.3 because one step of an activation was rounded the other way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hemline.contract.specs import OutputSpec
from hemline.statistics import wilson

if TYPE_CHECKING:
    from hemline.contract.stamp import Stamp

# Share of images that may lie beyond the bound, or 1 − agreement where that is less. The bound is
# at least 4.4 standard deviations of the rounding, so that rounding alone puts no image there. A
# softmax inside the model does: it divides an error of the logits by 4 or more, as the bound
# supposes, where one class has most of the probability, and hardly where two classes share it.
# Measured with int8 files in LiteRT and tflite-runtime: 0.8 % of 1,016 images (a ResNet), 2.8 % of
# 316 (three random convolutions with logits of 20).
_OUTLIERS = 0.05

# Share of the largest |output| by which two float32 computations of one network differ: 1.2e-4 each
# (derived in export/schemes.py). Classes that are closer than that are a tie.
_TIE = 2 * 1.2e-4

RULES = 2  # of this check: verdicts by other ones are out of date

_LARGEST = float(np.finfo(np.float32).max)  # stands for infinity, which JSON does not have
_Values = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityBounds:
    """What rounding explains.

    difference: largest difference of an output; of a probability where the model gives these.
    agreement: least share of images with the reference's label, 0 … 1; by default that of 8 bit.
    """

    difference: float
    agreement: float = 0.90


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityResult:
    """How outputs compare with a reference; differences are in logits, or in probabilities.

    An image's difference is the largest of its classes. All are the largest float32 where an output
    is not finite.

    reason: one line, why the check failed; empty when it passed.
    images: number of images compared.
    agreement: of these, number with the reference's label.
    outliers: of these, number with a difference beyond the bound.
    median_difference: of the images.
    p99_difference: 99 % of the images are at most that far off.
    rms_difference: root of the mean square of the images' differences.
    largest_difference: of all.
    """

    reason: str
    images: int
    agreement: int
    outliers: int
    median_difference: float
    p99_difference: float
    rms_difference: float
    largest_difference: float

    @property
    def passed(self) -> bool:
        """Tell whether the outputs are those of the reference, up to rounding."""
        return not self.reason


def check_parity(
    found: npt.NDArray[np.float32],
    reference: npt.NDArray[np.float32],
    spec: OutputSpec,
    bounds: ParityBounds,
) -> ParityResult:
    """Compare logits, float32 (images, classes), with those of the reference.

    Where a model gives probabilities these are compared: near 0 a probability has no steady
    logarithm, and one 8-bit step would count as 15.

    With few images an interval stands for each share, the Wilson score interval: of two images both
    must lie within the bound, and of eight one may have another label.
    """
    if len(reference) == 0:
        return _broken(0, "there are no images to compare")
    if found.shape != reference.shape:
        return _broken(0, f"outputs of shape {found.shape} instead of {reference.shape}")
    agreement = int((found.argmax(axis=1) == reference.argmax(axis=1)).sum())
    if not (np.isfinite(found).all() and np.isfinite(reference).all()):
        return _broken(len(found), f"{spec.gives} are not finite", agreement)
    if spec.gives == "probabilities":
        found, reference = np.exp(found), np.exp(reference)
    differences = np.abs(found.astype(np.float64) - reference).max(axis=1)
    rms = math.sqrt(float(np.square(differences).mean()))
    median, p99 = (float(value) for value in np.percentile(differences, [50, 99]))
    outliers = int((differences > bounds.difference).sum())
    largest = float(differences.max())
    count = len(found)
    reasons = []
    within = max(bounds.agreement, 1 - _OUTLIERS)
    if _is_under(within, count - outliers, count) or rms > bounds.difference:
        reasons.append(
            f"{spec.gives} differ by up to {largest:.3g} "
            f"(tolerance {bounds.difference:.3g}, beyond it {outliers:,} of {count:,} images)"
        )
    if _is_under(bounds.agreement, _explained(found, reference, spec), count):
        reasons.append(
            f"only {100 * agreement / count:.1f} % of the labels agree with the reference "
            f"(at least {100 * bounds.agreement:g} %)"
        )
    return ParityResult(
        reason="; ".join(reasons),
        images=count,
        agreement=agreement,
        outliers=outliers,
        median_difference=median,
        p99_difference=p99,
        rms_difference=rms,
        largest_difference=largest,
    )


def check_vectors(found: npt.NDArray[np.float32], stamp: Stamp) -> ParityResult:
    """Compare logits of a file's test images, float32 (n, classes), with those in its stamp."""
    expected = np.asarray([vector.logits for vector in stamp.test_vectors], np.float32)
    return check_parity(found, expected, stamp.output, ParityBounds(difference=stamp.tolerance))


def _explained(found: _Values, reference: _Values, spec: OutputSpec) -> int:
    """Return the number of images with the reference's label, or one that it holds for as good."""
    rows = np.arange(len(found))
    margins = reference.max(axis=1) - reference[rows, found.argmax(axis=1)]
    step = 0.0 if spec.dtype == "float32" else spec.scale
    return int((margins <= max(step, _TIE * float(np.abs(reference).max()))).sum())


def _is_under(share: float, count: int, total: int) -> bool:
    """Tell whether `count` of `total` is less than `share`, by more than chance explains."""
    return count < total and wilson(count, total)[1] < share


def _broken(images: int, reason: str, agreement: int = 0) -> ParityResult:
    return ParityResult(
        reason=reason,
        images=images,
        agreement=agreement,
        outliers=images,
        median_difference=_LARGEST,
        p99_difference=_LARGEST,
        rms_difference=_LARGEST,
        largest_difference=_LARGEST,
    )
