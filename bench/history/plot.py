"""Draw latencies over time: a panel for each series, steps and changes marked."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hemline import figures
from hemline.bench.history.series import Series

_MOST = 40  # panels
_PANEL_INCHES, _WIDTH_INCHES = 1.7, 10.0
_TICKS = 5


def draw_history(series: Sequence[Series], path: Path) -> None:
    """Write a picture of the series, those with changes first; raises HemlineError."""
    shown = sorted(series, key=lambda each: not each.changes)[:_MOST]
    columns = min(2, len(shown))
    rows = -(-len(shown) // columns)
    changed = sum(bool(each.changes) for each in series)
    left_out = f"; {len(series) - len(shown)} series are left out" if len(series) > _MOST else ""
    heading = figures.Heading(
        title=f"Latency over time: {changed} of {len(series)} series changed",
        subtitle="median of each run with its 95 % interval, µs; one panel for each cell, host and "
        f"version; a line for each level, dashed where it changes{left_out}",
    )
    with figures.drawn(
        path, heading, width=_WIDTH_INCHES, height=0.3 + rows * _PANEL_INCHES
    ) as figure:
        grid = figure.subplots(rows, columns, squeeze=False)
        several = len({each.place for each in series}) > 1
        for axes, each in itertools.zip_longest(grid.flat, shown):
            if each is None:
                axes.set_axis_off()
            else:
                _panel(axes, each, each.place if several else "")


def _panel(axes: Any, series: Series, place: str) -> None:
    runs, numbers = series.runs, range(1, len(series.runs) + 1)
    medians = [run.median_us for run in runs]
    below = [run.median_us - run.low_us for run in runs]
    above = [run.high_us - run.median_us for run in runs]
    axes.errorbar(
        numbers,
        medians,
        yerr=(below, above),
        fmt="o",
        markersize=3,
        color=figures.BLUE,
        ecolor=figures.SKY,
        elinewidth=1,
    )
    ends = (0, *series.changes, len(runs))
    for (first, last), level in zip(itertools.pairwise(ends), series.levels_us, strict=True):
        axes.hlines(level, first + 0.5, last + 0.5, color=figures.DARK, linewidth=1)
    for at, (_, percent) in zip(series.changes, series.steps, strict=True):
        axes.axvline(at + 0.5, color=figures.RED, linestyle="--", linewidth=1)
        axes.annotate(
            f"{percent:+.1f} %",
            (at + 0.5, 1),
            xycoords=("data", "axes fraction"),
            xytext=(3, -9),
            textcoords="offset points",
            fontsize=8,
            color=figures.RED,
        )
    step = max(1, len(runs) // _TICKS)
    axes.set_xticks(list(numbers)[::step], [run.date[:10] for run in runs][::step], fontsize=7)
    axes.margins(y=0.25)
    axes.grid(axis="y")
    axes.set_title(figures.fitted(series.cell, 9, 4.4), fontsize=9, loc="left")
    if place:
        axes.set_xlabel(figures.fitted(place, 7, 4.4), fontsize=7, color=figures.GRAY)
