"""Everything that is derived from raw values, with the source of each formula."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

_RESAMPLES = 4000  # the ends of a 99 % interval then lie on 20 values each
_WIDEST = 100.0  # half an interval of log ratios: says as little as any wider one
_ROUNDING = 1e-12  # of a log ratio: what floating point makes of a spread of nothing
Z95 = 1.959964  # two-sided 95 % point of the normal distribution


def evenly_spaced(count: int, most: int) -> npt.NDArray[np.intp]:
    """Return ascending positions, evenly spaced, of at most `most` of `count` values."""
    return np.linspace(0, count - 1, min(count, most)).astype(np.intp)


def wilson(correct: int, total: int) -> tuple[float, float]:
    """Return the 95 % Wilson score interval of a share (Wilson 1927, eq. for p given counts)."""
    if not 0 <= correct <= total or total < 1:
        raise ValueError(f"{correct} of {total} is not a share")
    share = correct / total
    centre = share + Z95**2 / (2 * total)
    margin = Z95 * math.sqrt(share * (1 - share) / total + Z95**2 / (4 * total**2))
    scale = 1 + Z95**2 / total
    return (centre - margin) / scale, (centre + margin) / scale


def upper_share(count: int, total: int, level: float = 0.95) -> float:
    """Return the upper end of the one-sided interval of a share (Clopper and Pearson 1934).

    With a larger share, `count` or fewer of `total` are less likely than 1 − level.
    """
    if count in (0, total):
        return 1.0 if count else 1 - (1 - level) ** (1 / total)
    from scipy.special import betaincinv

    return float(betaincinv(count + 1, total - count, level))


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

    Both arrays are bool (n,), one entry per image. Pairing removes what both get right or wrong.
    """
    if reference_right.shape != other_right.shape:
        raise ValueError("paired arrays must cover the same images")
    difference = reference_right.astype(np.int8) - other_right.astype(np.int8)
    changed, lost = int(np.count_nonzero(difference)), int(difference.sum())
    return 100 * float(difference.mean()), 100 * paired_margin(changed, lost, difference.size)


def paired_margin(changed: int, lost: int, images: int, z: float = Z95) -> float:
    """Return half the width of the interval of a difference of paired shares.

    changed: images that only one side classifies correctly; lost: the difference of both counts.
    Adjusted Wald interval, which few images do not make too narrow: Agresti and Min, Simple
    improved confidence intervals for comparing matched proportions, 2005.
    """
    total = images + 2
    return z * math.sqrt(max(0.0, changed + 1 - lost**2 / total)) / total


def auroc(known: npt.NDArray[Any], strangers: npt.NDArray[Any]) -> float:
    """Return the share of pairs in which the stranger has the higher value; half of equal ones.

    That is the area under the receiver operating characteristic (Hanley and McNeil, The Meaning and
    Use of the Area under a ROC Curve, 1982).
    """
    below, not_above = (np.searchsorted(np.sort(known), strangers, x) for x in ("left", "right"))
    return float((below + not_above).mean() / (2 * len(known)))


def accepted_strangers(
    known: npt.NDArray[Any], strangers: npt.NDArray[Any], share: float = 0.95
) -> float:
    """Return the share of strangers at most as high as the lowest limit that accepts the known.

    It accepts at least `share` of them: the false positive rate at that true positive rate.
    """
    limit = np.quantile(known, share, method="higher")
    return float((strangers <= limit).mean())


def mcnemar(lost: int, won: int) -> float:
    """Return the two-sided p-value that as many images were lost as won by chance.

    Exact test of a binomial with probability 1/2 (McNemar, Note on the Sampling Error of the
    Difference Between Correlated Proportions, 1947).
    """
    total, ways, tail = lost + won, 1, 0
    for fewer in range(min(lost, won) + 1):
        tail += ways
        ways = ways * (total - fewer) // (fewer + 1)
    return min(1.0, 2 * tail / (1 << total))  # of whole numbers: no rounding before the division


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number, by Holm's sequential method (1979)."""
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, at in enumerate(sorted(range(len(p_values)), key=lambda each: p_values[each])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[at]))
        corrected[at] = largest
    return corrected


def outliers(values: npt.NDArray[np.float64]) -> int:
    """Return how many times are far from the median, by the median absolute deviation.

    That is a modified z-score above 3.5 (Iglewicz and Hoaglin, How to Detect and Handle Outliers,
    1993), which no outlier can hide by raising the deviation itself; and 5 % of the median at
    least, because a deviation of few steps of the clock says nothing.
    """
    median = float(np.median(values))
    distances = np.abs(values - median)
    least = max(3.5 / 0.6745 * float(np.median(distances)), 0.05 * median)
    return int((distances > least).sum())


def paired_ratio(
    before_ns: Sequence[Sequence[int]], after_ns: Sequence[Sequence[int]], level: float = 0.95
) -> tuple[float, float, float]:
    """Return the ratio of a time to an earlier one, and its interval.

    Both hold the nanoseconds of each round. Rounds with the same number were measured in one turn,
    so that a drift of the machine cancels in the ratio of their medians; rounds must be independent
    of each other, each in a process of its own. Of the log ratios the largest and smallest tenth is
    left out. The interval is the symmetric studentized bootstrap of that trimmed mean (Wilcox,
    Introduction to Robust Estimation and Hypothesis Testing, 4.4.3): in simulations it holds the
    ratio as often as it says from four rounds on. Raises ValueError with fewer than three rounds,
    or unequal numbers of them.
    """
    if len(before_ns) != len(after_ns) or len(before_ns) < 3:
        raise ValueError(f"{len(before_ns)} and {len(after_ns)} rounds are not three pairs")
    medians = [[float(np.median(each)) for each in rounds] for rounds in (before_ns, after_ns)]
    mean, margin = _trimmed_mean(np.log(medians[1]) - np.log(medians[0]), level)
    margin = min(margin, _WIDEST)
    return math.exp(mean), math.exp(mean - margin), math.exp(mean + margin)


def trimmed_mean(values: Sequence[float], level: float) -> tuple[float, float]:
    """Return the mean of the inner four fifths of two or more values, and half its interval.

    Student's interval of a trimmed mean (Tukey and McLaughlin, Less Vulnerable Confidence and
    Significance Procedures, 1963). Of 6 or 8 values it is half as wide as the bootstrap of
    `paired_ratio`, and misses the mean as often as `level` says.
    """
    from scipy.special import stdtrit

    (mean,), (error,) = _trimmed(np.asarray(values, float)[None])
    freedom = len(values) - 2 * (len(values) // 10) - 1
    return float(mean), float(error * stdtrit(freedom, (1 + level) / 2))


def _trimmed_mean(values: npt.NDArray[np.float64], level: float) -> tuple[float, float]:
    """Return a trimmed mean and the half width of its interval; equal values give equal ones."""
    picked = np.random.default_rng(0).integers(len(values), size=(_RESAMPLES, len(values)))
    (mean,), (error,) = _trimmed(values[None])
    means, errors = _trimmed(values[picked])
    usable = errors > _ROUNDING  # the same value again and again has no error
    scores = np.abs(means[usable] - mean) / errors[usable]
    return float(mean), float(error * np.quantile(scores, level)) if len(scores) else 0.0


def _trimmed(
    samples: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the trimmed mean of each row and its standard error, from the winsorized values."""
    count = samples.shape[1]
    cut = count // 10
    ranked = np.sort(samples, axis=1)
    inner = ranked[:, cut : count - cut]
    winsorized = np.clip(ranked, inner[:, :1], inner[:, -1:])
    scale = (1 - 2 * cut / count) * math.sqrt(count)
    return inner.mean(axis=1), winsorized.std(axis=1, ddof=1) / scale
