"""Draw drift: how far each period is from the reference, and one period in detail."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hemline import figures
from hemline.bench.drift.judging import MEASURES, Drift, JudgedPeriod
from hemline.contract.monitoring import Histogram, MonitoredArtifact, Reference

_WIDTH_INCHES = 9.0
_SERIES_INCHES = 2.2
_CLASS_INCHES, _LEAST_INCHES = 0.19, 2.6  # height of a class, and of the panels of a period
_MOST_CLASSES = 40
_TICKS = 8
_LEAST_SHOWN = 0.05  # of a threshold


def draw_drift(drift: Drift, path: Path) -> None:
    """Write a picture of the periods, at least one, and of the one with the most drift in detail.

    Without an alarm that is the last one. Raises HemlineError.
    """
    artifact, periods = drift.artifact, drift.periods
    shown = max(periods, key=lambda each: each.worst) if drift.alarms else periods[-1]
    heading = figures.Heading(
        title=f"{artifact.name}: drift in {drift.alarms} of {len(periods)} periods",
        subtitle=f"compared with {artifact.reference.images:,} validation images; one period of "
        "10,000 without drift raises an alarm",
    )
    classes = min(len(artifact.labels) + 1, _MOST_CLASSES)
    detail = max(_LEAST_INCHES, 0.8 + _CLASS_INCHES * classes)
    rows = [_SERIES_INCHES, detail] if len(periods) > 1 else [detail]
    with figures.drawn(path, heading, width=_WIDTH_INCHES, height=sum(rows) + 0.3) as figure:
        parts = figure.subfigures(len(rows), 1, height_ratios=rows, squeeze=False)[:, 0]
        if len(periods) > 1:
            _series(parts[0].subplots(), periods)
        _detail(parts[-1], artifact, shown)


def _series(axes: Any, periods: Sequence[JudgedPeriod]) -> None:
    """Draw each measure as a multiple of its threshold."""
    for name, colour in zip(MEASURES, figures.PALETTE, strict=False):
        points = [
            (at, max(m.value / m.threshold, _LEAST_SHOWN))
            for at, each in enumerate(periods)
            for m in each.measures
            if m.name == name
        ]
        if points:
            line = {"color": colour, "linewidth": 1, "markersize": 3.5}
            axes.plot(*zip(*points, strict=True), "o-", label=name, **line)
    axes.axhline(1, color=figures.RED, linestyle="--", linewidth=1)
    for at, each in enumerate(periods):
        if each.alarm:
            axes.axvspan(at - 0.5, at + 0.5, color=figures.RED, alpha=0.08, linewidth=0)
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, _LEAST_SHOWN), max(high, 3))
    axes.set_xlim(-0.5, len(periods) - 0.5)
    step = -(-len(periods) // _TICKS)
    starts = [each.period.window.start for each in periods][::step]
    texts = [f"{start[5:10]}\n{start[11:]}:00" for start in starts]
    axes.set_xticks(range(0, len(periods), step), texts, fontsize=7)
    axes.set_ylabel("value ÷ threshold", fontsize=8)
    axes.set_title("each measure; an alarm is above the dashed line", loc="left", fontsize=9)
    axes.grid(axis="y")
    axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1), frameon=False)


def _detail(figure: Any, artifact: MonitoredArtifact, shown: JudgedPeriod) -> None:
    reference, window = artifact.reference, shown.period.window
    pairs = [("score of the best class", reference.scores, window.scores)]
    if reference.distances is not None:
        pairs.append(("distance to the nearest class", reference.distances, window.distances))
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.25))
    _labels(left.subplots(), artifact.labels, reference, window.labels)
    grid = right.subplots(len(pairs), 1, squeeze=False)[:, 0]
    for axes, (name, expected, counts) in zip(grid, pairs, strict=True):
        _histogram(axes, name, expected, counts)
    found = ", ".join(m.name for m in shown.measures if m.alarm)
    verdict = f"alarm by {found}" if found else "no alarm"
    figure.suptitle(
        f"{shown.period.text} UTC, {window.images:,} images: {verdict}",
        x=0.01,
        ha="left",
        fontsize=9,
    )


def _labels(axes: Any, labels: Sequence[str], reference: Reference, counts: Sequence[int]) -> None:
    """Draw the share of each class that is predicted; of many classes, those that changed most."""
    shares, expected = (100 * np.divide(each, sum(each)) for each in (counts, reference.labels))
    names = np.array([*figures.short_labels(labels), "(unknown)"])
    kept = np.sort(np.argsort(-np.abs(shares - expected), kind="stable")[:_MOST_CLASSES])
    axes.barh(range(len(kept)), shares[kept], color=figures.SKY, height=0.7, label="this period")
    mark = {"color": "black", "markersize": 8, "markeredgewidth": 1.6}
    axes.plot(expected[kept], range(len(kept)), "|", label="validation", **mark)
    axes.set_yticks(range(len(kept)), names[kept])
    axes.set_ylim(len(kept) - 0.4, -0.6)
    axes.set_xlabel("predictions, %", fontsize=8)
    axes.tick_params(axis="both", length=0, labelsize=7.5)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")


def _histogram(axes: Any, name: str, reference: Histogram, counts: Sequence[int]) -> None:
    """Draw the share of images in each bin; the bins have one width, their edges are written."""
    bins, edges = range(len(counts)), reference.edges
    shares, expected = (100 * np.divide(each, sum(each)) for each in (counts, reference.counts))
    axes.bar(bins, shares, color=figures.SKY, width=0.86, label="this period")
    line = {"color": "black", "linewidth": 1.4, "label": "validation"}
    axes.step(np.arange(len(counts) + 1) - 0.5, [*expected, expected[-1]], where="post", **line)
    step = max(1, len(edges) // 6)
    at = range(0, len(edges), step)
    axes.set_xticks([each + 0.5 for each in at], [f"{edges[each]:.3g}" for each in at], fontsize=7)
    axes.set_xlabel(name, fontsize=8)
    axes.set_ylabel("images, %", fontsize=8)
    axes.set_xlim(-0.6, len(counts) - 0.4)
    axes.tick_params(axis="y", labelsize=7.5)
    axes.legend(fontsize=7, frameon=False)
