"""The plots of a report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from hemline.bench.comparison import Row, pareto_front, settings_of
from hemline.bench.latency_summary import LatencySummary
from hemline.bench.profiling.picture import Panel
from hemline.bench.report.page.cells import title_of
from hemline.bench.report.page.plotting import FILL, INK, SOFT, Plot
from hemline.bench.report.placement import spread
from hemline.bench.report.plot import accuracy_limits, front_line, interval
from hemline.contract.profile import OperatorCost
from hemline.contract.record import Accuracy, Sustained
from hemline.tables import kilobytes, microseconds, percent

_BAR_GAP = 0.008  # between two bars, of the axis


def pareto(cells: Sequence[Row], quality: str) -> Any:
    """Plot quality against latency on a device: a point a cell, its interval, and the front."""
    times = [each.median_us for each in cells]
    plot = Plot("← faster    median latency, µs", f"{quality}, %", x=times)
    x_range, y_range = plot.axes.x_range, plot.axes.y_range
    gap = _BAR_GAP * math.log(x_range.end / x_range.start)
    bars = map(math.exp, spread([math.log(time) for time in times], gap))
    points = [
        _point(each, latency, test, quality) | {"bar": bar}
        for each, bar in zip(cells, bars, strict=True)
        if (latency := each.latency) and (test := each.get(Accuracy))
    ]
    sources = (each.model.source.test for each in cells if each.model.source)
    levels = {100 * test.share for test in sources if test.share is not None}
    heights = [*levels, *(point[end] for point in points for end in ("y", "low_y", "high_y"))]
    images = max(test.images for each in cells if (test := each.get(Accuracy)))
    y_range.start, y_range.end = accuracy_limits(heights, images)
    front = pareto_front(cells)
    ends, steps = front_line([(e.median_us, 100 * e.quality) for e in front], x_range.end)
    plot.axes.varea(ends, y_range.start, steps, fill_color=FILL, fill_alpha=0.6)
    plot.axes.line(ends, steps, color=SOFT, line_width=1.5, legend_label="Pareto front")
    for height in levels:
        style = {"line_dash": "dotted", "line_width": 1.5, "color": SOFT}
        label = f"float: {height:.2f} %"
        plot.axes.line([x_range.start, x_range.end], [height] * 2, legend_label=label, **style)
    _groups(plot, cells, points)
    for each in (each for each in cells if each.chosen or each in front):
        place = (each.median_us, 100 * each.quality)
        text, face = _short(each), "normal"
        if each.chosen:
            ring = {"size": 22, "fill_color": None, "line_color": INK, "line_width": 2}
            plot.axes.scatter(*([value] for value in place), **ring)
            text, face = f"{text}: ship this", "bold"
        plot.text(*place, text, colour=INK, x_offset=10, y_offset=-10, text_font_style=face)
    return plot.item(("latency", quality, "size", "runs on"))


def _groups(plot: Plot, cells: Sequence[Row], points: Sequence[dict[str, Any]]) -> None:
    """Draw the points: a colour for each runtime, a shape for each model."""
    runtimes = list(dict.fromkeys(each.cell.runtime for each in cells))
    models = list(dict.fromkeys(each.model.name for each in cells))
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for each, point in zip(cells, points, strict=True):
        groups.setdefault((each.model.name, each.cell.runtime), []).append(point)
    for (model, runtime), rows in groups.items():
        look = {"colour": runtimes.index(runtime), "marker": models.index(model), "size": 12}
        name = f"{model} · {runtime}" if len(models) > 1 else runtime
        shared = plot.points(rows, name, **look)
        plot.axes.segment("bar", "low_y", "bar", "high_y", alpha=0.5, line_width=1.5, **shared)


def _point(each: Row, latency: LatencySummary, test: Accuracy, quality: str) -> dict[str, Any]:
    low, high = interval(each.model, test)
    spread_us = f"{latency.low_us:.1f}–{latency.high_us:.1f}"
    y = 100 * each.quality
    return {
        "x": latency.median_us,
        "y": y,
        "low_y": low,
        "high_y": high,
        "name": title_of(each),
        "latency": f"{latency.median_us:.1f} µs ({spread_us} in rounds)",
        quality: f"{percent(y / 100)} ({low:.2f}–{high:.2f})",
        "size": kilobytes(each.cell.size_bytes),
        "runs on": each.conditions.delegate,
    }


def roofline(panel: Panel) -> Any:
    """Plot the speed of operators over their intensity, below what the probe reached.

    The roof is the smaller of the peak and what the memory feeds: Williams et al., Roofline, 2009.
    """
    dots: dict[str, list[dict[str, Any]]] = {}
    for name, profile in panel.profiles:
        for each in profile.operators:
            if each.ns and each.macs and each.bytes:
                dots.setdefault(name, []).append(_dot(each, each.ns))
    x, y = ([dot[axis] for own in dots.values() for dot in own] or [1.0] for axis in "xy")
    probe = panel.probe
    peaks = (("int8", probe.int8_gmacs), ("float", probe.float_gmacs)) if probe else ()
    known = [(name, peak) for name, peak in peaks if peak is not None]
    y += [peak for _, peak in known]
    plot = Plot("multiply-accumulates a byte", "10⁹ a second", x=x, y=y)
    low, high = min(x) / 2, max(x) * 2
    steps = [low * (high / low) ** (at / 60) for at in range(61)]
    for (name, peak), dash in zip(known, ("solid", "dashed"), strict=False):
        memory = (probe and probe.gigabytes) or math.inf
        roof = [min(peak, memory * step) for step in steps]
        style = {"color": SOFT, "line_dash": dash, "line_width": 2}
        plot.axes.line(steps, roof, legend_label=f"{name} roof", **style)
    for at, (artifact, own) in enumerate(dots.items()):
        plot.points(own, artifact, colour=at, marker=at, size=10)
    return plot.item(("time", "speed", "operations", "runs on"))


def _dot(each: OperatorCost, ns: int) -> dict[str, Any]:
    return {
        "x": each.macs / each.bytes,
        "y": each.macs / ns,
        "name": f"{each.kind} {each.name[-40:]}",
        "time": f"{ns / 1000:.1f} µs",
        "speed": f"{each.macs / ns:.1f} · 10⁹ a second",
        "operations": f"{each.macs:,}",
        "runs on": f"{each.runs_on}, {each.dtype}",
    }


def sustained(runs: Sequence[tuple[Row, Sustained]]) -> Any:
    """Plot the latency of runs without a pause over time."""
    plot = Plot("seconds", "median latency, µs")
    for at, (each, run) in enumerate(runs):
        rows = []
        for slot, (second, median) in enumerate(zip(run.seconds, run.medians_ns, strict=True)):
            warm = run.temperatures_millicelsius[slot : slot + 1]
            heat = f"{warm[0] / 1000:.0f} °C" if warm else "not known"
            row = {"x": second, "y": median / 1000, "name": title_of(each)}
            rows.append(row | {"latency": microseconds(median / 1000), "temperature": heat})
        shared = plot.points(rows, _short(each), colour=at, marker=0, size=7)
        plot.axes.line("x", "y", line_width=2, **shared)
    return plot.item(("latency", "temperature"))


def _short(each: Row) -> str:
    return " ".join(filter(None, (each.cell.artifact, settings_of(each.cell))))
