"""Draw the accuracy of each class on each data set, and the overall one as a line.

The axis is logarithmic in the error, as the classes of an easy data set would overlap otherwise.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from hemline.figures import BLUE, GRAY, GREEN, PURPLE, SUBTITLE_SIZE, VERMILION, Heading, drawn
from hemline.train.comparison.comparison import DatasetComparison, Outcome, outcomes
from hemline.train.comparison.table import conditions_lines, ratio_lines

_COLOURS = (BLUE, VERMILION, GREEN, PURPLE)
_TICKS = (0, 30, 50, 70, 80, 90, 95, 98, 99, 99.5, 99.8, 99.9)  # percent
_LEAST_ERROR = 5e-4  # where a class without mistakes is drawn: half an image of 1,000
_ROW_INCHES = 0.27
_ROOM = 0.03  # of the axis beside the outermost ticks, powers of ten


def draw(comparison: DatasetComparison, path: Path) -> None:
    """Write a PNG: a panel for each data set, its classes from best to worst."""
    found = outcomes(comparison)
    rows = [len(each.classes) for each in found]
    headline = ", ".join(ratio_lines(comparison)) or " and ".join(each.title for each in found)
    conditions = conditions_lines(comparison)
    heading = Heading(title=f"{comparison.model}: {headline}", subtitle=conditions[0])
    height = 1.3 + sum(rows) * _ROW_INCHES + 0.5 * len(rows)
    width = max(9.0, 1.03 * heading.width)  # hinted letters are a little wider than their outlines
    with drawn(path, heading, width=width, height=height) as figure:
        figure.get_layout_engine().set(w_pad=0.1)  # inches
        panels = figure.subplots(len(found), sharex=True, height_ratios=rows)
        for axes, each, colour in zip(panels, found, _COLOURS, strict=False):
            _panel(axes, each, colour)
        _scale(panels[-1], found)
        several = len(found[0].seeds) > 1
        marks = "filled: mean of the seeds, hollow: each seed" if several else "dot: accuracy"
        legend = f"{marks}; bar: 95 % Wilson interval; dotted: all classes"
        notes = "\n".join((legend, *conditions[1:]))
        figure.supxlabel(notes, x=0.02, ha="left", fontsize=SUBTITLE_SIZE, color=GRAY)


def _panel(axes: Any, outcome: Outcome, colour: str) -> None:
    classes = sorted(outcome.classes, key=lambda each: each.accuracy)
    for row, each in enumerate(classes):
        axes.plot([_x(each.low), _x(each.high)], [row, row], color=colour, alpha=0.35, linewidth=2)
        if len(each.seeds) > 1:
            marks = [_x(share) for share in each.seeds]
            hollow = {"color": "white", "edgecolor": colour, "zorder": 2.5}
            axes.scatter(marks, [row] * len(marks), s=14, **hollow)
        axes.scatter([_x(each.accuracy)], [row], s=34, color=colour, zorder=3)
        beside = {"transform": axes.get_yaxis_transform(), "va": "center", "fontsize": 8}
        axes.text(1.01, row, f"{100 * each.accuracy:.2f} %", color=GRAY, **beside)
    axes.axvline(_x(outcome.accuracy), color=colour, linestyle=":", linewidth=1.2, zorder=1)
    axes.set_yticks(range(len(classes)), [each.label for each in classes])
    axes.set_ylim(-0.7, len(classes) - 0.3)
    title = (
        f"{outcome.title}: {100 * outcome.accuracy:.2f} % ({100 * outcome.low:.2f} … "
        f"{100 * outcome.high:.2f}), classes spread by {outcome.spread_points:.2f} points"
    )
    axes.set_title(title, loc="left", color=colour)
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _scale(axes: Any, found: tuple[Outcome, ...]) -> None:
    classes = [each for one in found for each in one.classes]
    lowest = min(min(each.low, *each.seeds) for each in classes)
    highest = max(max(each.high, *each.seeds) for each in classes)
    ticks = ticks_around(lowest, highest)
    last = max(_x(ticks[-1] / 100), _x(highest))  # no tick is above the best of classes
    axes.set_xlim(_x(ticks[0] / 100) - _ROOM, last + _ROOM)
    axes.set_xticks([_x(share / 100) for share in ticks], [f"{share:g}" for share in ticks])
    axes.set_xlabel("test accuracy of a class, % (log scale of the error)  better →")


def ticks_around(lowest: float, highest: float) -> list[float]:
    """Return the ticks, in percent, from the last below `lowest` to the first above `highest`."""
    first = max(tick for tick in _TICKS if tick <= 100 * lowest)
    last = min((tick for tick in _TICKS if tick >= 100 * highest), default=_TICKS[-1])
    return [tick for tick in _TICKS if first <= tick <= last]


def _x(share: float) -> float:
    """Return the position of an accuracy 0 … 1 on the axis."""
    return -math.log10(max(1 - share, _LEAST_ERROR))
