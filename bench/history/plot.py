"""Draw latencies over time: a panel for each series, steps and changes marked."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hemline import figures
from hemline.bench.history.changes import FEWEST
from hemline.bench.history.series import Run, Series

_WHAT = (
    "median of each run and its 95 % interval, µs; a panel for each file, runtime version and host"
)
_MOST = 40  # panels
_PANEL_INCHES, _WIDTH_INCHES = 1.7, 10.0
_TICKS = 5
_LEAST_ROOM = 0.06  # of a time, above and below: noise shall not look like a change


def draw_history(series: Sequence[Series], path: Path) -> None:
    """Write a picture of the series, those with changes first; raises HemlineError."""
    shown = sorted(series, key=lambda each: not each.changes)[:_MOST]
    columns = min(2, len(shown))
    rows = -(-len(shown) // columns)
    changed = sum(bool(each.changes) for each in series)
    short = any(len(each.runs) < 2 * FEWEST for each in series)
    notes = (
        f"{len(series) - len(shown)} series are left out" if len(series) > _MOST else "",
        f"no change is found in fewer than {2 * FEWEST} runs" if short else "",
    )
    heading = figures.Heading(
        title=f"Latency over time: {changed} of {len(series)} series changed",
        subtitle="; ".join(filter(None, (_WHAT, *notes))),
    )
    height = 0.3 + rows * _PANEL_INCHES
    with figures.drawn(path, heading, width=_WIDTH_INCHES, height=height) as figure:
        grid = figure.subplots(rows, columns, squeeze=False)
        several = len({each.place for each in series}) > 1
        for axes, each in itertools.zip_longest(grid.flat, shown):
            if each is None:
                axes.set_axis_off()
            else:
                _panel(axes, each, each.place if several else "")


def dates_of(runs: Sequence[Run]) -> list[str]:
    """Return the day of each run; of one day, the times of day (UTC)."""
    one_day = len({run.date[:10] for run in runs}) == 1
    return [run.date[11:16] if one_day and len(runs) > 1 else run.date[:10] for run in runs]


def _panel(axes: Any, series: Series, place: str) -> None:
    runs, numbers = series.runs, range(1, len(series.runs) + 1)
    lows, highs = [run.low_us for run in runs], [run.high_us for run in runs]
    axes.vlines(numbers, lows, highs, color=figures.SKY, linewidth=1)
    axes.plot(numbers, [run.median_us for run in runs], "o", markersize=3, color=figures.BLUE)
    ends = (0, *series.changes, len(runs))
    for (first, last), level in zip(itertools.pairwise(ends), series.levels_us, strict=True):
        axes.hlines(level, first + 0.5, last + 0.5, color=figures.DARK, linewidth=1)
    for at, (_, percent) in zip(series.changes, series.steps, strict=True):
        colour, what = (figures.RED, "slower") if percent > 0 else (figures.GREEN, "faster")
        axes.axvline(at + 0.5, color=colour, linestyle="--", linewidth=1)
        style = {"xycoords": axes.get_xaxis_transform(), "textcoords": "offset points"}
        style |= {"fontsize": 8, "color": figures.darkened(colour)}
        axes.annotate(f"{abs(percent):.1f} % {what}", (at + 0.5, 1), (3, -9), **style)
    step = max(1, len(runs) // _TICKS)
    axes.set_xticks(list(numbers)[::step], dates_of(runs)[::step], fontsize=7)
    low, high = min(lows), max(highs)
    room = max(0.25 * (high - low), _LEAST_ROOM * high)
    axes.set_ylim(low - room, high + room)
    axes.grid(axis="y")
    axes.set_title(figures.fitted(series.cell, 9, 4.4), fontsize=9, loc="left")
    if place:
        axes.set_xlabel(figures.fitted(place, 7, 4.4), fontsize=7, color=figures.GRAY)
