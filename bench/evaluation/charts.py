"""Charts of an evaluation: confusion, reliability, classes."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hemline.bench.evaluation.calibration import mean_confidence, merged_bins
from hemline.bench.evaluation.result import Calibration, RunResult
from hemline.bench.evaluation.running import EvaluationRun
from hemline.bench.evaluation.text import mistake_line, temperature_text
from hemline.data.custom.reading import counted
from hemline.figures import (
    BLUE,
    DARK,
    GRAY,
    LIGHT,
    PURPLE,
    SKY,
    VERMILION,
    Heading,
    drawn,
    legend_below,
    short_labels,
    text_width,
)
from hemline.statistics import wilson
from hemline.tables import percent

_FEW = 4  # classes: their cells have room for a share, their names for several lines
_WRAPPED = 20  # letters in such a line
_WIDEST = 8.0  # inches: no matrix is made wider than this only for its heading
_LEAST_TYPE, _MOST_TYPE = 5.0, 13.0  # points, of the numbers in the matrix
_SCALES = (0.01, 0.05, 0.1, 0.2, 0.5, 1)  # of mistakes: the scale ends at one of them
_GAPS: dict[str, dict[str, Any]] = {
    "overconfident": {"facecolor": VERMILION, "edgecolor": "white", "hatch": "////"},
    "underconfident": {"facecolor": PURPLE, "edgecolor": "white"},
    "pale: may be chance": {"facecolor": LIGHT, "alpha": 0.25},
}
_LOG_ABOVE = 20  # times the fewest images: fewer ones could not be seen beside the most


def draw_confusion(run: EvaluationRun, path: Path, heading: Heading) -> None:
    """Draw the confusion matrix: correct predictions in blue, mistakes in orange."""
    count, few = len(run.result.classes), len(run.result.classes) <= _FEW
    labels = short_labels([each.label for each in run.result.classes], most=40 if few else 24)
    if few:
        labels = tuple(textwrap.fill(label, _WRAPPED) for label in labels)
    cell = 0.16 if count > 50 else max(0.3, min(1.3, 4.2 / count))  # inches
    size = 6.5 if cell < 0.4 else 8.0
    widest = max(text_width(line, size) for label in labels for line in label.split("\n"))
    flat = widest < cell - 0.1
    heading = heading.saying(mistake_line(run.result))
    width = cell * count + widest + (0.5 if few else 1.3)
    with drawn(
        path,
        heading,
        width=max(width, min(heading.width, _WIDEST)),
        height=cell * count + 0.5 + (0.15 if flat else 0.72 * widest),
    ) as figure:
        axes = figure.subplots()
        _matrix(figure, axes, np.asarray(run.result.confusion), cell)
        slanted = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
        axes.set_xticks(range(count), labels, **({} if flat else slanted))
        axes.set_yticks(range(count), labels)
        axes.tick_params(length=0, labelsize=size)
        axes.set_xlabel("predicted class")
        axes.set_ylabel("true class")


def draw_reliability(run: EvaluationRun, path: Path, heading: Heading) -> None:
    """Draw accuracy over confidence and a histogram, without and with temperature."""
    result = run.result
    mean, bias = mean_confidence(result.calibration[-1]), _bias(result, result.calibration[-1])
    shares = f"mean confidence {percent(mean)}, accuracy {percent(result.accuracy)}"
    heading = heading.saying(f"{shares}: {bias}")
    with drawn(path, heading, width=max(8, heading.width), height=4.6) as figure:
        figure.get_layout_engine().set(wspace=0.06)  # between the 100 of one and the 0 of the other
        grid = figure.subplots(2, 2, sharex=True, sharey="row", height_ratios=(3, 1))
        for column, each in enumerate(result.calibration):
            _diagram(grid[0, column], each)
            _confidences(grid[1, column], each)
            title = f"temperature: {temperature_text(each, plain=not column)}, ECE "
            title += f"{percent(each.expected_calibration_error)}, {_bias(result, each)}"
            grid[0, column].set_title(title, loc="left", fontsize=9)
        lowest = min(b.low for half in result.calibration for b in half.bins if b.images)
        grid[0, 0].set_xlim(min(50, 10 * int(10 * lowest)), 100)
        grid[0, 0].set_ylim(0, 102)
        grid[0, 0].set_ylabel("accuracy, %")
        grid[1, 0].set_ylabel("images")
        for label, style in _GAPS.items():
            grid[0, 0].bar(0, 0, label=label, **style)
        legend_below(figure, grid[0, 0])
        _scale(grid[1, 0], [each.images for half in result.calibration for each in half.bins])


def draw_classes(run: EvaluationRun, path: Path, heading: Heading) -> None:
    """Draw the share of each class in each part of the data, and of its predictions."""
    labels = short_labels([each.label for each in run.result.classes])
    predicted = np.asarray(run.result.confusion).sum(axis=0)
    heading = heading.saying(_too_often(run.result, labels))
    height = max(1.6, 0.22 * len(labels) + 1.0)
    with drawn(path, heading, width=max(8, heading.width), height=height) as figure:
        shape = (1, len(run.split.counts))
        grid = figure.subplots(*shape, sharey=True, sharex=True, squeeze=False)[0]
        for axes, (part, images) in zip(grid, run.split.counts.items(), strict=True):
            _class_bars(axes, np.asarray(images), predicted if part == run.split.name else None)
            axes.set_title(f"{part}: {sum(images):,} images", loc="left", fontsize=9)
            axes.set_xlabel("share of these images, %", fontsize=8)
            axes.spines["left"].set_visible(False)
            axes.tick_params(axis="both", length=0, labelsize=7.5)
        grid[0].locator_params(axis="x", nbins=3)
        ticks, most = grid[0].get_xticks(), grid[0].get_xlim()[1]
        grid[0].set_xlim(0, (1.9 if len(grid) > 1 else 1.3) * most)  # with room for the counts
        grid[0].set_xticks(ticks[ticks <= most])
        grid[0].set_yticks(range(len(labels)), labels)
        grid[0].set_ylim(len(labels) - 0.4, -0.6)


def _class_bars(axes: Any, images: Any, predicted: Any) -> None:
    """Draw the share of each class as a bar with its count, that of its predictions as a mark."""
    rows, percent_each = range(len(images)), 100 / max(images.sum(), 1)
    texts, longest = [f"{count:,}" for count in images], images
    axes.barh(rows, percent_each * images, color=SKY if predicted is None else BLUE, height=0.7)
    if predicted is not None:
        mark = {"color": "black", "markersize": 10, "markeredgewidth": 2}
        axes.plot(percent_each * predicted, rows, "|", **mark)
        texts = [f"{text} ({n:,} predicted)" for text, n in zip(texts, predicted, strict=True)]
        longest = np.maximum(images, predicted)
    ends = axes.barh(rows, percent_each * longest, alpha=0)
    axes.bar_label(ends, texts, padding=5, fontsize=7, color=GRAY)


def _matrix(figure: Any, axes: Any, counts: Any, cell: float) -> None:
    """Show counts; colours are shares of the true class, those of mistakes on a scale of theirs."""
    from matplotlib.colors import PowerNorm
    from matplotlib.ticker import PercentFormatter

    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    diagonal = np.eye(len(counts), dtype=bool)
    worst = float(shares[~diagonal].max(initial=0))
    ticks = [share for at, share in enumerate(_SCALES) if at < 2 or _SCALES[at - 1] < worst]
    # the square root shows the rare mistakes beside the frequent ones
    norm = PowerNorm(0.5, vmin=0, vmax=ticks[-1])
    axes.imshow(np.where(diagonal, shares, np.nan), cmap="Blues", vmin=0, vmax=1.15)
    mistakes = np.where(diagonal | (counts == 0), np.nan, shares)
    drawing = axes.imshow(mistakes, cmap="Oranges", norm=norm)
    borders = np.arange(len(counts) + 1) - 0.5
    for lines in (axes.hlines, axes.vlines):
        lines(borders, borders[0], borders[-1], color="#e4e4e4", linewidth=0.6)
    axes.spines[:].set_visible(False)
    dark = np.where(diagonal, shares > 0.55, norm(shares) > 0.6)
    _write_counts(axes, counts, shares, dark, cell)
    if len(counts) > _FEW:
        shown = PercentFormatter(1, decimals=0, symbol=" %")
        bar = figure.colorbar(drawing, ax=axes, shrink=0.5, aspect=24, format=shown)
        bar.set_ticks([0, *ticks[-4:]])
        bar.set_label("mistakes: share of the true class", fontsize=7.5)
        bar.ax.tick_params(labelsize=7)
        bar.outline.set_visible(False)


def _write_counts(axes: Any, counts: Any, shares: Any, dark: Any, cell: float) -> None:
    """Write each count as large as its cell of so many inches allows; below 5 points none."""
    few = len(counts) <= _FEW
    size = min(_MOST_TYPE, 8.4 * cell / text_width(f"{counts.max():,}", 10), 21 * cell)
    if size < _LEAST_TYPE:
        return
    for (row, column), count in np.ndenumerate(counts):
        if count or few or row == column:
            text = f"{count:,}\n{100 * shares[row, column]:.1f} %" if few else f"{count:,}"
            colour = "white" if dark[row, column] else "#222222"
            centred = {"ha": "center", "va": "center"}
            axes.text(column, row, text, fontsize=size, color=colour, **centred)


def _bias(result: RunResult, calibration: Calibration) -> str:
    """Return whether the mean confidence is outside the interval of the accuracy, and where."""
    mean = mean_confidence(calibration)
    if result.accuracy_low <= mean <= result.accuracy_high:
        return "no significant bias"
    return "overconfident" if mean > result.accuracy else "underconfident"


def _diagram(axes: Any, calibration: Calibration) -> None:
    bins = merged_bins(calibration.bins)
    for each in bins:
        place = {"x": 100 * each.low, "width": 100 * (each.high - each.low), "align": "edge"}
        low, high = wilson(round(each.accuracy * each.images), each.images)
        accuracy, confidence = 100 * each.accuracy, 100 * each.confidence
        bottom, gap = min(accuracy, confidence), abs(confidence - accuracy)
        axes.bar(height=bottom, color=SKY, edgecolor="white", alpha=0.45, **place)
        style = _GAPS["overconfident" if confidence > accuracy else "underconfident"]
        pale = {"alpha": 0.25} if low <= each.confidence <= high else {}
        axes.bar(height=gap, bottom=bottom, **place, **style, **pale)
        axes.plot([confidence] * 2, [100 * low, 100 * high], color=DARK, linewidth=1)
    places, marks = ([100 * getattr(b, n) for b in bins] for n in ("confidence", "accuracy"))
    dots = {"color": DARK, "markersize": 3.5, "clip_on": False, "zorder": 4}
    axes.plot(places, marks, "o", label="accuracy, line: 95 % interval", **dots)
    axes.plot([0, 100], [0, 100], color="black", linestyle=":", linewidth=1.2, zorder=3)


def _confidences(axes: Any, calibration: Calibration) -> None:
    middles = [50 * (each.low + each.high) for each in calibration.bins]
    counts = [each.images for each in calibration.bins]
    axes.bar(middles, counts, width=94 / len(calibration.bins), color=LIGHT)
    axes.set_xlabel("confidence, %")


def _scale(axes: Any, counts: Sequence[int]) -> None:
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    if max(counts) > _LOG_ABOVE * min(count for count in counts if count):
        axes.set_yscale("log")
        axes.set_ylabel("images (log)")
        axes.set_ylim(bottom=0.5)  # so that one image is a bar too
        axes.yaxis.set_major_locator(LogLocator(numticks=5))
        axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:,.0f}")


def _too_often(result: RunResult, labels: Sequence[str]) -> str:
    predicted = np.asarray(result.confusion).sum(axis=0)
    excess = predicted - [each.support for each in result.classes]
    if not excess.any():
        return "each class is predicted as often as it occurs"
    most, least = int(excess.argmax()), int(excess.argmin())
    often, rarely = (
        f"{labels[at]} predicted {counted(int(predicted[at]), 'time')} for "
        f"{counted(result.classes[at].support, 'image')}"
        for at in (most, least)
    )
    return f"{often}, {rarely}"
