"""Show drift: a table, and a picture of all periods and one of them in detail."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hemline import figures
from hemline.bench.drift.judging import EXPECTED, MEASURES, Judged, Period
from hemline.contract.monitoring import Reference
from hemline.data.custom.reading import counted
from hemline.tables import Table, as_text, count

_WIDTH_INCHES, _SERIES_INCHES = 9.0, 2.2
_CLASS_INCHES, _LEAST_INCHES = 0.19, 2.6  # height of a class, and of the panels of a period
_MOST_CLASSES, _TICKS = 40, 8
_LEAST_SHOWN = 0.05  # of a threshold
_LEAST_IN_BIN = 5  # images of a histogram
_TOO_FEW = "too few images"


def drift_text(found: Judged, least: int) -> str:
    """Return a table with a row for each period, which should have `least` images."""
    names = MEASURES if found.reference.distance_edges else MEASURES[:-2]
    rows = []
    for each in found.periods:
        values = {m.name: f"{m.value:.3f} / {m.threshold:.3f}" for m in each.measures}
        images = each.counts.images
        alarms = ", ".join(m.name for m in each.measures if m.alarm)
        verdict = alarms or "no drift" if each.measures else _TOO_FEW
        unknown = f"{100 * each.counts.labels[-1] / max(images, 1):.1f} %"
        cells = (values.get(name, "–") for name in names)
        shown = count(images) if images >= least else f"{count(images)} of {count(least)}"
        rows.append((_hour(each), shown, unknown, *cells, verdict))
    columns = ("period (UTC)", ">images", ">unknown", *(f">{name}" for name in names), "verdict")
    compared = f"value / threshold, against {found.reference.counts.images:,} validation images"
    text = f"{found.periods[0].artifact}: {compared}\n{as_text(Table.of(columns, rows))}"
    few = f"\n–: too few images for two groups with {EXPECTED} expected images each"
    return text + few * any(map(found.not_judged, found.periods))


def draw_drift(found: Judged, path: Path) -> None:
    """Draw measures of periods, and the counts of the one with the most drift, else of the last."""
    labels, reference, periods, _ = found
    alarms = sum(each.alarm for each in periods)
    ratios = [max((m.value / m.threshold for m in p.measures), default=-1) for p in periods]
    shown = periods[int(np.argmax(ratios))] if alarms else periods[-1]
    drift = f"drift in {alarms} of {counted(len(periods), 'period')}"
    heading = figures.Heading(
        title=f"{shown.artifact}: {drift if max(ratios) >= 0 else _TOO_FEW}",
        subtitle=f"compared with {reference.counts.images:,} validation images; without drift, one "
        "period in 10,000 raises an alarm",
    )
    least = _LEAST_INCHES * (1.4 if reference.distance_edges else 1)
    detail = max(least, 0.8 + _CLASS_INCHES * min(len(labels) + 1, _MOST_CLASSES))
    rows = [_SERIES_INCHES, detail] if len(periods) > 1 else [detail]
    with figures.drawn(path, heading, width=_WIDTH_INCHES, height=sum(rows) + 0.3) as figure:
        parts = figure.subfigures(len(rows), 1, height_ratios=rows, squeeze=False)[:, 0]
        if len(periods) > 1:
            _draw_series(parts[0].subplots(), periods)
        _draw_period(parts[-1], labels, reference, shown)


def _draw_series(axes: Any, periods: Sequence[Period]) -> None:
    for name, colour in zip(MEASURES, figures.PALETTE, strict=False):
        named = [(at, m) for at, p in enumerate(periods) for m in p.measures if m.name == name]
        ratios = [max(m.value / m.threshold, _LEAST_SHOWN) for _, m in named]
        if named:
            style = {"color": colour, "linewidth": 1, "markersize": 3.5}
            axes.plot([at for at, _ in named], ratios, "o-", label=name, **style)
    axes.axhline(1, color=figures.RED, linestyle="--", linewidth=1)
    for at, each in enumerate(periods):
        if each.alarm:
            axes.axvspan(at - 0.5, at + 0.5, color=figures.RED, alpha=0.08, linewidth=0)
    axes.set(yscale="log", xlim=(-0.5, len(periods) - 0.5), ylabel="value ÷ threshold")
    axes.set_ylim(_LEAST_SHOWN, max(axes.get_ylim()[1], 3))
    ticks = range(0, len(periods), -(-len(periods) // _TICKS))
    hours = [_hour(periods[each])[5:].replace(" ", "\n") for each in ticks]
    axes.set_xticks(ticks, hours, fontsize=7)
    axes.set_title("each measure; an alarm is above the dashed line", loc="left", fontsize=9)
    axes.grid(axis="y")
    axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1), frameon=False)


def _draw_period(figure: Any, labels: Sequence[str], reference: Reference, period: Period) -> None:
    counts, expected = period.counts, reference.counts
    alarms = ", ".join(m.name for m in period.measures if m.alarm)
    what = f"alarm by {alarms}" if alarms else "no alarm" if period.measures else _TOO_FEW
    title = f"{_hour(period)} UTC, {counts.images:,} images: {what}"
    figure.suptitle(title, x=0.01, ha="left", fontsize=9)
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.25))
    _draw_labels(left.subplots(), labels, _shares(counts.labels), _shares(expected.labels))
    bins = [("score of the best class", reference.score_edges, counts.scores, expected.scores)]
    if expected.distances:
        away = (reference.distance_edges, counts.distances, expected.distances)
        bins.append(("distance to the nearest class", *away))
    grid = right.subplots(len(bins), 1, squeeze=False)[:, 0]
    for axes, (name, edges, found, before) in zip(grid, bins, strict=True):
        _draw_bins(axes, edges, found, before)
        axes.set_xlabel(name, fontsize=8)


def _draw_labels(axes: Any, labels: Sequence[str], shares: Any, before: Any) -> None:
    """Draw the share of each predicted class; of many classes, of those that changed most."""
    names = np.array([*figures.short_labels(labels), "(unknown)"])
    kept = np.sort(np.argsort(-np.abs(shares - before), kind="stable")[:_MOST_CLASSES])
    rows = range(len(kept))
    axes.barh(rows, shares[kept], color=figures.SKY, height=0.7)
    axes.plot(before[kept], rows, "|", color="black", markersize=8, markeredgewidth=1.6)
    axes.set_yticks(rows, names[kept])
    axes.set_ylim(len(kept) - 0.4, -0.6)
    axes.set_xlabel("predictions, %", fontsize=8)
    axes.tick_params(length=0, labelsize=7.5)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")


def _draw_bins(axes: Any, edges: Sequence[float], found: Any, expected: Any) -> None:
    """Draw the share of images in each bin; all bins have one width. Of few images, merge bins."""
    most = max(2, min(sum(found), sum(expected)) // _LEAST_IN_BIN)
    starts = range(0, len(found), -(-len(found) // most))
    shares, before = (_shares(np.add.reduceat(each, starts)) for each in (found, expected))
    edges = [edges[each - 1] for each in starts[1:]]
    axes.bar(range(len(shares)), shares, color=figures.SKY, width=0.86, label="this period")
    line = {"baseline": None, "color": "black", "linewidth": 1.4, "label": "validation"}
    axes.stairs(before, np.arange(len(before) + 1) - 0.5, **line)
    at = range(0, len(edges), max(1, len(edges) // 6))
    ticks = ([f"{edges[each]:.{digits}g}" for each in at] for digits in range(4, 18))
    axes.set_xticks([each + 0.5 for each in at], next(x for x in ticks if len({*x}) == len(x)))
    axes.tick_params(labelsize=7.5)
    axes.set_ylabel("images, %", fontsize=8)
    axes.legend(fontsize=7, frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1, 0.97))


def _shares(counts: Any) -> Any:
    return 100 * np.divide(counts, max(sum(counts), 1))


def _hour(period: Period) -> str:
    return f"{period.start.replace('T', ' ')}:00"
