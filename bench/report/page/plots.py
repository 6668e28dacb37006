"""The plots of a report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from hemline.bench.accuracy.change import accuracy_change
from hemline.bench.comparison import settings_of
from hemline.bench.latency_summary import LatencySummary
from hemline.bench.profiling.picture import Panel
from hemline.bench.report.page.cells import MeasuredCell, title_of
from hemline.bench.report.page.plotting import INK, SOFT, Plot
from hemline.contract.profile import OperatorCost
from hemline.contract.record import Accuracy, Sustained
from hemline.statistics import wilson
from hemline.tables import kilobytes, microseconds, percent


def pareto(cells: Sequence[MeasuredCell], quality: str) -> Any:
    """Plot quality against latency: a point a cell, its intervals, and the front of each device."""
    shown = [each for each in cells if each.latency and each.get(Accuracy)]
    plot = Plot("median latency, µs", f"{quality}, %", x=[each.median_us for each in shown])
    for device in dict.fromkeys(each.cell.device for each in shown):
        _front(plot, [each for each in shown if each.cell.device == device])
    _groups(plot, shown)
    levels: dict[float, dict[str, None]] = {}
    for each in shown:
        if (source := each.model.source) is not None and source.test.share is not None:
            levels.setdefault(100 * source.test.share, {})[each.model.name] = None
    for height, names in levels.items():
        _level(plot, height, f"float {', '.join(names)}")
    for each in (each for each in shown if each.chosen):
        ring = {"size": 22, "fill_color": None, "line_color": INK, "line_width": 2}
        plot.axes.scatter([each.median_us], [100 * each.quality], legend_label="to ship", **ring)
    return plot.item(("latency", quality, "size", "runs on"))


def _groups(plot: Plot, shown: Sequence[MeasuredCell]) -> None:
    """Draw the points: a colour for each runtime, a shape for each model on a device."""
    runtimes = list(dict.fromkeys(each.cell.runtime for each in shown))
    places = list(dict.fromkeys((each.model.name, each.cell.device) for each in shown))
    several = [len(set(names)) > 1 for names in zip(*places, strict=True)]
    groups: dict[tuple[tuple[str, str], str], list[dict[str, Any]]] = {}
    for each in shown:
        if (latency := each.latency) and (test := each.get(Accuracy)):
            key = ((each.model.name, each.cell.device), each.cell.runtime)
            groups.setdefault(key, []).append(_point(each, latency, test))
    for (place, runtime), rows in groups.items():
        names = (name for name, varies in zip(place, several, strict=True) if varies)
        look = {"colour": runtimes.index(runtime), "marker": places.index(place), "size": 12}
        shared = plot.points(rows, " · ".join((*names, runtime)), **look)
        for ends in (("x", "low_y", "x", "high_y"), ("low_x", "y", "high_x", "y")):
            plot.axes.segment(*ends, alpha=0.35, line_width=1.5, **shared)


def _front(plot: Plot, cells: Sequence[MeasuredCell]) -> None:
    """Join and name the cells that no other one beats in both latency and quality."""
    front: list[MeasuredCell] = []
    for each in sorted(cells, key=lambda cell: (cell.median_us, -cell.quality)):
        if not front or each.quality > front[-1].quality:
            front.append(each)
            place = (each.median_us, 100 * each.quality, _short(each))
            plot.text(*place, colour=INK, x_offset=8, y_offset=-8)
    x, y = zip(*((each.median_us, 100 * each.quality) for each in front), strict=True)
    plot.axes.line(x, y, color=SOFT, line_width=1.5)


def _level(plot: Plot, height: float, name: str) -> None:
    from bokeh.models import Span

    style = {"line_color": SOFT, "line_dash": "dotted", "line_width": 1.5}
    plot.axes.add_layout(Span(location=height, **style))
    right = plot.axes.x_range.end / 1.02
    plot.text(right, height, name, colour=SOFT, y_offset=-3, text_align="right")


def _point(each: MeasuredCell, latency: LatencySummary, test: Accuracy) -> dict[str, Any]:
    count = test.agreement if test.correct is None else test.correct
    low, high = (100 * share for share in wilson(count, test.images))
    interval = f"{percent(count / test.images)} ({low:.2f}–{high:.2f})"
    model = each.model
    if model.labels is not None and model.source is not None:
        margin = accuracy_change(model.source.test, test, model.labels).margin_points
        low, high = (100 * count / test.images + sign * margin for sign in (-1, 1))
    spread = f"{latency.low_us:.1f}–{latency.high_us:.1f}"
    return {
        "x": latency.median_us,
        "y": 100 * count / test.images,
        "low_x": latency.low_us,
        "high_x": latency.high_us,
        "low_y": low,
        "high_y": high,
        "name": title_of(each),
        "latency": f"{latency.median_us:.1f} µs ({spread} in rounds)",
        "agreement" if test.correct is None else "accuracy": interval,
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


def sustained(runs: Sequence[tuple[MeasuredCell, Sustained]]) -> Any:
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


def _short(each: MeasuredCell) -> str:
    return " ".join(filter(None, (each.cell.artifact, settings_of(each.cell))))
