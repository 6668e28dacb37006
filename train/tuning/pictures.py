"""Pictures of a study: its history, its trials by epoch, each field, and what mattered."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hemline.data.custom.reading import counted
from hemline.data.datasets import DATASETS
from hemline.files import replacing
from hemline.train.tuning.dimensions import Choices, Dimension, shown
from hemline.train.tuning.results import Results, TrialResult

# Okabe & Ito's palette, told apart by colour-blind readers
_BLUE, _ORANGE, _GREEN = "#0072B2", "#D55E00", "#009E73"
_GRAY, _DARK, _SOFT = "#999999", "#444444", "#666666"
_MARKS = {"o": ("trained to the end", _BLUE), "x": ("pruned", _GRAY), "v": ("far below", _GRAY)}
_MOST_COLUMNS = 4  # panels of fields beside each other
_ROOM_FOR_NAMES = 20  # letters below a panel
_JITTER = 0.5  # how far the dots of one choice are spread, of its room
_SHOWN_SPREADS = 2.0  # how far below the lower quartile is shown, as a multiple of what is above it


def draw(results: Results, importances: Mapping[str, float], folder: Path) -> list[Path]:
    """Write the pictures that the trials so far are enough for, and return their paths."""
    if not _seen(results):
        return []
    pictures = [(folder / "history.png", _history), (folder / "fields.png", _fields)]
    if results.search.epochs > 1:
        pictures.append((folder / "epochs.png", _epochs))
    paths = []
    for path, picture in pictures:
        with _figure(path) as plt:
            picture(plt, results)
        paths.append(path)
    if importances:
        paths.append(folder / "importances.png")
        with _figure(paths[-1]) as plt:
            _importances(plt, results, importances)
    return paths


@contextlib.contextmanager
def _figure(path: Path) -> Iterator[Any]:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    try:
        yield plt
        with replacing(path) as partial:
            plt.gcf().savefig(partial, format="png")
    finally:
        plt.close(plt.gcf())


@dataclass(frozen=True, slots=True, kw_only=True)
class _View:
    """The accuracies that a picture shows, in percent: what lies below stands at its lower edge."""

    low: float
    high: float

    @staticmethod
    def of(accuracies: Sequence[float]) -> _View:
        values = 100 * np.asarray(accuracies)
        top, quartile = 100 * max(accuracies), float(np.percentile(values, 25))
        low = max(float(values.min()), quartile - _SHOWN_SPREADS * (top - quartile))
        room = max(top - low, 0.5)
        return _View(low=low - 0.08 * room, high=top + 0.08 * room)

    def shown(self, accuracy: float) -> float:
        return max(100 * accuracy, self.low)

    def hides(self, accuracy: float) -> bool:
        return 100 * accuracy < self.low

    def apply(self, axes: Any) -> None:
        axes.set_ylim(self.low, self.high)


def _seen(results: Results) -> list[TrialResult]:
    """Return the finished trials that have an accuracy of any epoch."""
    finished = [each for each in results.trials if each.state in ("complete", "pruned")]
    return [each for each in finished if each.last is not None]


def _history(plt: Any, results: Results) -> None:
    _, axes = plt.subplots(figsize=(9, 5), dpi=130, layout="constrained")
    seen = _seen(results)
    view = _View.of([each.last or 0.0 for each in seen])
    _dots(axes, seen, view, [each.number for each in seen])
    complete = [each for each in seen if each.accuracy is not None]
    best = list(itertools.accumulate((100 * (each.accuracy or 0.0) for each in complete), max))
    if complete:
        numbers = [*(each.number for each in complete), seen[-1].number + 0.4]
        axes.step(numbers, [*best, best[-1]], where="post", color=_GREEN, label="best so far")
    _own_line(axes, results, view)
    view.apply(axes)
    axes.set_xlim(-0.6, seen[-1].number + 0.6)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("trial")
    axes.set_ylabel("validation accuracy, %")
    _frame(axes, results, "what the trials reached")
    _legend(axes)


def _epochs(plt: Any, results: Results) -> None:
    _, axes = plt.subplots(figsize=(9, 5), dpi=130, layout="constrained")
    seen, best = _seen(results), results.best
    view = _View.of([accuracy for each in seen for accuracy in each.epochs.values()])
    for each in seen:
        complete = each.state == "complete"
        _curve(axes, each, _BLUE if complete else _GRAY, 1.0, 0.45 if complete else 0.6)
        if each.state == "pruned":
            last = max(each.epochs)
            axes.plot([last], [100 * each.epochs[last]], "x", color=_GRAY, markersize=5, zorder=3)
    own = next((each for each in seen if each.number == 0), None)
    if own is not None and own is not best:
        _curve(axes, own, _DARK, 1.6, 1.0, "--")
    if best is not None:
        _curve(axes, best, _ORANGE, 2.2, 1.0)
    view.apply(axes)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.margins(x=0.02)
    axes.set_xlabel("epoch")
    axes.set_ylabel("validation accuracy, %")
    _frame(axes, results, "the trials by epoch")
    _entry(axes, _ORANGE, f"best: trial {best.number}" if best else "")
    _entry(axes, _DARK, "the recipe itself: trial 0" if own and own is not best else "", "--")
    _entry(axes, _BLUE, "trained to the end")
    _entry(axes, _GRAY, "pruned" if results.count("pruned") else "", "-", "x")
    _legend(axes)


def _fields(plt: Any, results: Results) -> None:
    space = results.search.space
    rows = math.ceil(len(space) / _MOST_COLUMNS)
    columns = math.ceil(len(space) / rows)
    figure, panels = plt.subplots(
        rows, columns, figsize=(2.6 + 2.5 * columns, 1.2 + 2.5 * rows), dpi=130,
        layout="constrained", sharey=True, squeeze=False,
    )  # fmt: skip
    seen = _seen(results)
    view = _View.of([each.last or 0.0 for each in seen])
    for dimension, axes in zip(space, panels.flat, strict=False):
        _panel(axes, dimension, results, seen, view)
    for axes in list(panels.flat)[len(space) :]:
        axes.remove()
    for row in panels:
        row[0].set_ylabel("validation, %")
    view.apply(panels[0][0])
    figure.suptitle(
        f"{results.search.model}: what was tried and what came of it\n",
        x=0.01, ha="left", fontsize=11,
    )  # fmt: skip
    below = panels[0][0].annotate(
        conditions(results), (0.01, 1), xycoords="figure fraction", xytext=(0, -28),
        textcoords="offset points", annotation_clip=False, fontsize=8, color=_SOFT,
    )  # fmt: skip
    below.set_in_layout(False)  # its room is the empty line of the title
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", ncols=5, frameon=False, fontsize=8)


def _panel(
    axes: Any, dimension: Dimension, results: Results, seen: list[TrialResult], view: _View
) -> None:
    field, best = dimension.field, results.best
    if isinstance(dimension, Choices):
        names = [shown(value) for value in dimension.values]
        places = [dimension.values.index(each.values[field]) + _jitter(each) for each in seen]
        crowded = sum(map(len, names)) > _ROOM_FOR_NAMES
        axes.set_xticks(range(len(names)), names, rotation=30 if crowded else 0)
        axes.set_xlim(-0.5, len(names) - 0.5)
        axes.set_xlabel("dots of one choice stand beside each other", fontsize=6.5, color=_SOFT)
    else:
        places = [each.values[field] for each in seen]  # type: ignore[misc]
        axes.set_xscale(dimension.scale)
        if dimension.scale == "linear" and all(isinstance(place, int) for place in places):
            axes.xaxis.get_major_locator().set_params(integer=True)
        axes.margins(x=0.06)
    _dots(axes, seen, view, places)
    if best is not None:
        axes.plot(
            [places[seen.index(best)]], [view.shown(best.accuracy or 0.0)], "o", color=_ORANGE,
            markersize=9, markerfacecolor="none", markeredgewidth=1.8, zorder=4,
            label=f"best: trial {best.number}",
        )  # fmt: skip
    axes.set_title(field, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(which="major", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _jitter(each: TrialResult) -> float:
    """Return where beside its choice a trial stands: even steps of the golden ratio."""
    return _JITTER * (each.number * 0.618 % 1 - 0.5)


def _importances(plt: Any, results: Results, importances: Mapping[str, float]) -> None:
    names = list(importances)[::-1]
    _, axes = plt.subplots(figsize=(8, 1.3 + 0.42 * len(names)), dpi=130, layout="constrained")
    shares = [100 * importances[name] for name in names]
    axes.barh(names, shares, color=_BLUE, height=0.62)
    for at, share in enumerate(shares):
        axes.annotate(
            f"{share:.0f} %", (share, at), xytext=(4, 0), textcoords="offset points", va="center",
            fontsize=9, color=_DARK,
        )  # fmt: skip
    axes.set_xlim(0, 1.12 * max(*shares, 1.0))
    trials = f"{results.count('complete')} complete trials"
    axes.set_xlabel(f"share in how the {trials} differ (fANOVA), %")
    _frame(axes, results, "what mattered")
    axes.grid(visible=False, axis="y")


def _dots(axes: Any, seen: list[TrialResult], view: _View, places: Sequence[Any]) -> None:
    """Draw trials at places on the x axis, each with the mark of what came of it."""
    for mark, (label, colour) in _MARKS.items():
        points = [
            (place, view.shown(each.last or 0.0))
            for each, place in zip(seen, places, strict=True)
            if _mark(each, view) == mark
        ]
        if points:
            axes.plot(
                *zip(*points, strict=True), mark, color=colour, markersize=5, alpha=0.8, zorder=3,
                label=label, clip_on=False,
            )  # fmt: skip


def _mark(each: TrialResult, view: _View) -> str:
    if view.hides(each.last or 0.0):
        return "v"
    return "o" if each.state == "complete" else "x"


def _own_line(axes: Any, results: Results, view: _View) -> None:
    own = next((each for each in results.ranked() if each.number == 0), None)
    if own is not None and own.accuracy is not None and not view.hides(own.accuracy):
        axes.axhline(
            100 * own.accuracy, color=_DARK, linestyle="--", linewidth=1.0, zorder=2.5,
            label="the recipe itself: trial 0",
        )  # fmt: skip


def _curve(
    axes: Any, each: TrialResult, colour: str, width: float, alpha: float, style: str = "-"
) -> None:
    axes.plot(
        list(each.epochs), [100 * value for value in each.epochs.values()], style, color=colour,
        linewidth=width, alpha=alpha, zorder=2 + width,
    )  # fmt: skip


def _entry(axes: Any, colour: str, label: str, style: str = "-", marker: str = "") -> None:
    if label:
        axes.plot([], [], style, color=colour, marker=marker, label=label)


def _legend(axes: Any) -> None:
    axes.figure.legend(loc="outside lower left", ncols=5, frameon=False, fontsize=8)


def conditions(results: Results) -> str:
    """Return under what all trials of a study were trained."""
    search = results.search
    known = DATASETS.get(search.dataset)
    parts = [
        known.title if known else search.dataset,
        f"limit {search.limit:,} images" if search.limit else "",
        f"{search.validation:,} validation images",
        counted(search.epochs, "epoch"),
        f"seed {search.seed}",
    ]
    return ", ".join(part for part in parts if part)


def _frame(axes: Any, results: Results, title: str) -> None:
    search = results.search
    axes.set_title(
        f"{search.model}: {title}\n", loc="left", fontsize=11,
    )  # fmt: skip
    axes.annotate(
        conditions(results), (0, 1), xycoords="axes fraction", xytext=(0, 5),
        textcoords="offset points", fontsize=8, color=_SOFT,
    )  # fmt: skip
    axes.grid(which="major", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
