"""Judge whether predictions in use differ from those of the validation images.

Thresholds follow from the numbers of images: if images in use are like those of validation, and
independent of each other, one period in 10,000 raises an alarm.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

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
    NewerSchemaError,
    UsageError,
    remedy,
)
from hemline.runtime.monitoring import ARTIFACT, FILES, WINDOWS

log = logging.getLogger(__name__)

MEASURES = ("label PSI", "score PSI", "score KS", "distance PSI", "distance KS")
_FALSE_ALARMS = 1e-4  # of periods without drift; of hours one in a year
_LEAST_IMAGES = 30  # in a period and in a reference
_EXPECTED = 20  # images in a group: in simulations, 10 raise up to 4 times as many false alarms
_MOST_GROUPS = 10  # of permuted labels: a period then takes 0.1 s
T = TypeVar("T")
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
    """The labels of an artifact, its reference, and its periods."""

    labels: tuple[str, ...]
    reference: Reference
    periods: list[Period]


def monitored_folders(folder: Path) -> list[Path]:
    """Return the folders of artifacts in a monitor's folder, or it, if it is one itself."""
    inside = (folder, *filter(Path.is_dir, folder.iterdir()))
    found = [x for x in inside if (x / ARTIFACT).exists() or any((x / WINDOWS).glob(FILES))]
    if not found:
        raise UsageError(f"{folder} is not the folder of a monitor", remedy=remedy("monitor"))
    return sorted(found)


def judged(folder: Path, least: int, last: int | None, lost: list[Path]) -> Judged | None:
    """Judge the `last` periods of an artifact, of `least` images but for the last one.

    Files that cannot be read are added to `lost`; without that of the artifact, nothing is judged.
    """
    stamp = _read(Stamp, folder / ARTIFACT, lost)
    if stamp is None:
        return None
    if stamp.reference is None:
        raise FileFormatError(f"{folder / ARTIFACT} has no reference: delete that folder")
    periods, waiting = list[Period](), dict[str, Counts]()
    for path in sorted((folder / WINDOWS).glob(FILES)):
        if counts := _read(Counts, path, lost, stamp.reference.counts):
            waiting[path.stem] = counts
        if sum(each.images for each in waiting.values()) >= least:
            periods.append(_period(stamp.name, stamp.reference, waiting))
            waiting = {}
    if waiting:
        periods.append(_period(stamp.name, stamp.reference, waiting))
    return Judged(stamp.labels, stamp.reference, periods[-(last or 0) :])


def document(found: Judged, period: Period) -> dict[str, Any]:
    """Return a period for JSON: with names for its counts, and with the reference."""
    labels = period.counts.labels
    return {
        **schema.to_document(period),
        "judged": bool(period.measures),
        "labels": dict(zip(found.labels, labels, strict=False)),
        "unknown": labels[-1],  # a class may have this name
        "reference": schema.to_document(found.reference),
    }


def require_no_drift(periods: Sequence[Period], lost: Sequence[Path]) -> None:
    """Raise GateError for an alarm, EvidenceError where counts are too few or were lost."""
    if alarms := sum(each.alarm for each in periods):
        where = f"in {alarms} of {counted(len(periods), 'period')}"
        raise GateError(f"predictions differ from those on validation images {where}")
    if not any(each.measures for each in periods):
        most = max((each.counts.images for each in periods), default=0)
        few = f"there are {most} (a running service saves once a minute)"
        there = few if most < _LEAST_IMAGES else "the reference has fewer"
        raise EvidenceError(f"drift is judged from {_LEAST_IMAGES} images on: {there}")
    if lost:
        raise EvidenceError(f"no drift in the other counts, but {counted(len(lost), 'file')} lost")


def measured(counts: Counts, reference: Reference) -> tuple[Measure, ...]:
    """Compare counts with the reference."""
    before = reference.counts
    if min(counts.images, before.images) < _LEAST_IMAGES:
        return ()
    labels = np.array((counts.labels, before.labels)).T
    bins = {"score": np.array((counts.scores, before.scores)).T}
    if before.distances:
        bins["distance"] = np.array((counts.distances, before.distances)).T
    rate = _FALSE_ALARMS / (1 + 2 * len(bins))  # Bonferroni: any of them raises the alarm
    rarest_first = labels[labels.sum(axis=1).argsort(kind="stable")]
    measures = [_psi("label PSI", rarest_first, rate, permuted=True)]
    for name, pairs in bins.items():
        measures += [_psi(f"{name} PSI", pairs, rate), _ks(f"{name} KS", pairs, rate)]
    return tuple(filter(None, measures))


def _psi(name: str, pairs: Pairs, rate: float, *, permuted: bool = False) -> Measure | None:
    """Return the population stability index: Σ (p − q) ln(p ÷ q) over the shares of each group.

    Without drift it is (1/n + 1/m) times a chi-squared variable of one degree of freedom fewer than
    there are groups, of n and m images (Yurdakul, Statistical Properties of Population Stability
    Index, 2018), if enough images are expected in each group. Of fewer, the threshold is the
    largest index of 1/rate random permutations (Phipson and Smyth, Permutation P-values Should
    Never Be Zero, 2010). Half an image is added to each group, which keeps empty ones finite.
    """
    from scipy.special import chdtri

    sums, groups = pairs.sum(axis=0), grouped(pairs)
    threshold = (1 / sums).sum() * chdtri(len(groups) - 1, rate)
    if len(groups) < 2:
        if not permuted:
            return None  # KS judges them
        parts = np.array_split(pairs, min(len(pairs), _MOST_GROUPS))
        groups, random = np.array([each.sum(axis=0) for each in parts]), np.random.default_rng(0)
        both = groups.sum(axis=1)
        used = random.multivariate_hypergeometric(both, sums[0], int(1 / rate), method="marginals")
        threshold = _index(np.stack((used, both - used), axis=-1)).max()
    return Measure(name, float(_index(groups)), float(threshold))


def _index(groups: Pairs) -> npt.NDArray[np.float64]:
    """Return the index of groups (…, groups, 2)."""
    p, q = np.moveaxis((groups + 0.5) / (groups + 0.5).sum(axis=-2, keepdims=True), -1, 0)
    return np.asarray(((p - q) * np.log(p / q)).sum(axis=-1))


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
        if share * waiting.sum() >= _EXPECTED:
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


def _read(kind: type[T], path: Path, lost: list[Path], alike: Counts | None = None) -> T | None:
    """Return what is in a file; None, with a warning, if it is damaged or has other bins."""
    try:
        found = schema.load(kind, path)
        if alike is not None and isinstance(found, Counts):
            alike.plus(found)  # raises ValueError for other bins
    except NewerSchemaError:
        raise
    except (HemlineError, ValueError):
        log.warning("%s is missing or damaged: its counts are lost", path)
        lost.append(path)
        return None
    return found
