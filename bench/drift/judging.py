"""Judge whether predictions in use differ from those of the validation images.

Thresholds follow from the numbers of images: if images in use are like those of validation, and
independent of each other, about one period in 10,000 raises an alarm, whatever the numbers.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hemline.contract import schema
from hemline.contract.monitoring import Counts, Reference
from hemline.contract.stamp import Stamp
from hemline.data.custom.reading import counted
from hemline.errors import (
    EvidenceError,
    FileFormatError,
    GateError,
    HemlineError,
    UsageError,
    remedy,
)
from hemline.runtime.monitoring import ARTIFACT, FILES, WINDOWS

log = logging.getLogger(__name__)

MEASURES = ("label share", "label PSI", "score PSI", "score KS", "distance PSI", "distance KS")
_FALSE_ALARMS = 1e-4  # of periods without drift; of hours one in a year
_LEAST_IMAGES = 30  # in a period and in a reference
EXPECTED = 20  # images in a group: in simulations, 10 raise up to 4 times as many false alarms
Pairs = npt.NDArray[np.int64]  # (bins, 2): images in use and in validation


@dataclass(frozen=True, slots=True)
class Measure:
    """How far counts are from those of the reference: above its threshold, it raises an alarm."""

    name: str
    value: float
    threshold: float

    @property
    def alarm(self) -> bool:
        """Return whether it raises an alarm."""
        return self.value > self.threshold


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """What an artifact predicted from the hour `start` to `end`, and how far that is from before.

    start, end: UTC, as in 2026-11-29T17. measures: none where there are too few images.
    """

    artifact: str
    start: str
    end: str
    counts: Counts
    measures: tuple[Measure, ...]
    alarm: bool


class Judged(NamedTuple):
    """The labels of an artifact, its reference, its periods, and how many hours were lost."""

    labels: tuple[str, ...]
    reference: Reference
    periods: list[Period]
    lost: int

    def not_judged(self, period: Period) -> list[str]:
        """Return the measures for which a period or the reference has too few images."""
        names = MEASURES if self.reference.distance_edges else MEASURES[:-2]
        return [name for name in names if name not in {each.name for each in period.measures}]

    def document(self, period: Period) -> dict[str, Any]:
        """Return a period as JSON that needs no stamp to be understood."""
        document: dict[str, Any] = schema.to_document(period)
        for key, counts in {"counts": period.counts, "validation": self.reference.counts}.items():
            labels = dict(zip(self.labels, counts.labels, strict=False))  # without the last one
            named = {"images": counts.images, "labels": labels, "unknown": counts.labels[-1]}
            document[key] = schema.to_document(counts) | named
        edges = {"scores": self.reference.score_edges, "distances": self.reference.distance_edges}
        judged = {"judged": bool(period.measures), "not_judged": self.not_judged(period)}
        return document | {"edges": edges} | judged


def monitored_folders(folder: Path) -> list[Path]:
    """Return the folders of artifacts in a monitor's folder, or it, if it is one itself."""
    names = (f"{place}{name}" for place in ("", "*/") for name in (ARTIFACT, WINDOWS))
    found = sorted({path.parent for name in names for path in folder.glob(name)})
    if not found:
        raise UsageError(f"{folder} is not the folder of a monitor", remedy=remedy("monitor"))
    return found


def judged(folder: Path, least: int, last: int | None = None) -> Judged:
    """Judge the `last` periods of an artifact, of `least` images but for the last one."""
    stamp = schema.load(Stamp, folder / ARTIFACT)
    if stamp.reference is None:
        raise FileFormatError(f"{folder / ARTIFACT} has no reference")
    hours, lost = [dict[str, Counts]()], 0
    for path in sorted((folder / WINDOWS).glob(FILES)):
        if sum(each.images for each in hours[-1].values()) >= least:
            hours.append({})
        if counts := _counts(path, stamp.reference):
            hours[-1][path.stem] = counts
        lost += counts is None
    periods = [_period(stamp.name, stamp.reference, each) for each in hours if each]
    return Judged(stamp.labels, stamp.reference, periods[-(last or 0) :], lost)


def require_no_drift(periods: Sequence[Period], lost: bool = False) -> None:
    """Raise GateError for an alarm, EvidenceError for lost counts, and where nothing is judged."""
    if alarms := sum(each.alarm for each in periods):
        where = f"in {alarms} of {counted(len(periods), 'period')}"
        raise GateError(f"predictions differ from those on validation images {where}")
    if lost:
        raise EvidenceError("counts are lost: whether there was drift is not known")
    if not any(each.measures for each in periods):
        most = max((each.counts.images for each in periods), default=0)
        few = f"there are {most} (a running service saves once a minute)"
        there = few if most < _LEAST_IMAGES else "the reference has fewer"
        raise EvidenceError(f"drift is judged from {_LEAST_IMAGES} images on: {there}")


def measured(counts: Counts, reference: Reference) -> tuple[Measure, ...]:
    """Compare counts with the reference."""
    before = reference.counts
    if min(counts.images, before.images) < _LEAST_IMAGES:
        return ()
    labels = np.array((counts.labels, before.labels)).T
    bins = {"score": np.array((counts.scores, before.scores)).T}
    if before.distances:
        bins["distance"] = np.array((counts.distances, before.distances)).T
    rate = _FALSE_ALARMS / (2 + 2 * len(bins))  # Bonferroni: any of them raises the alarm
    rarest_first = labels[labels.sum(axis=1).argsort(kind="stable")]
    measures = [_share("label share", labels, rate), _psi("label PSI", rarest_first, rate)]
    for name, pairs in bins.items():
        measures += [_psi(f"{name} PSI", pairs, rate), _ks(f"{name} KS", pairs, rate)]
    return tuple(filter(None, measures))


def _share(name: str, pairs: Pairs, rate: float) -> Measure:
    """Return the change of a class's share, of the class where it is largest for its threshold.

    Threshold: Fisher's exact test (The Design of Experiments, 1935); Bonferroni's for classes.
    """
    from scipy.special import betaln, softmax

    n, m = pairs.sum(axis=0)
    pairs = pairs[(pairs.sum(axis=1) > 0) & (pairs.sum(axis=1) < n + m)]
    found = [Measure(name, 0.0, 1.0)]  # where no class can raise an alarm
    for in_use, before in pairs:
        total = in_use + before
        possible = np.arange(max(0, total - n), min(total, m) + 1)  # of validation, by chance
        others = total - possible  # of use
        tail = softmax(-betaln(possible + 1, others + 1) - betaln(m - possible + 1, n - others + 1))
        change = others / n - possible / m
        if before * n > in_use * m:  # fewer in use
            tail, change = tail[::-1], -change[::-1]
        if at := np.searchsorted(tail.cumsum(), rate / 2 / len(pairs)):  # else: too rare
            threshold = float(change[at - 1 : at + 1].mean())  # the changes before raise an alarm
            found.append(Measure(name, abs(in_use / n - before / m), threshold))
    return max(found, key=lambda each: each.value / each.threshold)


def _psi(name: str, pairs: Pairs, rate: float) -> Measure | None:
    """Return the population stability index: Σ (p − q) ln(p ÷ q) over the shares of each group.

    Without drift it is (1/n + 1/m) times a chi-squared variable of one degree of freedom fewer than
    there are groups, of n and m images (Yurdakul, Statistical Properties of Population Stability
    Index, 2018). Half an image is added to each group, which keeps empty ones finite.
    """
    from scipy.special import chdtri

    groups = grouped(pairs)
    if len(groups) < 2:
        return None
    p, q = ((groups + 0.5) / (groups + 0.5).sum(axis=0)).T
    threshold = (1 / pairs.sum(axis=0)).sum() * chdtri(len(groups) - 1, rate)
    return Measure(name, float(((p - q) * np.log(p / q)).sum()), float(threshold))


def _ks(name: str, pairs: Pairs, rate: float) -> Measure:
    """Return the largest difference of cumulative shares (Kolmogorov and Smirnov).

    Threshold: Smirnov, Table for Estimating the Goodness of Fit of Empirical Distributions, 1948;
    of values in bins it is too high rather than too low.
    """
    sums = pairs.sum(axis=0)
    difference = np.abs(np.diff(pairs.cumsum(axis=0) / sums, axis=1)).max()
    threshold = np.sqrt(-np.log(rate / 2) / 2 * (1 / sums).sum())
    return Measure(name, float(difference), float(threshold))


def grouped(pairs: Pairs) -> Pairs:
    """Merge neighbouring bins until enough images are expected in each."""
    share = pairs.sum(axis=0).min() / pairs.sum()  # of both that the smaller sample should have
    groups, waiting = list[Pairs](), 0 * pairs[0]
    for pair in pairs:
        waiting = waiting + pair
        if share * waiting.sum() >= EXPECTED:
            groups.append(waiting)
            waiting = 0 * waiting
    if groups:
        groups[-1] = groups[-1] + waiting
    return np.array(groups)


def _period(name: str, reference: Reference, hours: dict[str, Counts]) -> Period:
    counts = functools.reduce(Counts.plus, hours.values())
    measures = measured(counts, reference)
    alarm, span = any(each.alarm for each in measures), {"start": min(hours), "end": max(hours)}
    return Period(artifact=name, **span, counts=counts, measures=measures, alarm=alarm)


def _counts(path: Path, reference: Reference) -> Counts | None:
    """Return the counts of an hour; None, with a warning, if they are damaged."""
    try:
        counts = schema.load(Counts, path)
        counts.plus(reference.counts)  # raises ValueError for other bins
        return counts
    except (HemlineError, ValueError):
        log.warning("counts are lost: cannot read %s: if it is damaged, delete it", path)
        return None
