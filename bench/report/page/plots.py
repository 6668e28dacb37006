"""The plots of a report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from hemline.bench.comparison import Row, pareto_front, settings_of
from hemline.bench.profiling.picture import ROOFS, Panel
from hemline.bench.report.page.cells import title_of
from hemline.bench.report.page.plotting import FILL, INK, SOFT, Plot
from hemline.bench.report.placement import spread
from hemline.bench.report.plot import accuracy_axis, front_line, interval, runtime_colour
from hemline.contract.profile import OperatorCost
from hemline.contract.record import Sustained
from hemline.figures import PALETTE, plain
from hemline.tables import kilobytes, microseconds, percent

_BAR_GAP = 0.008  # between two bars, of the axis


def pareto(cells: Sequence[Row], quality: str) -> Any:
    """Plot quality against the cost on a device: a point a cell, its interval, and the front."""
    measure, costs = cells[0].measure, [each.cost for each in cells]
    scale, label = measure.axis(min(costs))
    label = label.partition(" (")[0].replace(" of one image", "")  # fits on a phone
    plot = Plot(label, f"{quality}, %", x=[cost / scale for cost in costs])
    x_range, y_range = plot.axes.x_range, plot.axes.y_range
    y_range.start, y_range.end = accuracy_axis(cells)
    gap = _BAR_GAP * math.log(x_range.end / x_range.start)
    bars = map(math.exp, spread([math.log(cost / scale) for cost in costs], gap))
    points = [
        _point(each, quality, scale) | {"bar": bar} for each, bar in zip(cells, bars, strict=True)
    ]
    _lines(plot, cells, scale)
    _groups(plot, cells, points)
    named = [each for each in cells if each.chosen] or pareto_front(cells)[:1]
    for each, point in zip(cells, points, strict=True):
        if each in named:
            _name(plot, each, point["x"], point["y"])
    return plot.item((measure.name, quality, "size", "runs on"))


def _lines(plot: Plot, cells: Sequence[Row], scale: float) -> None:
    """Draw the front as steps over what it beats, and the accuracies of the source models."""
    x_range, y_range = plot.axes.x_range, plot.axes.y_range
    front = [(each.cost / scale, 100 * each.quality) for each in pareto_front(cells)]
    ends, steps = front_line(front, x_range.end)
    plot.axes.varea(ends, y_range.start, steps, fill_color=FILL, fill_alpha=0.6)
    plot.axes.line(ends, steps, color=SOFT, line_width=1.5, legend_label="Pareto front")
    sources = (each.model.source.test for each in cells if each.model.source)
    for height in {100 * test.share for test in sources if test.share is not None}:
        style = {"line_dash": "dotted", "line_width": 1.5, "color": SOFT}
        label = f"float: {height:.2f} %"
        plot.axes.line([x_range.start, x_range.end], [height] * 2, legend_label=label, **style)


def _name(plot: Plot, each: Row, x: float, y: float) -> None:
    if each.chosen:
        ring = {"size": 22, "fill_color": None, "line_color": INK, "line_width": 2}
        plot.axes.scatter([x], [y], **ring)
    text = plain(f"{_short(each)}{': ship this' * each.chosen}", most=40)
    style = {"text_font_style": "bold" if each.chosen else "normal", "text_font_size": "11px"}
    plot.axes.text([x], [y], [text], text_color=INK, x_offset=10, y_offset=-10, **style)


def _groups(plot: Plot, cells: Sequence[Row], points: Sequence[dict[str, Any]]) -> None:
    """Draw the points: a colour for each runtime, a shape for each model."""
    models = list(dict.fromkeys(each.model.name for each in cells))
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for each, point in zip(cells, points, strict=True):
        groups.setdefault((each.model.name, each.cell.runtime), []).append(point)
    for (model, runtime), rows in groups.items():
        look: dict[str, Any] = {"marker": models.index(model), "size": 12}
        name = f"{model} · {runtime}" if len(models) > 1 else runtime
        shared = plot.points(rows, name, colour=runtime_colour(runtime), **look)
        plot.axes.segment("bar", "low_y", "bar", "high_y", alpha=0.5, line_width=1.5, **shared)


def _point(each: Row, quality: str, scale: float) -> dict[str, Any]:
    (low, high), cost = interval(each), each.measure.words(each.cost)
    if latency := each.latency:
        rounds = f"{latency.low_us:.1f}–{latency.high_us:.1f} in rounds"
        cost = f"{latency.median_us:.1f} µs ({rounds})"
    return {
        "x": each.cost / scale,
        "y": 100 * each.quality,
        "low_y": low,
        "high_y": high,
        "name": title_of(each),
        each.measure.name: cost,
        quality: f"{percent(each.quality)} ({low:.2f}–{high:.2f})",
        "size": kilobytes(each.cell.size_bytes),
        "runs on": each.conditions.delegate,
    }


def roofline(panel: Panel, order: Sequence[str]) -> Any:
    """Plot the speed of operators over their intensity, below what the probe reached.

    `order` holds the names of all panels' cells, in the order of their colours.

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
    for name, peak in known:
        memory = (probe and probe.gigabytes) or math.inf
        roof = [min(peak, memory * step) for step in steps]
        style = {"color": SOFT, "line_dash": ROOFS[name], "line_width": 2}
        plot.axes.line(steps, roof, legend_label=f"{name} roof", **style)
    for artifact, own in dots.items():
        at = order.index(artifact)
        plot.points(own, artifact, colour=PALETTE[at % len(PALETTE)], marker=at, size=10)
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
        colour = PALETTE[at % len(PALETTE)]
        shared = plot.points(rows, _short(each), colour=colour, marker=0, size=7)
        plot.axes.line("x", "y", line_width=2, **shared)
    return plot.item(("latency", "temperature"))


def _short(each: Row) -> str:
    return " ".join(filter(None, (each.cell.artifact, settings_of(each.cell))))
