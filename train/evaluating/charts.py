"""Pictures of figures: training curves, confusion, reliability, classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hemline.contract.card import Epoch
from hemline.train.evaluating.drawing import (
    BLUE,
    GRAY,
    GREEN,
    ORANGE,
    RED,
    SKY,
    Heading,
    drawn,
    short_labels,
)
from hemline.train.evaluating.result import Calibration, Result

_MOST_NUMBERED = 16  # classes: in a larger matrix the counts are too small to read
_TAUGHT = "training: with the teachers' part, not shown"
_MOST_EPOCHS = 10  # numbers below the curves
_STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)  # from one of them to the next
_LOG_ABOVE = 20  # times the fewest images: fewer ones could not be seen beside the most


def draw_curves(
    path: Path, heading: Heading, history: Sequence[Epoch], kept_epoch: int, *, taught: bool
) -> None:
    """Draw loss and accuracy over the epochs, training and validation.

    `kept_epoch` is the one whose weights were kept; 0 for the last one. The training loss of a
    model that was `taught` by others is left out: beside it, the other one would be a flat line.
    """
    epochs = [each.epoch for each in history]
    marker = "o" if len(epochs) < 12 else ""  # a single epoch is a point, not a line
    with drawn(path, heading, width=8, height=3.6) as figure:
        left, right = figure.subplots(1, 2)
        for axes, name, scale in ((left, "loss", 1), (right, "accuracy", 100)):
            for which, prefix, colour in (
                ("training", "", BLUE),
                ("validation", "validation_", ORANGE),
            ):
                if taught and (which, name) == ("training", "loss"):
                    continue
                values = [scale * getattr(each, f"{prefix}{name}") for each in history]
                axes.plot(epochs, values, color=colour, marker=marker, markersize=4, label=which)
            if kept_epoch:
                axes.axvline(
                    kept_epoch, color=GRAY, linestyle=":", label=f"weights of epoch {kept_epoch}"
                )
            _over_epochs(axes, epochs)
        left.set_title("loss", loc="left")
        if taught:
            left.set_title(_TAUGHT, loc="right", fontsize=7.5, color=GRAY)
        right.set_title("accuracy, %", loc="left")
        handles = right.get_legend_handles_labels()
        figure.legend(*handles, loc="outside lower left", ncols=3, frameon=False, fontsize=8)


def draw_confusion(path: Path, heading: Heading, result: Result) -> None:
    """Draw the confusion matrix; the colour is the share of the true class."""
    labels = short_labels([each.label for each in result.classes])
    counts = np.asarray(result.confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = max(3.2, 0.42 * len(labels) if len(labels) <= _MOST_NUMBERED else 0.24 * len(labels))
    with drawn(path, heading, width=side + 2.4, height=side + 1.7) as figure:
        from matplotlib.colors import PowerNorm
        from matplotlib.ticker import FuncFormatter

        axes = figure.subplots()
        # the square root shows the rare mistakes beside the right answers
        drawing = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, vmin=0, vmax=1))
        small = 7.5 if len(labels) <= _MOST_NUMBERED else 6.5
        axes.set_xticks(range(len(labels)), labels, rotation=50, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(labels)), labels)
        axes.tick_params(length=0, labelsize=small)
        axes.set_xlabel("answer")
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


def draw_reliability(path: Path, heading: Heading, result: Result) -> None:
    """Draw accuracy over confidence and where the answers lie, without and with temperature."""
    with drawn(path, heading, width=8, height=4.6) as figure:
        figure.get_layout_engine().set(wspace=0.06)  # between the 100 of one and the 0 of the other
        grid = figure.subplots(2, 2, sharex=True, sharey="row", height_ratios=(3, 1))
        for column, each in enumerate(result.calibration):
            _diagram(grid[0, column], each)
            _confidences(grid[1, column], each)
            grid[0, column].set_title(_heading(each, column), loc="left", fontsize=9)
        grid[0, 0].set_ylabel("accuracy, %")
        grid[1, 0].set_ylabel("images")
        handles = grid[0, 0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside lower left", ncols=2, frameon=False, fontsize=8)
        _scale(grid[1, 0], [each.images for half in result.calibration for each in half.bins])


def draw_classes(
    path: Path, heading: Heading, result: Result, counts: dict[str, tuple[int, ...]], split: str
) -> None:
    """Draw the images of each class in each part of the data, and the answers in the split."""
    labels = short_labels([each.label for each in result.classes])
    answers = np.asarray(result.confusion).sum(axis=0)
    height = max(2.2, 0.24 * len(labels) + 1.2)
    with drawn(path, heading, width=8, height=height) as figure:
        from matplotlib.ticker import FuncFormatter

        grid = figure.subplots(1, len(counts), sharey=True, squeeze=False)[0]
        rows = np.arange(len(labels))
        for axes, (part, images) in zip(grid, counts.items(), strict=True):
            axes.barh(rows, images, color=SKY, height=0.7, label="images")
            if part == split:
                axes.plot(
                    answers,
                    rows,
                    linestyle="",
                    marker="|",
                    markersize=10,
                    markeredgewidth=2,
                    color="black",
                    label="answers",
                )
                axes.legend(
                    frameon=False, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, fontsize=7.5
                )
            axes.set_xlabel(f"{part}: {sum(images):,} images")
            most = max(*images, *(answers if part == split else (1,)), 1)
            axes.set_xlim(-0.03 * most, 1.05 * most)  # a class without answers has a mark at 0
            axes.spines["left"].set_visible(False)
            axes.locator_params(axis="x", nbins=4, integer=True)
            axes.xaxis.set_major_formatter(FuncFormatter(_number))
            axes.tick_params(axis="y", length=0, labelsize=7.5)
        grid[0].set_yticks(rows, labels)
        grid[0].set_ylim(len(labels) - 0.4, -0.6)


def _over_epochs(axes: Any, epochs: Sequence[int]) -> None:
    axes.set_xlabel("epoch")
    first, last = epochs[0], epochs[-1]
    room = 0.03 * max(last - first, 1)  # for half a point, not for an epoch
    axes.set_xlim(first - room, last + room)
    axes.set_xticks(epoch_ticks(first, last))
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)


def epoch_ticks(first: int, last: int) -> list[int]:
    """Return the epochs that are numbered: the first one, then round ones up to the last."""
    step = next((each for each in _STEPS if (last - first) / each < _MOST_EPOCHS), _STEPS[-1])
    round_ones = range(step, last + 1, step)
    return [first, *(each for each in round_ones if each >= first + max(1, step / 2))]


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
    width = 100 / len(calibration.bins)
    middles = [50 * (each.low + each.high) for each in filled]
    accuracies = [100 * each.accuracy for each in filled]
    axes.bar(middles, accuracies, width=0.94 * width, color=SKY, label="accuracy")
    axes.bar(
        middles,
        [100 * (each.confidence - each.accuracy) for each in filled],
        bottom=accuracies,
        width=0.94 * width,
        color="none",
        edgecolor=RED,
        hatch="////",
        linewidth=0.8,
        label="gap to confidence",
    )
    axes.plot([0, 100], [0, 100], color="black", linestyle=":", linewidth=1.2, zorder=3)
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 100)


def _confidences(axes: Any, calibration: Calibration) -> None:
    width = 100 / len(calibration.bins)
    middles = [50 * (each.low + each.high) for each in calibration.bins]
    counts = [each.images for each in calibration.bins]
    axes.bar(middles, counts, width=0.94 * width, color=GREEN)
    axes.set_xlabel("confidence, %")


def _scale(axes: Any, counts: Sequence[int]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    if max(counts) > _LOG_ABOVE * min(count for count in counts if count):
        axes.set_yscale("log")
        axes.set_ylim(bottom=0.5)  # so that one image is a bar too
        axes.yaxis.set_major_locator(LogLocator(numticks=5))
        axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(_number))


def _number(value: float, _: int) -> str:
    return f"{value:,.0f}"
