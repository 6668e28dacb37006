"""Draw accuracy over latency: area by file size, colour by runtime, the Pareto front as steps.

For images without labels the agreement with the source model stands for the accuracy. Each device
has a panel.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hemline.bench.accuracy.change import change_of
from hemline.bench.comparison import ComparedModel, Comparison, Row, pareto_front
from hemline.bench.report.placement import Box, place, spread
from hemline.errors import HemlineError
from hemline.figures import DARK, GRAY, LIGHT, PALETTE, Heading, darkened, drawn, plain
from hemline.runtime.backends import BACKENDS
from hemline.small_sets import accuracy_text, few_images
from hemline.statistics import wilson
from hemline.tables import percent

_AREA_PER_KB = 2.2  # square points: 60 kB is a disc of 13 points across
_LARGEST_AREA = 700.0  # square points: 30 points across; larger files make all discs smaller
_LEAST_AREA = 30.0  # square points
_RING = 2.2  # area of the ring round the chosen disc, as a multiple of the disc's
_LABEL_POINTS = 9.0
_LEAST_SPAN = 2.0  # points of accuracy: on a shorter axis a few images look like much
_FAR_POINTS = 14.0  # a label that is farther from its disc has a line to it
_BAR_POINTS = 4.0  # between two bars
_STEPS = 100  # along a line: in none of them a label has room
_MARKERS = "osD^vP"  # of models, in their order
_COLUMNS = 2  # panels side by side
_TOPIC_LETTERS = 48  # of a title that has room for what to ship, too
_INTERVALS = "interval in the title: of the accuracy itself; bars: of its change by export"
_BEATEN = "#f3f3f3"  # where a file of the front is as fast and more accurate


def draw(comparison: Comparison, path: Path, *, chosen: Sequence[Row] = ()) -> None:
    """Write a PNG; `chosen` are the rows to point out, one of each device.

    A bar at each point shows how far its accuracy is known: where the labels of the test images are
    at hand, in comparison with its source model, image by image. Raises HemlineError.
    """
    rows = [row for row in comparison.rows if row.is_measured]
    if not rows:
        raise HemlineError("nothing was measured: nothing to draw")
    devices = list(dict.fromkeys(row.cell.device for row in rows))
    columns = min(_COLUMNS, len(devices))
    lines = -(-len(devices) // columns)
    width, height = 10.0 if columns == 1 else 14.0, 4.9 if lines == 1 else 4.2 * lines
    heading = heading_of(comparison, chosen[0] if len(chosen) == 1 else None, len(devices))
    with drawn(path, heading, width=width, height=height) as figure:
        grid = figure.subplots(lines, columns, sharey=True, squeeze=False)
        look = _Look.of(comparison, rows)
        panels = [
            _Panel(axes, comparison, look, [row for row in rows if row.cell.device == device])
            for device, axes in zip(devices, grid.flat, strict=False)
        ]
        for axes in grid.flat[len(devices) :]:
            axes.remove()
        for panel in panels:
            panel.draw(several=len(panels) > 1)
        panels[0].axes.set_ylim(*accuracy_axis(rows))
        _legend(figure, comparison, look, rows)
        figure.canvas.draw()  # fixes the layout: bars and labels are placed in pixels
        for panel in panels:
            panel.draw_bars()
            panel.draw_labels(chosen)


def heading_of(comparison: Comparison, chosen: Row | None, devices: int) -> Heading:
    """Return the title, which says what to ship, and the conditions."""
    models = len(comparison.models)
    quality = _quality(comparison)
    against = f"against {comparison.measure.name}"
    what = f"{quality} {against if devices == 1 else f'on {devices} devices'}"
    if chosen is not None and chosen.is_measured:
        cell, of = chosen.cell, f" of {chosen.model.name}" if models > 1 else ""
        cost, test = chosen.measure.words(chosen.cost), chosen.test
        share = accuracy_text(test.agreement if test.correct is None else test.correct, test.images)
        what = f"ship {cell.artifact}{of} with {cell.runtime}: {cost}, {share} {quality}"
    parts = (
        comparison.machine if devices == 1 else "",
        comparison.dates[1],
        f"{comparison.images:,} test images",
        "each file has its label in its fastest runtime" if models > 1 else "",
        _INTERVALS if chosen and comparison.sources and few_images(comparison.images) else "",
    )
    topic = plain(comparison.topic, most=_TOPIC_LETTERS)
    return Heading(title=f"{topic}: {what}", subtitle=" · ".join(filter(None, parts)))


def _quality(comparison: Comparison) -> str:
    return "accuracy" if comparison.has_labels else "agreement"


def interval(row: Row) -> tuple[float, float]:
    """Return the ends of the 95 % interval of a row's accuracy, percent.

    It is that of the difference from the source model on the same images, or else Wilson's.
    """
    if (change := change_of(row)) is not None:
        y = 100 * row.quality
        return y - change.margin_points, y + change.margin_points
    test = row.test
    low, high = wilson(test.agreement if test.correct is None else test.correct, test.images)
    return 100 * low, 100 * high


def accuracy_axis(rows: Sequence[Row]) -> tuple[float, float]:
    """Return the ends of an axis that shows rows with their intervals and source models."""
    values = [end for row in rows for end in (*interval(row), 100 * row.quality)]
    sources = (row.model.source for row in rows)
    values += (100 * source.test.share for source in sources if source and source.test.share)
    return accuracy_limits(values, max(row.test.images for row in rows))


def accuracy_limits(values: Sequence[float], images: int) -> tuple[float, float]:
    """Return the lower and upper end of an axis for accuracies of so many images, in percent.

    It ends at 100 % at most: an interval may reach beyond, an accuracy may not.
    """
    lowest, highest = min(values), max(values)
    least = max(_LEAST_SPAN, 100 / images)  # one image is the least that can differ
    missing = max(0.0, least - (highest - lowest)) / 2
    room = missing + 0.15 * max(least, highest - lowest)
    return lowest - room, min(highest + room, 100.0)


def front_line(
    points: Sequence[tuple[float, float]], right: float
) -> tuple[list[float], list[float]]:
    """Return x and y of the steps along a front, from its fastest point to the right end."""
    x, y = zip(*points, strict=True)
    return np.repeat([*x, right], 2)[1:-1].tolist(), np.repeat(y, 2).tolist()


def runtime_colour(runtime: str) -> str:
    """Return the colour that a runtime has in every picture, whatever others it is drawn with."""
    known = list(BACKENDS)
    return PALETTE[known.index(runtime) % len(PALETTE)] if runtime in known else LIGHT


@dataclass(frozen=True, slots=True)
class _Look:
    """What all panels share: runtime to colour, model to marker, square points of a byte."""

    colours: dict[str, str]
    markers: dict[str, str]
    area: float

    @staticmethod
    def of(comparison: Comparison, rows: list[Row]) -> _Look:
        largest = max(row.cell.size_bytes for row in rows)
        runtimes = dict.fromkeys(row.cell.runtime for row in rows)
        return _Look(
            {runtime: runtime_colour(runtime) for runtime in runtimes},
            dict(zip((m.name for m in comparison.models), itertools.cycle(_MARKERS), strict=False)),
            min(_AREA_PER_KB / 1000, _LARGEST_AREA / largest),
        )


@dataclass(frozen=True, slots=True)
class _Panel:
    """The axes of one device, and its rows."""

    axes: Any
    comparison: Comparison
    look: _Look
    rows: list[Row]

    def draw(self, *, several: bool) -> None:
        """Draw all but what is placed in pixels."""
        from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

        axes, times = self.axes, [row.cost for row in self.rows]
        scale, label = self.rows[0].measure.axis(min(times))
        axes.set_xscale("log")
        ratio = max(times) / min(times)
        room = max(1.25, ratio**0.25)  # for labels
        axes.set_xlim(min(times) / room, max(times) * room)
        self._draw_front()
        for model in self.comparison.models:
            self._draw_source(model)
        self._draw_points()
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if ratio > 3 else (1, 1.5, 2, 3, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / scale:,g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(label)
        if axes.get_subplotspec().is_first_col():
            axes.set_ylabel(f"test {_quality(self.comparison)}, %")
        axes.grid(which="major")
        if several:
            title = f"{self.rows[0].cell.device}: {self.rows[0].conditions.host.processor}"
            axes.set_title(title, loc="left")

    def _draw_front(self) -> None:
        points = [_xy(row) for row in pareto_front(self.rows)]
        ends, heights = front_line(points, self.axes.get_xlim()[1])
        self.axes.fill_between(ends, heights, -1, color=_BEATEN, linewidth=0, zorder=0)
        self.axes.plot(ends, heights, color=DARK, linewidth=1.3, zorder=2)

    def _draw_points(self) -> None:
        front = pareto_front(self.rows)
        # large ones first, so that none hides a small one
        for row in sorted(self.rows, key=lambda r: -r.cell.size_bytes):
            self.axes.scatter(
                *_xy(row),
                s=self._area(row),
                marker=self.look.markers[row.model.name],
                color=self._colour(row),
                alpha=0.95 if row in front else 0.5,
                edgecolor="white",
                linewidth=0.8,
                zorder=3,
                clip_on=False,  # a disc at 100 % is shown whole
            )

    def _draw_source(self, model: ComparedModel) -> None:
        source = model.source
        if source is None or source.test.share is None:
            return
        accuracy, at_axis = 100 * source.test.share, self.axes.get_yaxis_transform()
        several = len(self.comparison.models) > 1  # lines may be close: the legend has the figures
        line = ([0, 1], [accuracy, accuracy], f":{self.look.markers[model.name] * several}")
        style = {"color": GRAY, "linewidth": 0.8, "clip_on": False, "zorder": 1}
        self.axes.plot(*line, markevery=[0], transform=at_axis, **style)
        if not several:
            text = f"{source.title.replace(' ', chr(10))}\n{accuracy:.2f} %"
            place = {"xycoords": at_axis, "textcoords": "offset points", "va": "center"}
            self.axes.annotate(text, (1, accuracy), (4, 0), fontsize=8, color=GRAY, **place)

    def draw_bars(self) -> None:
        """Draw the intervals; those of points that are close together stand side by side."""
        to_pixels = self.axes.transData
        places = [float(to_pixels.transform(_xy(row))[0]) for row in self.rows]
        apart = spread(places, _BAR_POINTS * self.axes.figure.dpi / 72)
        for row, place_x in zip(self.rows, apart, strict=True):
            x, _ = to_pixels.inverted().transform((place_x, 0))
            style = {"color": self._colour(row), "alpha": 0.6, "linewidth": 1.3}
            self.axes.plot([x, x], interval(row), zorder=2.5, scaley=False, **style)

    def draw_labels(self, chosen: Sequence[Row]) -> None:
        """Write names where they hide nothing."""
        renderer = self.axes.figure.canvas.get_renderer()
        scale = self.axes.figure.dpi / 72
        labelled = self._labelled(chosen)
        discs = [self._disc(row, _RING if row in chosen else 1.0) for row in labelled]
        texts = [self._label(row, chosen=row in chosen) for row in labelled]
        extents = [text.get_window_extent(renderer) for text in texts]
        placed = place(
            discs,
            [(extent.width, extent.height) for extent in extents],
            Box(*self.axes.get_window_extent(renderer).extents),
            gap=3 * scale,
            obstacles=[*self._obstacles(), *map(self._disc, self.rows)],
        )
        for text, disc, box in zip(texts, discs, placed, strict=True):
            x, y = (disc.x0 + disc.x1) / 2, (disc.y0 + disc.y1) / 2
            text.set_position(((box.x0 - x) / scale, (box.y0 - y) / scale))
            target = (min(max(x, box.x0), box.x1), min(max(y, box.y0), box.y1))
            if math.dist(target, (x, y)) > disc.x1 - x + _FAR_POINTS * scale:
                end = self.axes.transData.inverted().transform(target)
                ends = zip(text.xy, end, strict=True)
                self.axes.plot(*ends, color="#aaaaaa", linewidth=0.6, zorder=2)

    def _label(self, row: Row, *, chosen: bool) -> Any:
        name = " ".join(filter(None, (self.comparison.label(row.model), row.cell.artifact)))
        style = {"textcoords": "offset points", "va": "bottom", "zorder": 4}
        style |= {"color": darkened(self._colour(row)), "fontsize": _LABEL_POINTS}
        if chosen:
            ring = {"facecolor": "none", "edgecolor": "black", "linewidth": 1.4, "zorder": 4}
            self.axes.scatter(*_xy(row), s=_RING * self._area(row), **ring)
            name, style = f"{name}: ship this", style | {"fontsize": 10.5, "fontweight": "bold"}
        return self.axes.annotate(name, _xy(row), (0, 0), **style)

    def _labelled(self, chosen: Sequence[Row]) -> list[Row]:
        """Return the rows that have a label: each file of several models in its fastest runtime."""
        if len(self.comparison.models) == 1:
            return self.rows
        slowest_first = sorted(self.rows, key=lambda row: (row in chosen, -row.cost))
        return list({(row.model.name, row.cell.artifact): row for row in slowest_first}.values())

    def _disc(self, row: Row, times: float = 1.0) -> Box:
        diameter = (times * self._area(row)) ** 0.5 * self.axes.figure.dpi / 72
        x, y = self.axes.transData.transform(_xy(row))
        return Box.around(x, y, diameter, diameter)

    def _colour(self, row: Row) -> str:
        return self.look.colours[row.cell.runtime]

    def _area(self, row: Row) -> float:
        return max(_LEAST_AREA, self.look.area * row.cell.size_bytes)

    def _obstacles(self) -> list[Box]:
        """Return boxes along the drawn lines."""
        paths = (each.get_transform().transform_path(each.get_path()) for each in self.axes.lines)
        places = (path.interpolated(_STEPS).vertices for path in paths)
        return [Box.around(x, y, 2, 2) for points in places for x, y in points]


def _legend(figure: Any, comparison: Comparison, look: _Look, rows: list[Row]) -> None:
    from matplotlib.lines import Line2D

    def key(label: str, colour: str, diameter: float = 0, marker: str = "o", **line: Any) -> Line2D:
        style = {"linestyle": "", "marker": marker, "markersize": diameter, **line}
        return Line2D([], [], color=colour, label=label, **style)

    runtimes = [
        key(f"{name} {comparison.versions[name]}", colour, 8)
        for name, colour in look.colours.items()
    ]
    models = []
    for model in comparison.models if len(comparison.models) > 1 else ():
        share = None if model.source is None else model.source.test.share
        source = "" if share is None else f", source model {percent(share)}"
        models.append(key(f"{model.name}{source}", GRAY, 6, look.markers[model.name]))
    least, most = (f(row.cell.size_bytes / 1000 for row in rows) for f in (min, max))
    sizes = f"{least:,.0f} to {most:,.0f} kB" if least < most else f"{most:,.0f} kB"
    changed = "change of " if comparison.sources and comparison.has_labels else ""
    line: dict[str, Any] = {"linestyle": "-", "marker": "", "linewidth": 1.3}
    keys = [
        key(f"area: file size, {sizes}", "#bbbbbb", 11),
        key("Pareto front", DARK, **line),
        key(f"95 % interval of the {changed}{_quality(comparison)}", LIGHT, **line),
    ]
    # matplotlib fills columns first
    lines = filter(None, (runtimes, models, keys))
    columns = list(itertools.zip_longest(*lines, fillvalue=key("", "none")))
    handles = list(itertools.chain.from_iterable(columns))
    style = {"loc": "outside lower left", "frameon": False, "fontsize": 8, "labelspacing": 0.8}
    figure.legend(handles=handles, ncols=len(columns), **style)


def _xy(row: Row) -> tuple[float, float]:
    return row.cost, 100 * row.quality
