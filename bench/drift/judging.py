"""Judge whether predictions in use differ from those of the validation images.

Thresholds follow from the numbers of images: if images in use are like those of validation, and
independent of each other, one period in 10,000 raises an alarm, whatever their numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hemline.bench.drift.reading import Period, monitored_folders, read_artifact, read_periods
from hemline.contract.monitoring import MonitoredArtifact, Reference
from hemline.errors import EvidenceError, GateError

FALSE_ALARMS = 1e-4  # of periods without drift; of hours one in a year
LEAST_IMAGES = 30  # in a period and in a reference: of fewer, no threshold holds
_EXPECTED = 20  # images in a group: in simulations, fewer raise up to 4 times as many false alarms
MEASURES = ("label PSI", "score PSI", "score KS", "distance PSI", "distance KS")
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """How far counts are from those of the reference: a value, and what raises an alarm."""

    name: str
    value: float
    threshold: float

    @property
    def alarm(self) -> bool:
        """Return whether the value is above the threshold."""
        return self.value > self.threshold


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedPeriod:
    """A period with its measures; without any where it has too few images."""

    period: Period
    measures: tuple[Measure, ...]

    @property
    def alarm(self) -> bool:
        """Return whether a measure raises an alarm."""
        return any(each.alarm for each in self.measures)

    @property
    def worst(self) -> float:
        """Return the largest value as a multiple of its threshold."""
        return max((each.value / each.threshold for each in self.measures), default=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """A monitored artifact, its folder, and the periods that were judged."""

    folder: Path
    artifact: MonitoredArtifact
    periods: tuple[JudgedPeriod, ...]

    @property
    def alarms(self) -> int:
        """Return how many periods raised an alarm."""
        return sum(each.alarm for each in self.periods)


def judged_folders(folder: Path, *, least: int, last: int | None = None) -> list[Drift]:
    """Judge each artifact in a monitor's folder, in periods of `least` images, the last ones only.

    Raises UsageError for another folder, FileFormatError for a damaged one.
    """
    drifts = []
    for each in monitored_folders(folder):
        artifact = read_artifact(each)
        periods = read_periods(each, artifact, least)[-(last or 0) :]
        found = tuple(judged(period, artifact.reference) for period in periods)
        drifts.append(Drift(folder=each, artifact=artifact, periods=found))
    return drifts


def require_no_drift(drifts: Sequence[Drift]) -> None:
    """Raise GateError for an alarm, EvidenceError where nothing has enough images to be judged."""
    if alarms := [each for each in drifts if each.alarms]:
        texts = (f"{x.artifact.name} in {x.alarms} of {len(x.periods)} periods" for x in alarms)
        raise GateError(f"predictions differ from those on validation images: {', '.join(texts)}")
    if not any(period.measures for each in drifts for period in each.periods):
        raise EvidenceError(f"drift is judged from {LEAST_IMAGES} images on: there are fewer")


def judged(period: Period, reference: Reference) -> JudgedPeriod:
    """Compare a period with the reference."""
    window = period.window
    if min(window.images, reference.images) < LEAST_IMAGES:
        return JudgedPeriod(period=period, measures=())
    pairs = [("score", window.scores, reference.scores.counts)]
    if reference.distances is not None:
        pairs.append(("distance", window.distances, reference.distances.counts))
    rate = FALSE_ALARMS / (1 + 2 * len(pairs))  # Bonferroni: any of the measures raises the alarm
    measures: list[Measure | None] = [
        _psi("label PSI", *_likely(window.labels, reference.labels), rate)
    ]
    for name, counts, expected in pairs:
        measures.append(_psi(f"{name} PSI", *_neighbours(counts, expected), rate))
        measures.append(_ks(f"{name} KS", counts, expected, rate))
    return JudgedPeriod(period=period, measures=tuple(filter(None, measures)))


def _psi(name: str, counts: Counts, expected: Counts, rate: float) -> Measure | None:
    """Return the population stability index: Σ (p − q) ln(p ÷ q) over the shares of each group.

    Without drift it is (1/n + 1/m) times a chi-squared variable of one degree of freedom fewer than
    there are groups, of n and m images (Yurdakul, Statistical Properties of Population Stability
    Index, 2018). Half an image is added to each group, which keeps empty ones finite. None of a
    single group.
    """
    from scipy.special import chdtri

    if len(counts) < 2:
        return None
    groups, scale = len(counts), 1 / counts.sum() + 1 / expected.sum()
    p, q = ((each + 0.5) / (each.sum() + 0.5 * groups) for each in (counts, expected))
    value = float(((p - q) * np.log(p / q)).sum())
    return Measure(name=name, value=value, threshold=float(scale * chdtri(groups - 1, rate)))


def _ks(name: str, counts: Sequence[int], expected: Sequence[int], rate: float) -> Measure:
    """Return the largest difference of cumulative shares (Kolmogorov and Smirnov).

    Threshold: Smirnov, Table for Estimating the Goodness of Fit of Empirical Distributions, 1948;
    of values in bins it is too high rather than too low.
    """
    p, q = (np.cumsum(each) / sum(each) for each in (counts, expected))
    scale = math.sqrt(1 / sum(counts) + 1 / sum(expected))
    threshold = math.sqrt(-math.log(rate / 2) / 2) * scale
    return Measure(name=name, value=float(np.abs(p - q).max()), threshold=threshold)


def _likely(counts: Sequence[int], expected: Sequence[int]) -> tuple[Counts, Counts]:
    """Group classes, the rarest ones first, until each group has enough images."""
    order = np.argsort(np.add(counts, expected), kind="stable")
    return _neighbours(np.take(counts, order), np.take(expected, order))


def _neighbours(
    counts: Sequence[int] | Counts, expected: Sequence[int] | Counts
) -> tuple[Counts, Counts]:
    """Group neighbouring bins until enough images are expected in each group, in both samples."""
    pair = np.array([counts, expected], np.int64)
    share = min(pair.sum(axis=1)) / pair.sum()  # of both counts that the smaller sample should have
    groups, waiting = list[npt.NDArray[np.int64]](), np.zeros(2, np.int64)
    for each in pair.T:
        waiting = waiting + each
        if share * waiting.sum() >= _EXPECTED:
            groups.append(waiting)
            waiting = np.zeros(2, np.int64)
    if groups:
        groups[-1] = groups[-1] + waiting
    grouped = np.array(groups or [waiting]).T
    return grouped[0], grouped[1]
