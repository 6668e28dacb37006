"""Charts of an evaluation: confusion, reliability, classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hemline.bench.evaluation.result import Calibration
from hemline.bench.evaluation.running import EvaluationRun
from hemline.figures import (
    GREEN,
    RED,
    SKY,
    Heading,
    count_formatter,
    drawn,
    legend_below,
    short_labels,
)

_MOST_NUMBERED = 16  # classes: in a larger matrix the counts are too small to read
_LOG_ABOVE = 20  # times the fewest images: fewer ones could not be seen beside the most


def draw_confusion(run: EvaluationRun, path: Path, heading: Heading) -> None:
    """Draw the confusion matrix; the colour is the share of the true class."""
    labels = short_labels([each.label for each in run.result.classes])
    counts = np.asarray(run.result.confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = max(3.2, 0.42 * len(labels) if len(labels) <= _MOST_NUMBERED else 0.24 * len(labels))
    with drawn(path, heading, width=side + 2.4, height=side + 1.7) as figure:
        from matplotlib.colors import PowerNorm
        from matplotlib.ticker import FuncFormatter

        axes = figure.subplots()
        # the square root shows the rare mistakes beside the correct predictions
        drawing = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, vmin=0, vmax=1))
        small = 7.5 if len(labels) <= _MOST_NUMBERED else 6.5
        axes.set_xticks(range(len(labels)), labels, rotation=50, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(labels)), labels)
        axes.tick_params(length=0, labelsize=small)
        axes.set_xlabel("predicted class")
        axes.set_ylabel("true class")
        axes.spines[:].set_visible(False)
        if len(labels) <= _MOST_NUMBERED:
            _write_counts(axes, counts, shares)
        percent = FuncFormatter(lambda share, _: f"{100 * share:g} %")
        bar = figure.colorbar(drawing, ax=axes, shrink=0.6, format=percent)
        bar.set_ticks([0, 0.01, 0.05, 0.2, 0.5, 1])
        bar.set_label("share of the true class", fontsize=7.5)
        bar.ax.tick_params(labelsize=7)
        bar.outline.set_visible(False)


def draw_reliability(run: EvaluationRun, path: Path, heading: Heading) -> None:
    """Draw accuracy over confidence and a histogram, without and with temperature."""
    with drawn(path, heading, width=8, height=4.6) as figure:
        figure.get_layout_engine().set(wspace=0.06)  # between the 100 of one and the 0 of the other
        grid = figure.subplots(2, 2, sharex=True, sharey="row", height_ratios=(3, 1))
        halves = run.result.calibration
        for column, each in enumerate(halves):
            _diagram(grid[0, column], each)
            _confidences(grid[1, column], each)
            grid[0, column].set_title(_heading(each, column), loc="left", fontsize=9)
        grid[0, 0].set_ylabel("accuracy, %")
        grid[1, 0].set_ylabel("images")
        legend_below(figure, grid[0, 0])
        _scale(grid[1, 0], [each.images for half in halves for each in half.bins])


def draw_classes(run: EvaluationRun, path: Path, heading: Heading) -> None:
    """Draw the images of each class in each part of the data, and the predictions in the split."""
    labels = short_labels([each.label for each in run.result.classes])
    predicted = np.asarray(run.result.confusion).sum(axis=0)
    counts = run.split.counts
    height = max(2.2, 0.24 * len(labels) + 1.2)
    with drawn(path, heading, width=8, height=height) as figure:
        grid = figure.subplots(1, len(counts), sharey=True, squeeze=False)[0]
        rows = np.arange(len(labels))
        for axes, (part, images) in zip(grid, counts.items(), strict=True):
            axes.barh(rows, images, color=SKY, height=0.7, label="images")
            most = max(*images, 1)
            if part == run.split.name:
                most = max(most, *predicted)
                _mark(axes, predicted, rows)
            axes.set_xlabel(f"{part}: {sum(images):,} images")
            axes.set_xlim(-0.03 * most, 1.05 * most)  # a mark at 0 is shown whole
            axes.spines["left"].set_visible(False)
            axes.locator_params(axis="x", nbins=4, integer=True)
            axes.xaxis.set_major_formatter(count_formatter())
            axes.tick_params(axis="y", length=0, labelsize=7.5)
        grid[0].set_yticks(rows, labels)
        grid[0].set_ylim(len(labels) - 0.4, -0.6)


def _mark(axes: Any, predicted: Any, rows: Any) -> None:
    style = {"linestyle": "", "marker": "|", "markersize": 10, "markeredgewidth": 2}
    axes.plot(predicted, rows, color="black", label="predictions", **style)
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, fontsize=7.5)


def _write_counts(axes: Any, counts: Any, shares: Any) -> None:
    size = 7.5 if counts.max() < 1000 else 6.5
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if shares[row, column] > 0.3 else "#222222"
            axes.text(
                column, row, f"{count}", ha="center", va="center", fontsize=size, color=colour
            )


def _heading(calibration: Calibration, column: int) -> str:
    how = "without temperature"
    if column:
        how = "with each member's temperature"
        if calibration.temperature is not None:
            how = f"with temperature {calibration.temperature:g}"
    return f"{how}: ECE {100 * calibration.expected_calibration_error:.2f} %"


def _diagram(axes: Any, calibration: Calibration) -> None:
    filled = [each for each in calibration.bins if each.images]
    width = 94 / len(calibration.bins)
    middles = [50 * (each.low + each.high) for each in filled]
    accuracies = [100 * each.accuracy for each in filled]
    gaps = [100 * (each.confidence - each.accuracy) for each in filled]
    axes.bar(middles, accuracies, width=width, color=SKY, label="accuracy")
    hatched = {"color": "none", "edgecolor": RED, "hatch": "////", "linewidth": 0.8}
    axes.bar(middles, gaps, bottom=accuracies, width=width, label="gap to confidence", **hatched)
    axes.plot([0, 100], [0, 100], color="black", linestyle=":", linewidth=1.2, zorder=3)
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 100)


def _confidences(axes: Any, calibration: Calibration) -> None:
    middles = [50 * (each.low + each.high) for each in calibration.bins]
    counts = [each.images for each in calibration.bins]
    axes.bar(middles, counts, width=94 / len(calibration.bins), color=GREEN)
    axes.set_xlabel("confidence, %")


def _scale(axes: Any, counts: Sequence[int]) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    if max(counts) > _LOG_ABOVE * min(count for count in counts if count):
        axes.set_yscale("log")
        axes.set_ylim(bottom=0.5)  # so that one image is a bar too
        axes.yaxis.set_major_locator(LogLocator(numticks=5))
        axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(count_formatter())
