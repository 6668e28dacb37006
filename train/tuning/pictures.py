"""Pictures of a study: its history, its trials by epoch, each field, and the importances.

Optuna's own leave out pruned trials and the recipe that a search began from, have an entry in the
legend for each trial, and change matplotlib's style for the whole process.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hemline.data.custom.reading import counted
from hemline.data.datasets import title_of
from hemline.figures import BLUE, DARK, GRAY, LIGHT, VERMILION, Heading, drawn, legend_below
from hemline.tables import percent
from hemline.train.tuning.dimensions import Choices, Dimension, shown
from hemline.train.tuning.results import Results, TrialResult

_MARKS = {"o": ("trained to the end", BLUE), "x": ("pruned", LIGHT), "v": ("below the axis", LIGHT)}
_MOST_COLUMNS = 4  # panels of fields beside each other
_ROOM_FOR_NAMES = 20  # letters below a panel
_JITTER = 0.5  # how far the dots of one choice are spread, of its room
_LEAST_SPAN = 1.0  # points of accuracy: on a shorter axis a few images look like much
_SHOWN_SPREADS = 1.0  # how far below the median is shown, as a multiple of what is above it


def draw(results: Results, importances: Mapping[str, float], folder: Path) -> list[Path]:
    """Write the pictures that the trials so far are enough for, and return their paths."""
    finished = ("complete", "pruned")
    seen = [each for each in results.trials if each.state in finished and each.last is not None]
    if not seen:
        return []
    title, conditions = f"{results.search.model}: {{}}", conditions_line(results)
    fields = len(results.search.space)
    rows = math.ceil(fields / _MOST_COLUMNS)
    columns = math.ceil(fields / rows)
    wide = max(6.0, 1.6 + 2.5 * columns)
    pictures = {
        "history": (title_of_search(results), 9.0, 4.6),
        "fields": ("validation accuracy by tried value", wide, 0.6 + 2.4 * rows),
    }
    if results.search.epochs > 1:
        pictures["epochs"] = ("validation accuracy by epoch", 9.0, 4.6)
    if importances:
        name, share = max(importances.items(), key=lambda pair: pair[1])
        text = f"{name} explains {100 * share:.0f} % of the differences between trials"
        pictures["importances"] = (text, 8.0, 0.9 + 0.42 * fields)
    for name, (what, width, height) in pictures.items():
        heading = Heading(title=title.format(what), subtitle=conditions)
        size = {"width": max(width, heading.width), "height": height}
        with drawn(folder / f"{name}.png", heading, **size) as figure:
            if name == "fields":
                _fields(figure, results, seen, (rows, columns))
            elif name == "importances":
                _importances(figure.subplots(), results, importances)
            else:
                axes = figure.subplots()
                _DRAWN[name](axes, results, seen)
                axes.set_ylabel("validation accuracy, %")
                axes.xaxis.get_major_locator().set_params(integer=True)
                axes.grid()
                legend_below(figure, axes)
    return [folder / f"{name}.png" for name in pictures]


def title_of_search(results: Results) -> str:
    """Return what the search found, for a title."""
    best, first = results.best, results.trials[0]
    if best is None or best.accuracy is None:
        return "accuracy of each trial"
    if best == first:
        return f"no trial is better than the recipe, {percent(best.accuracy)}"
    gain = 100 * (best.accuracy - (first.accuracy or 0.0))
    more = f", {gain:+.2f} points against the recipe" if first.accuracy else ""
    return f"trial {best.number} is best, {percent(best.accuracy)} on validation{more}"


def conditions_line(results: Results) -> str:
    """Return under what all trials of a study were trained."""
    search = results.search
    parts = [
        title_of(search.dataset),
        f"limit {search.limit:,} images" if search.limit else "",
        f"{search.validation:,} validation images",
        counted(search.epochs, "epoch"),
        f"seed {search.seed}",
    ]
    return ", ".join(part for part in parts if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The accuracies that a picture shows, in percent: what is below is drawn at its lower edge."""

    low: float
    high: float

    @staticmethod
    def of(accuracies: Sequence[float]) -> View:
        """Return the view of accuracies, 0 … 1, in which the better half fills half of it."""
        values = 100 * np.asarray(accuracies)
        top, middle = float(values.max()), float(np.median(values))
        low = max(float(values.min()), middle - _SHOWN_SPREADS * (top - middle))
        room = max(top - low, _LEAST_SPAN)
        return View(low=top - 1.08 * room, high=top + 0.08 * room)

    def mark(self, each: TrialResult) -> str:
        """Return the mark of a trial, a key of _MARKS."""
        if 100 * (each.last or 0.0) < self.low:
            return "v"
        return "o" if each.state == "complete" else "x"

    def dots(self, axes: Any, seen: Sequence[TrialResult], places: Sequence[Any]) -> None:
        """Draw trials at places on the x axis, each with the mark of its state."""
        for mark, (label, colour) in _MARKS.items():
            points = [
                (place, max(100 * (each.last or 0.0), self.low))
                for each, place in zip(seen, places, strict=True)
                if self.mark(each) == mark
            ]
            if points:
                style = {"markersize": 5, "alpha": 0.8, "zorder": 3, "clip_on": False}
                axes.plot(*zip(*points, strict=True), mark, color=colour, label=label, **style)
        axes.set_ylim(self.low, self.high)


def _history(axes: Any, _: Results, seen: list[TrialResult]) -> None:
    view = View.of([each.last or 0.0 for each in seen])
    view.dots(axes, seen, [each.number for each in seen])
    complete = [each for each in seen if each.accuracy is not None]
    if complete:
        best = list(itertools.accumulate((100 * (each.accuracy or 0.0) for each in complete), max))
        numbers = [*(each.number for each in complete), seen[-1].number + 0.4]
        line = {"color": VERMILION, "linewidth": 2.2, "solid_capstyle": "butt", "zorder": 2.8}
        axes.step(numbers, [*best, best[-1]], where="post", label="best so far", **line)
        better = {value: at for at, value in reversed(list(zip(numbers, best, strict=False)))}
        ring = {"markersize": 9, "markerfacecolor": "none", "zorder": 4, "color": VERMILION}
        axes.plot(list(better.values()), list(better), "o", **ring)
    own = next((each for each in complete if each.number == 0), None)
    if own is not None and view.mark(own) == "o":
        style = {"color": DARK, "linestyle": "--", "linewidth": 1.0, "zorder": 2.5}
        axes.axhline(100 * (own.accuracy or 0.0), label="the recipe itself: trial 0", **style)
    axes.set_xlim(-0.6, seen[-1].number + 0.6)
    axes.set_xlabel("trial")


def _epochs(axes: Any, results: Results, seen: list[TrialResult]) -> None:
    best, labels = results.best, set[str]()
    for each in seen:
        pruned = each.state == "pruned"
        label, colour, width, style = "trained to the end", BLUE, 1.0, "-"
        if pruned:
            label, colour = "pruned", LIGHT
        if each.number == 0:
            label, colour, width, style = "the recipe itself: trial 0", DARK, 1.6, "--"
        if each == best:
            label, colour, width, style = f"best: trial {each.number}", VERMILION, 2.2, "-"
        axes.plot(
            list(each.epochs),
            [100 * value for value in each.epochs.values()],
            style,
            color=colour,
            linewidth=width,
            alpha=0.5 if width == 1.0 else 1.0,
            zorder=2 + width,
            marker="x" if pruned else None,
            markevery=[-1],
            markersize=5,
            label=None if label in labels else label,
        )
        labels.add(label)
    view = View.of([accuracy for each in seen for accuracy in each.epochs.values()])
    axes.set_ylim(view.low, view.high)
    axes.margins(x=0.02)
    axes.set_xlabel("epoch")


_DRAWN = {"history": _history, "epochs": _epochs}


def _fields(figure: Any, results: Results, seen: list[TrialResult], shape: tuple[int, int]) -> None:
    space, best = results.search.space, results.best
    panels = figure.subplots(*shape, sharey=True, squeeze=False)
    view = View.of([each.last or 0.0 for each in seen])
    for dimension, axes in zip(space, panels.flat, strict=False):
        places = _places(axes, dimension, seen)
        view.dots(axes, seen, places)
        if best is not None:
            place, height = places[seen.index(best)], max(100 * (best.accuracy or 0.0), view.low)
            ring = {"markersize": 9, "markerfacecolor": "none", "markeredgewidth": 1.8}
            label = f"best: trial {best.number}"
            axes.plot([place], [height], "o", color=VERMILION, zorder=4, label=label, **ring)
        axes.set_title(dimension.field, fontsize=9)
        axes.tick_params(labelsize=8)
        axes.grid()
    for axes in list(panels.flat)[len(space) :]:
        axes.remove()
    for row in panels:
        row[0].set_ylabel("validation, %")
    legend_below(figure, panels[0][0])


def _places(axes: Any, dimension: Dimension, seen: list[TrialResult]) -> list[Any]:
    """Return where each trial is on the x axis of a field, and set that axis up."""
    field = dimension.field
    if isinstance(dimension, Choices):
        names = [shown(value) for value in dimension.values]
        crowded = sum(map(len, names)) > _ROOM_FOR_NAMES
        axes.set_xticks(range(len(names)), names, rotation=30 if crowded else 0)
        axes.set_xlim(-0.5, len(names) - 0.5)
        axes.set_xlabel("dots of one choice are drawn side by side", fontsize=6.5, color=GRAY)
        # even steps of the golden ratio beside the place of the choice
        steps = [_JITTER * (each.number * 0.618 % 1 - 0.5) for each in seen]
        numbers = [dimension.values.index(each.values[field]) for each in seen]
        return [number + step for number, step in zip(numbers, steps, strict=True)]
    places = [each.values[field] for each in seen]
    if dimension.scale == "log":
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
    elif all(isinstance(place, int) for place in places):
        axes.xaxis.get_major_locator().set_params(integer=True)
    axes.margins(x=0.06)
    return places


def _importances(axes: Any, results: Results, importances: Mapping[str, float]) -> None:
    names = list(importances)[::-1]
    shares = [100 * importances[name] for name in names]
    bars = axes.barh(names, shares, color=BLUE, height=0.62)
    axes.bar_label(bars, fmt="{:.0f} %", padding=4, color=DARK)
    axes.set_xlim(0, 1.12 * max(*shares, 1.0))
    trials = f"{results.count('complete')} complete trials"
    axes.set_xlabel(f"share in how the {trials} differ (fANOVA), %")
    axes.grid(axis="x")
