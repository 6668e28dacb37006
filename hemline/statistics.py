"""Everything that is derived from raw values, with the source of each formula."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Z95 = 1.959964  # two-sided 95 % point of the normal distribution


def wilson(correct: int, total: int) -> tuple[float, float]:
    """Return the 95 % Wilson score interval of a share (Wilson 1927, eq. for p given counts)."""
    if not 0 <= correct <= total or total < 1:
        raise ValueError(f"{correct} of {total} is not a share")
    share = correct / total
    centre = share + Z95**2 / (2 * total)
    margin = Z95 * math.sqrt(share * (1 - share) / total + Z95**2 / (4 * total**2))
    scale = 1 + Z95**2 / total
    return (centre - margin) / scale, (centre + margin) / scale


def ratio_of_shares(
    count: float, total: int, other_count: float, other_total: int
) -> tuple[float, float, float]:
    """Return the ratio of a share to another one of independent images, and its 95 % interval.

    Log method: the logarithm of the ratio is taken as normal, with variance 1/count − 1/total for
    each share (Katz et al., Obtaining Confidence Intervals for the Risk Ratio in Cohort Studies,
    1978). Raises ValueError when a count is 0, which has no logarithm.
    """
    if not (0 < count <= total and 0 < other_count <= other_total):
        raise ValueError(f"{count} of {total} and {other_count} of {other_total} have no ratio")
    ratio = (count / total) / (other_count / other_total)
    variance = 1 / count - 1 / total + 1 / other_count - 1 / other_total
    factor = math.exp(Z95 * math.sqrt(variance))
    return ratio, ratio / factor, ratio * factor


def commonest_mistakes(confusion: npt.NDArray[Any], most: int) -> list[tuple[int, int, float]]:
    """Return up to `most` (true class, answer, images), commonest first, that are no right answers.

    confusion: images of a class (row) that were answered with a class (column).
    """
    mistakes = confusion - np.diag(np.diag(confusion))
    order = np.argsort(-mistakes, axis=None, kind="stable")[:most]
    pairs = [divmod(int(at), len(confusion)) for at in order]
    return [(*pair, float(mistakes[pair])) for pair in pairs if mistakes[pair]]


def paired_drop(
    reference_right: npt.NDArray[np.bool_], other_right: npt.NDArray[np.bool_]
) -> tuple[float, float]:
    """Return (drop, half width of its 95 % interval) in points between two models on one split.

    Both arrays are bool (n,), one entry per image. Pairing removes what both get right or wrong:
    variance of a difference of paired shares, Agresti, Categorical Data Analysis, sec. 11.1.
    """
    if reference_right.shape != other_right.shape:
        raise ValueError("paired arrays must cover the same images")
    difference = reference_right.astype(np.int8) - other_right.astype(np.int8)
    error = float(difference.std()) / math.sqrt(difference.size)
    return 100 * float(difference.mean()), 100 * Z95 * error
