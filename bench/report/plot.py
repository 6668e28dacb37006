"""Draw accuracy over latency: area by file size, colour by runtime, the Pareto front as a line.

For images without labels the agreement with the source model stands for the accuracy.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hemline.bench.accuracy.change import change_of
from hemline.bench.comparison import ComparedModel, Comparison, Row, pareto_front
from hemline.bench.report.placement import Box, place
from hemline.errors import HemlineError
from hemline.figures import DARK, GRAY, LIGHT, PALETTE, Heading, drawn
from hemline.tables import percent

_AREA_PER_KB = 2.2  # square points: 60 kB is a disc of 13 points across
_LARGEST_AREA = 700.0  # square points: 30 points across; larger files make all discs smaller
_LABEL_POINTS = 9.0
_LEAST_SPAN = 0.2  # points of accuracy: less would show a few images as if they were much
_FAR_POINTS = 14.0  # a label that is farther from its disc has a line to it
_LINE_STEP_PIXELS = 4.0  # finer than a letter is wide
_MARKERS = "osD^vP"  # of models, in their order
_SOURCE = "source"  # marks the text at the source model's line


def draw(comparison: Comparison, path: Path, *, chosen: Row | None = None) -> None:
    """Write a PNG; `chosen` is the row to point out.

    Where the labels of the test images are at hand, a bar at each point shows how far its accuracy
    can be distinguished from that of its source model, image by image. Raises HemlineError.
    """
    rows = [row for row in comparison.rows if row.latency is not None]
    if not rows:
        raise HemlineError("no latency was measured: nothing to draw")
    with drawn(path, _heading(comparison), width=10, height=5.9) as figure:
        axes = figure.subplots()
        _points(axes, comparison, rows)
        _bars(axes, rows)
        _front(axes, rows)
        _frame(axes, comparison, rows)
        _legend(figure, comparison, rows)
        figure.canvas.draw()  # fixes the layout, so that labels can be placed in pixels
        _labels(axes, comparison, rows, chosen)


def _heading(comparison: Comparison) -> Heading:
    host = comparison.host
    machine = f"{host.processor}, {host.cores} cores, " if host else ""
    images = f"{comparison.images:,} test images"
    if len(comparison.models) > 1:
        images += "; each file has its label in its fastest runtime"
    return Heading(
        title=f"{comparison.title}: {_quality(comparison)} against latency",
        subtitle=f"{machine}{comparison.dates[1]}, {images}",
    )


def _quality(comparison: Comparison) -> str:
    return "accuracy" if comparison.has_labels else "agreement"


def _points(axes: Any, comparison: Comparison, rows: list[Row]) -> None:
    # large ones first, so that none hides a small one
    for row in sorted(rows, key=lambda r: -r.cell.size_bytes):
        axes.scatter(
            *_xy(row),
            s=_area(row, rows),
            marker=_marker(comparison, row.model),
            color=_colour(row, rows),
            alpha=0.75,
            edgecolor="white",
            linewidth=0.8,
            zorder=3,
            clip_on=False,  # a disc at 100 % is shown whole
        )


def _bars(axes: Any, rows: list[Row]) -> None:
    for row in rows:
        if (change := change_of(row)) is None:
            continue
        (x, y), margin = _xy(row), change.margin_points
        axes.plot([x, x], [y - margin, y + margin], color=_colour(row, rows), alpha=0.35, zorder=2)


def _front(axes: Any, rows: list[Row]) -> None:
    front = pareto_front(rows)
    x, y = zip(*map(_xy, front), strict=True)
    axes.plot(x, y, color=DARK, linewidth=1.2, linestyle="-", zorder=2)


def _frame(axes: Any, comparison: Comparison, rows: list[Row]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    shown = [at for model in comparison.models for at in _source_line(axes, comparison, model)]
    bars = [line for line in axes.get_lines() if line.get_transform() == axes.transData]
    values = [tuple(point) for line in bars for point in line.get_xydata()]
    values += [_xy(row) for row in rows]
    fastest, slowest = min(x for x, _ in values), max(x for x, _ in values)
    axes.set_xscale("log")
    axes.set_xlim(fastest / 1.8, slowest * 1.6)  # room for the Keras label on the left
    shown += (y for _, y in values)
    axes.set_ylim(*accuracy_limits(shown, comparison.images))
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("latency of one image, µs (median, one thread, log scale)  ← faster")
    axes.set_ylabel(f"test {_quality(comparison)}, %")
    axes.grid(which="major")


def _source_line(axes: Any, comparison: Comparison, model: ComparedModel) -> list[float]:
    """Draw a source model's accuracy; return it, in percent, or nothing where it is not known."""
    source = model.source
    if source is None or source.test.share is None:
        return []
    accuracy = 100 * source.test.share
    axes.axhline(accuracy, color=LIGHT, linestyle=":", linewidth=1, zorder=1)
    if len(comparison.models) > 1:  # lines may be close: the legend has the figures
        at_axis = axes.get_yaxis_transform()
        shape = _marker(comparison, model)
        axes.plot([0], [accuracy], shape, color=GRAY, transform=at_axis, clip_on=False)
        return [accuracy]
    axes.annotate(
        f"{source.title} {accuracy:.2f} %",
        (0, accuracy),
        xycoords=("axes fraction", "data"),
        xytext=(6, 3),
        textcoords="offset points",
        ha="left",
        fontsize=8,
        color=GRAY,
        gid=_SOURCE,
    )
    return [accuracy]


def accuracy_limits(values: Sequence[float], images: int) -> tuple[float, float]:
    """Return the lower and upper end of an axis for accuracies of so many images, in percent.

    It ends at 100 % at most: an interval may reach beyond, an accuracy may not.
    """
    lowest, highest = min(values), max(values)
    least = max(_LEAST_SPAN, 100 / images)  # one image is the least that can differ
    missing = max(0.0, least - (highest - lowest)) / 2
    room = missing + 0.15 * max(least, highest - lowest)
    return lowest - room, min(highest + room, 100.0)


def _legend(figure: Any, comparison: Comparison, rows: list[Row]) -> None:
    from matplotlib.lines import Line2D

    def disc(label: str, colour: str, diameter: float, marker: str = "o") -> Line2D:
        return Line2D(
            [], [], marker=marker, linestyle="", color=colour, markersize=diameter, label=label
        )

    versions = comparison.versions
    handles = [
        disc(f"{name} {versions[name]}", PALETTE[at % len(PALETTE)], 8)
        for at, name in enumerate(_runtimes(rows))
    ]
    if len(comparison.models) > 1:
        for model in comparison.models:
            share = None if model.source is None else model.source.test.share
            source = "" if share is None else f", source model {percent(share)}"
            handles.append(disc(f"{model.name}{source}", GRAY, 6, _marker(comparison, model)))
    sizes = sorted({row.cell.size_bytes for row in rows})
    for size in dict.fromkeys((sizes[0], sizes[-1])):
        diameter = (_area_per_kb(rows) * size / 1000) ** 0.5
        handles.append(disc(f"{size / 1000:,.0f} kB", "#bbbbbb", diameter))
    handles.append(Line2D([], [], color=DARK, linewidth=1.2, label="Pareto front"))
    if comparison.sources and comparison.has_labels:
        title = comparison.sources[0].title if len(comparison.models) == 1 else "source model"
        interval = f"95 % interval of the difference from the {title}"
        handles.append(Line2D([], [], color=LIGHT, alpha=0.6, label=interval))
    figure.legend(
        handles=handles,
        loc="outside lower left",
        ncols=4,
        frameon=False,
        fontsize=8,
        handletextpad=1.1,
        labelspacing=1.0,
        columnspacing=1.4,
    )


def _labels(axes: Any, comparison: Comparison, rows: list[Row], chosen: Row | None) -> None:
    renderer = axes.figure.canvas.get_renderer()
    scale = axes.figure.dpi / 72
    frame = axes.get_window_extent(renderer)
    bounds = Box(*frame.extents)
    labelled = _labelled(comparison, rows, chosen)
    discs = [_disc(axes, row, rows) for row in labelled]
    obstacles = [*_obstacles(axes, renderer), *(_disc(axes, row, rows) for row in rows)]
    texts, sizes = [], []
    for row in labelled:
        best, model = row == chosen, comparison.label(row.model)
        name = f"{model}{' ' if model else ''}{row.cell.artifact}"
        text = axes.annotate(
            f"{name}{'  ← ship this' if best else ''}",
            _xy(row),
            fontsize=_LABEL_POINTS,
            fontweight="bold" if best else "normal",
            color=_colour(row, rows),
            zorder=4,
        )
        extent = text.get_window_extent(renderer)
        texts.append(text)
        sizes.append((extent.width, extent.height))
    placed = place(discs, sizes, bounds, gap=3 * scale, obstacles=obstacles)
    for text, disc, box in zip(texts, discs, placed, strict=True):
        x, y = disc.centre
        text.set_position(((box.x0 - x) / scale, (box.y0 - y) / scale))
        text.set_anncoords("offset points")
        text.set_verticalalignment("bottom")
        target = (min(max(x, box.x0), box.x1), min(max(y, box.y0), box.y1))
        if math.dist(target, (x, y)) > disc.width / 2 + _FAR_POINTS * scale:
            ends = zip(text.xy, axes.transData.inverted().transform(target), strict=True)
            axes.plot(*ends, color="#aaaaaa", linewidth=0.6, zorder=2)


def _labelled(comparison: Comparison, rows: list[Row], chosen: Row | None) -> list[Row]:
    """Return the rows that have a label: of several models, each file in its fastest runtime."""
    if len(comparison.models) == 1:
        return rows
    slowest_first = sorted(rows, key=lambda row: (row == chosen, -row.median_us))
    return list({(row.model.name, row.cell.artifact): row for row in slowest_first}.values())


def _disc(axes: Any, row: Row, rows: list[Row]) -> Box:
    diameter = _area(row, rows) ** 0.5 * axes.figure.dpi / 72
    x, y = axes.transData.transform(_xy(row))
    return Box.around(x, y, diameter, diameter)


def _obstacles(axes: Any, renderer: Any) -> list[Box]:
    """Return boxes along the drawn lines and the texts that were there before the labels."""
    boxes = []
    for line in axes.get_lines():
        points = line.get_transform().transform(line.get_xydata())
        for (x0, y0), (x1, y1) in itertools.pairwise(points):
            steps = max(1, round(max(abs(x1 - x0), abs(y1 - y0)) / _LINE_STEP_PIXELS))
            for step in range(steps + 1):
                x, y = x0 + (x1 - x0) * step / steps, y0 + (y1 - y0) * step / steps
                boxes.append(Box.around(x, y, 2, 2))
    source = (text for text in axes.texts if text.get_gid() == _SOURCE)
    return [*boxes, *(Box(*text.get_window_extent(renderer).extents) for text in source)]


def _runtimes(rows: list[Row]) -> list[str]:
    return list(dict.fromkeys(row.cell.runtime for row in rows))


def _colour(row: Row, rows: list[Row]) -> str:
    return PALETTE[_runtimes(rows).index(row.cell.runtime) % len(PALETTE)]


def _marker(comparison: Comparison, model: ComparedModel) -> str:
    return _MARKERS[comparison.models.index(model) % len(_MARKERS)]


def _area(row: Row, rows: list[Row]) -> float:
    return _area_per_kb(rows) * row.cell.size_bytes / 1000


def _area_per_kb(rows: list[Row]) -> float:
    return min(_AREA_PER_KB, _LARGEST_AREA / max(row.cell.size_bytes / 1000 for row in rows))


def _xy(row: Row) -> tuple[float, float]:
    return row.median_us, 100 * row.quality
