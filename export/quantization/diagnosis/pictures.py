"""The pictures of a diagnosis: a bar for each layer, and channels on their grid."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hemline.export.quantization.annotation import Grid
from hemline.export.quantization.diagnosis.document import Diagnosis, LayerReport
from hemline.export.quantization.diagnosis.evidence import Evidence
from hemline.export.quantization.diagnosis.measures import float_values
from hemline.export.quantization.diagnosis.parts import channel_axis
from hemline.export.quantization.diagnosis.text import short
from hemline.figures import (
    BLUE,
    DARK,
    LIGHT,
    ORANGE,
    VERMILION,
    Drawn,
    Heading,
    NotDrawnError,
    Picture,
    draw_all,
    drawn,
    fitted,
    legend_below,
)
from hemline.tables import change

_MOST_BARS = 40
_MOST_LAYERS = 4
_IMAGES = 200  # of which histograms are made
_BINS = 120
_FEW_LINES = 64  # more are drawn behind the histogram
_WIDTH = 8.0  # inches
_PAIR = {"widest": VERMILION, "usual": BLUE}  # channels of a layer


@dataclass(frozen=True, slots=True, kw_only=True)
class DiagnosedModel:
    """What the pictures are drawn from; evidence: None for a file made elsewhere."""

    diagnosis: Diagnosis
    evidence: Evidence | None


def draw(diagnosis: Diagnosis, evidence: Evidence | None, folder: Path) -> tuple[Drawn, ...]:
    """Write layers.png and channels.png into a folder."""
    labels = "" if diagnosis.labelled else ", without labels"
    subtitle = f"{diagnosis.subject}, {diagnosis.images:,} {diagnosis.split} images{labels}"
    model = DiagnosedModel(diagnosis=diagnosis, evidence=evidence)
    return draw_all(PICTURES, model, folder, subtitle)


def _layers(model: DiagnosedModel, path: Path, heading: Heading) -> None:
    if not model.diagnosis.layers:
        raise NotDrawnError("no layer could be measured")
    shown = model.diagnosis.layers[:_MOST_BARS][::-1]
    loss, sign = model.diagnosis.loss, -1 if model.diagnosis.labelled else 1
    alone = [sign * each.alone.points if each.alone else 0.0 for each in shown]
    back = [loss.points - each.without.points if each.without else 0.0 for each in shown]
    differs = any((*alone, *back))
    worst = max(range(len(shown)), key=lambda at: sign * alone[at])
    if sign * alone[worst] > 0:
        lost = f"{change(-alone[worst])} points" if sign < 0 else f"{alone[worst]:.1f} % of labels"
        heading = heading.saying(f"{short(shown[worst].name)} most, {lost}")
    elif any(each.alone for each in shown) and not differs:
        what = "the accuracy" if sign < 0 else "a label"
        heading = heading.saying(f"no layer alone changes {what}")
    with drawn(path, heading, width=_WIDTH, height=1.2 + 0.3 * len(shown)) as figure:
        ratios = (3, 2) if differs else (1,)
        *left, noise = figure.subplots(1, len(ratios), sharey=True, squeeze=False)[0]
        for axes in left:
            _losses(axes, sign * loss.points, alone, back, labelled=sign < 0)
            legend_below(figure, axes)
        places, decibels = range(len(shown)), [each.channel_sqnr_db or 0.0 for each in shown]
        noise.barh(places, decibels, color=ORANGE, height=0.6)
        noise.set_xlabel("SQNR, dB (higher is better)")
        noise.grid(axis="x")
        names = [fitted(short(each.name), 9, 1.6) for each in shown]
        (*left, noise)[0].set_yticks(places, names)


def _losses(
    axes: Any, whole: float, alone: list[float], back: list[float], *, labelled: bool
) -> None:
    places = np.arange(len(alone))
    style: dict[str, Any] = {"height": 0.36}
    axes.barh(places + 0.19, alone, color=VERMILION, label="this layer alone in 8 bits", **style)
    axes.barh(places - 0.19, back, color=BLUE, label="restored by this layer in float", **style)
    line: dict[str, Any] = {"color": DARK, "linestyle": "--", "linewidth": 1}
    axes.axvline(whole, label="whole model in 8 bits", **line)
    axes.set_xlabel("accuracy change, points" if labelled else "images whose label changes, %")
    low, high = axes.get_xlim()  # a few images are not much
    axes.set_xlim(min(low, -1.0) if labelled else low, max(1.0, high))
    axes.grid(axis="x")


def _channels(model: DiagnosedModel, path: Path, heading: Heading) -> None:
    if model.evidence is None:
        raise NotDrawnError("the values of a file made elsewhere are not kept")
    layers = _chosen(model.diagnosis)
    names = {each.value for each in layers}
    images = model.evidence.judge.images[:_IMAGES]
    values = float_values(model.evidence.quantized.float_graph, names, images)
    with drawn(path, heading, width=_WIDTH, height=0.4 + 2.05 * len(layers)) as figure:
        for row, layer in zip(figure.subplots(len(layers), 2, squeeze=False), layers, strict=True):
            grid = model.evidence.annotated.grid(layer.value)
            found = np.moveaxis(values[layer.value], channel_axis(values[layer.value].ndim), 0)
            shown = zip(row, _pair(layer, found), _PAIR.items(), strict=True)
            for axes, channel, (what, colour) in shown:
                _histogram(axes, found[channel].reshape(-1), grid, colour)
                name = fitted(short(layer.name), 9, 3.2, end=f", {what} channel ({channel})")
                levels = f"{_levels(found[channel], grid)} of 256 levels"
                axes.set_title(f"{name}\n{levels}", fontsize=9, loc="left")
            row[0].set_ylabel("number of values")


def _chosen(diagnosis: Diagnosis) -> list[LayerReport]:
    """Return the layers to show: those with a cause, then the most harmful ones."""
    named = [cause.layer for cause in diagnosis.causes]
    known = {each.name: each for each in diagnosis.layers}
    first = [known[name] for name in dict.fromkeys(named) if name in known]
    return [*first, *(each for each in diagnosis.layers if each not in first)][:_MOST_LAYERS]


def _pair(layer: LayerReport, found: npt.NDArray[np.float32]) -> tuple[int, int]:
    """Return the widest channel, and the one in the middle of those that are not dead."""
    widths = np.ptp(found.reshape(len(found), -1), axis=1)
    order = [int(at) for at in np.argsort(widths, kind="stable") if widths[at] > 0]
    widest = layer.worst_channels[0].channel
    return widest, order[len(order) // 2] if order else widest


def _histogram(axes: Any, values: npt.NDArray[np.float32], grid: Grid, colour: str) -> None:
    """Draw how often a channel has each value, and the grid that it is rounded to."""
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    margin = max(0.04 * (high - low), float(grid.scale))
    view = (low - margin, high + margin)
    steps = (np.arange(256) - grid.zero_point) * float(grid.scale)
    steps = steps[(steps >= view[0]) & (steps <= view[1])]
    axes.hist(values, bins=_BINS, range=view, color=colour)
    few = len(steps) <= _FEW_LINES
    style = {"color": DARK, "linewidth": 0.8} if few else {"color": LIGHT, "linewidth": 0.25}
    axes.vlines(steps, 0, 1, transform=axes.get_xaxis_transform(), zorder=3 if few else 0, **style)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.minorticks_off()
    axes.set_xlim(view)


def _levels(values: npt.NDArray[np.float32], grid: Grid) -> int:
    """Return how many values of the grid a channel uses."""
    width = max(float(values.max()), 0.0) - min(float(values.min()), 0.0)
    return min(256, round(width / float(grid.scale)) + 1)


PICTURES: tuple[Picture[DiagnosedModel], ...] = (
    Picture(
        name="layers",
        title="What each layer loses in 8 bits",
        caption="The accuracy change, or without labels the share of labels that change, when only "
        "this layer is quantized and when it alone is in float, and the signal-to-noise ratio of "
        "its median channel.",
        draw=_layers,
    ),
    Picture(
        name="channels",
        title="The widest and the usual channel, and the grid that both are rounded to",
        caption="Each gray line is one of the 256 values that 8 bits can hold.",
        draw=_channels,
    ),
)
