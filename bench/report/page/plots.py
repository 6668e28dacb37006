"""The plots of a report, by Bokeh, as the JSON that its JavaScript draws.

Colours that follow the page, light or dark, are names of its style sheet.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hemline.bench.accuracy.change import accuracy_change
from hemline.bench.comparison import settings_of
from hemline.bench.latency_summary import LatencySummary
from hemline.bench.report.page.cells import MeasuredCell, title_of
from hemline.contract.profile import OperatorCost, Probe
from hemline.contract.record import Accuracy, Sustained
from hemline.figures import PALETTE, plain
from hemline.statistics import wilson
from hemline.tables import microseconds, percent

# Bokeh checks colours: these stand for those of the style sheet
_INK, _PAGE, _LINE, _SOFT = "#010203", "#010204", "#010205", "#010206"
_NAMES = {_INK: "var(--ink)", _PAGE: "var(--page)", _LINE: "var(--line)", _SOFT: "var(--soft)"}
_MARKERS = ("circle", "square", "triangle", "diamond", "inverted_triangle", "star", "hex", "plus")
# letters of a legend: with more, two columns or one do not fit on a phone
_HALF_LINE, _LINE_LETTERS = 18, 40


def library() -> str:
    """Return Bokeh's JavaScript."""
    import bokeh

    script = Path(bokeh.__file__).parent / "server" / "static" / "js" / "bokeh.min.js"
    return script.read_text(encoding="utf-8")


def pareto(cells: Sequence[MeasuredCell], quality: str) -> Any:
    """Plot quality against latency: a point a cell, its intervals, and the front of each device."""
    from bokeh.models import ColumnDataSource

    shown = [each for each in cells if each.latency and each.get(Accuracy)]
    axes = _figure("median latency, µs", f"{quality}, %", x=[each.median_us for each in shown])
    runtimes = list(dict.fromkeys(each.cell.runtime for each in shown))
    places = list(dict.fromkeys((each.model.name, each.cell.device) for each in shown))
    groups: dict[tuple[str, str, str], list[MeasuredCell]] = {}
    for each in shown:
        groups.setdefault((each.model.name, each.cell.device, each.cell.runtime), []).append(each)
    for device in dict.fromkeys(device for _, device in places):
        front = _front([each for each in shown if each.cell.device == device])
        x, y = zip(*((each.median_us, 100 * (each.quality or 0)) for each in front), strict=True)
        axes.line(x, y, color=_SOFT, line_width=1.5)
        own = [_short(each) for each in front]
        style = {"text_color": _INK, "text_font_size": "11px", "x_offset": 8, "y_offset": -8}
        axes.text(x, y, text=own, **style)
    points = []
    for (model, device, runtime), members in groups.items():
        rows = [
            _point(each, latency, test)
            for each in members
            if (latency := each.latency) and (test := each.get(Accuracy))
        ]
        source = ColumnDataSource(_columns(rows))
        colour = PALETTE[runtimes.index(runtime) % len(PALETTE)]
        marker = _MARKERS[places.index((model, device)) % len(_MARKERS)]
        faint = {"source": source, "color": colour, "alpha": 0.35, "line_width": 1.5}
        axes.segment("x", "low_y", "x", "high_y", **faint)
        axes.segment("low_x", "y", "high_x", "y", **faint)
        parts = (model, device, runtime)
        several = (len({m for m, _ in places}) > 1, len({d for _, d in places}) > 1, True)
        shown_parts = (part for part, kept in zip(parts, several, strict=True) if kept)
        label = plain(" · ".join(shown_parts), most=_LINE_LETTERS)
        style = {"size": 12, "color": colour, "alpha": 0.85, "marker": marker}
        points.append(axes.scatter("x", "y", source=source, legend_label=label, **style))
    for name, source in {each.model.name: each.model.source for each in shown}.items():
        if source is not None and source.test.share is not None:
            right = 1.28 * max(each.median_us for each in shown)
            _level(axes, 100 * source.test.share, f"{name}, float", right)
    for each in (each for each in shown if each.chosen):
        ring = {"size": 22, "fill_color": None, "line_color": _INK, "line_width": 2}
        spot = ([each.median_us], [100 * (each.quality or 0)])
        axes.scatter(*spot, legend_label="to ship", marker="circle", **ring)
    _hover(axes, points, ("latency", quality, "size", "runs on"))
    return _item(axes)


def roofline(probe: Probe, operators: Sequence[tuple[str, OperatorCost]]) -> Any:
    """Plot the speed of operators over their intensity below what the probe reached.

    `operators` come with the name of their artifact. The roof is the smaller of the peak and what
    the memory feeds: Williams et al., Roofline, 2009.
    """
    from bokeh.models import ColumnDataSource

    dots: dict[str, list[dict[str, Any]]] = {}
    for name, each in operators:
        if each.ns and each.macs and each.bytes:
            dots.setdefault(name, []).append(_dot(each, each.ns))
    found = [dot for own in dots.values() for dot in own]
    intensities, speeds = ([dot[axis] for dot in found] for axis in "xy")
    peaks = [peak for peak in (probe.int8_gmacs, probe.float_gmacs) if peak]
    axes = _figure(
        "multiply-accumulates a byte", "10⁹ of them a second", x=intensities, y=[*speeds, *peaks]
    )
    low, high = min(intensities, default=1) / 2, max(intensities, default=1) * 2
    steps = [low * (high / low) ** (at / 60) for at in range(61)]
    for name, peak, dash in (
        ("int8", probe.int8_gmacs, "solid"),
        ("float", probe.float_gmacs, "dashed"),
    ):
        if peak is not None:
            memory = probe.gigabytes or math.inf
            roof = [min(peak, memory * step) for step in steps]
            axes.line(
                steps, roof, color=_SOFT, line_dash=dash, legend_label=f"{name} roof", line_width=2
            )
    points = []
    for at, (artifact, own) in enumerate(dots.items()):
        colour, marker = PALETTE[at % len(PALETTE)], _MARKERS[at % len(_MARKERS)]
        style = {"size": 10, "color": colour, "alpha": 0.85, "marker": marker}
        source = ColumnDataSource(_columns(own))
        points.append(
            axes.scatter(
                "x", "y", source=source, legend_label=plain(artifact, most=_LINE_LETTERS), **style
            )
        )
    _hover(axes, points, ("time", "speed", "operations", "runs on"))
    return _item(axes)


def sustained(runs: Sequence[tuple[MeasuredCell, Sustained]]) -> Any:
    """Plot the latency of runs without a pause over time."""
    from bokeh.models import ColumnDataSource

    axes = _figure("seconds", "median latency, µs")
    points = []
    for at, (each, run) in enumerate(runs):
        rows = []
        for slot, (second, median) in enumerate(zip(run.seconds, run.medians_ns, strict=True)):
            warm = run.temperatures_millicelsius[slot : slot + 1]
            heat = f"{warm[0] / 1000:.0f} °C" if warm else "not known"
            row = {"x": second, "y": median / 1000, "name": title_of(each)}
            rows.append(row | {"latency": microseconds(median / 1000), "temperature": heat})
        source, colour = ColumnDataSource(_columns(rows)), PALETTE[at % len(PALETTE)]
        axes.line("x", "y", source=source, color=colour, line_width=2, legend_label=_short(each))
        points.append(axes.scatter("x", "y", source=source, color=colour, size=7))
    _hover(axes, points, ("latency", "temperature"))
    return _item(axes)


def _front(cells: Sequence[MeasuredCell]) -> list[MeasuredCell]:
    """Return the cells that no other one beats in both latency and quality, fastest first."""
    front: list[MeasuredCell] = []
    for each in sorted(cells, key=lambda cell: (cell.median_us, -(cell.quality or 0))):
        if not front or (each.quality or 0) > (front[-1].quality or 0):
            front.append(each)
    return front


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
        "accuracy" if test.correct is not None else "agreement": interval,
        "size": f"{each.cell.size_bytes / 1000:,.1f} kB",
        "runs on": each.conditions.delegate,
    }


def _dot(each: OperatorCost, ns: int) -> dict[str, Any]:
    return {
        "x": each.macs / each.bytes,
        "y": each.macs / ns,
        "name": f"{each.kind} {plain(each.name, most=_LINE_LETTERS)}",
        "time": f"{ns / 1000:.1f} µs",
        "speed": f"{each.macs / ns:.1f} · 10⁹ a second",
        "operations": f"{each.macs:,}",
        "runs on": f"{each.runs_on}, {each.dtype}",
    }


def _short(each: MeasuredCell) -> str:
    return " ".join(filter(None, (each.cell.artifact, settings_of(each.cell))))


def _level(axes: Any, height: float, name: str, right: float) -> None:
    from bokeh.models import Span

    axes.add_layout(Span(location=height, line_color=_SOFT, line_dash="dotted", line_width=1.5))
    style = {"text_color": _SOFT, "text_font_size": "11px", "text_align": "right"}
    axes.text([right], [height], text=[name], y_offset=-3, **style)


def _columns(rows: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in rows[0]}


def _figure(x_label: str, y_label: str, *, x: Sequence[float] = (), y: Sequence[float] = ()) -> Any:
    """Return an empty plot; the axes of `x` and `y`, where given, are logarithmic."""
    from bokeh.plotting import figure

    axes = figure(
        sizing_mode="stretch_width",
        toolbar_location=None,
        tools="",
        x_axis_label=x_label,
        y_axis_label=y_label,
        x_axis_type="log" if x else "linear",
        y_axis_type="log" if y else "linear",
        background_fill_color=_PAGE,
        border_fill_color=_PAGE,
        outline_line_color=_LINE,
    )
    axes.grid.grid_line_color = _LINE
    for axis in axes.axis:
        axis.axis_label_text_color = axis.major_label_text_color = _INK
        axis.axis_line_color = axis.major_tick_line_color = axis.minor_tick_line_color = _SOFT
        axis.axis_label_text_font_style = "normal"
    for axis, span, values in ((axes.xaxis, axes.x_range, x), (axes.yaxis, axes.y_range, y)):
        if values:
            _logarithmic(axis[0], span, min(values) / 1.3, max(values) * 1.3)
    return axes


def _logarithmic(axis: Any, span: Any, low: float, high: float) -> None:
    """Set the range of an axis, and ticks at round numbers, few enough for a phone."""
    from bokeh.models import FixedTicker, NumeralTickFormatter

    span.start, span.end = low, high
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8)):
        ticks = [digit * 10.0**power for power in powers for digit in digits]
        if sum(low <= tick <= high for tick in ticks) > 3:
            break
    axis.ticker = FixedTicker(ticks=ticks)
    axis.formatter = NumeralTickFormatter(format="0,0.[000]")


def _hover(axes: Any, points: Sequence[Any], rows: Sequence[str]) -> None:
    """Show the name and the fields of a point when it is pointed at; place the legend below."""
    from bokeh.models import HoverTool

    fields = "".join(f"<br>{row}: @{{{row}}}" for row in rows)
    axes.add_tools(HoverTool(renderers=list(points), tooltips=f"<b>@name</b>{fields}"))
    legend = axes.legend[0]
    axes.add_layout(legend, "below")
    longest = max(len(item.label.value) for item in legend.items)
    legend.location, legend.ncols = "left", 2 if longest <= _HALF_LINE else 1
    axes.height = 380 + 22 * math.ceil(len(legend.items) / legend.ncols)
    legend.background_fill_color, legend.border_line_color = _PAGE, None
    legend.label_text_color, legend.label_text_font_size = _INK, "12px"
    legend.click_policy = "hide"


def _item(axes: Any) -> Any:
    from bokeh.embed import json_item

    text = json.dumps(json_item(axes))
    for colour, name in _NAMES.items():
        text = text.replace(colour, name)
    return json.loads(text)
