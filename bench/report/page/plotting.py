"""An interactive plot, by Bokeh, as the JSON that its JavaScript draws.

Colours that follow the page, light or dark, are names of its style sheet.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hemline.figures import plain

# Bokeh checks colours: these stand for those of the style sheet
INK, SOFT, FILL, _PAGE, _LINE = "#010203", "#010204", "#010205", "#010206", "#010207"
_NAMES = {INK: "ink", SOFT: "soft", FILL: "mark", _PAGE: "page", _LINE: "line"}
_MARKERS = ("circle", "square", "triangle", "diamond", "inverted_triangle", "star", "hex", "plus")
# letters of a legend: with more, two columns or one do not fit on a phone
_HALF_LINE, _LINE_LETTERS = 18, 40
_ROUND = ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8))  # digits of ticks


def library() -> str:
    """Return Bokeh's JavaScript."""
    import bokeh

    script = Path(bokeh.__file__).parent / "server" / "static" / "js" / "bokeh.min.js"
    return script.read_text(encoding="utf-8")


class Plot:
    """A plot whose points show their figures when they are pointed at; a legend hides them."""

    def __init__(
        self, x_label: str, y_label: str, *, x: Sequence[float] = (), y: Sequence[float] = ()
    ) -> None:
        """Make an empty plot; the axes of `x` and `y`, where given, are logarithmic."""
        from bokeh.plotting import figure

        colours = {"background_fill_color": _PAGE, "border_fill_color": _PAGE}
        self.axes: Any = figure(
            sizing_mode="stretch_width",
            toolbar_location=None,
            tools="",
            x_axis_label=x_label,
            y_axis_label=y_label,
            x_axis_type="log" if x else "linear",
            y_axis_type="log" if y else "linear",
            outline_line_color=_LINE,
            **colours,
        )
        self._points: list[Any] = []
        self.axes.y_range.range_padding = 0.25  # a name above the highest point is shown whole
        self.axes.grid.grid_line_color = _LINE
        for axis in self.axes.axis:
            axis.axis_label_text_color = axis.major_label_text_color = INK
            axis.axis_line_color = axis.major_tick_line_color = axis.minor_tick_line_color = SOFT
            axis.axis_label_text_font_style = "normal"
        if x:
            _logarithmic(self.axes.xaxis[0], self.axes.x_range, x)
        if y:
            _logarithmic(self.axes.yaxis[0], self.axes.y_range, y)

    def points(
        self, rows: Sequence[dict[str, Any]], label: str, *, colour: str, marker: int, size: int
    ) -> dict[str, Any]:
        """Draw points of x, y, name and figures; return their data and colour for more glyphs."""
        from bokeh.models import ColumnDataSource

        columns = {name: [row[name] for row in rows] for name in rows[0]}
        shared = {"source": ColumnDataSource(columns), "color": colour}
        style = {"size": size, "alpha": 0.85, "marker": _MARKERS[marker % len(_MARKERS)]}
        legend = plain(label, most=_LINE_LETTERS)
        self._points.append(self.axes.scatter("x", "y", legend_label=legend, **style, **shared))
        return shared

    def item(self, figures: Sequence[str]) -> Any:
        """Return the JSON; `figures` are the columns that a point shows below its name."""
        from bokeh.embed import json_item
        from bokeh.models import HoverTool

        fields = "".join(f"<br>{name}: @{{{name}}}" for name in figures)
        tip = f"<b>@name</b>{fields}"
        self.axes.add_tools(HoverTool(renderers=self._points, tooltips=tip))
        self._place_legend()
        text = json.dumps(json_item(self.axes))
        for colour, name in _NAMES.items():
            text = text.replace(colour, f"var(--{name})")
        return json.loads(text)

    def _place_legend(self) -> None:
        legend = self.axes.legend[0]
        self.axes.add_layout(legend, "below")
        longest = max(len(item.label.value) for item in legend.items)
        legend.location, legend.ncols = "left", 2 if longest <= _HALF_LINE else 1
        self.axes.height = 380 + 22 * math.ceil(len(legend.items) / legend.ncols)
        legend.background_fill_color, legend.border_line_color = _PAGE, None
        legend.label_text_color, legend.label_text_font_size = INK, "12px"
        legend.click_policy = "hide"


def _logarithmic(axis: Any, span: Any, values: Sequence[float]) -> None:
    """Set the range of an axis, and ticks at round numbers, few enough for a phone."""
    from bokeh.models import FixedTicker, NumeralTickFormatter

    low, high = span.start, span.end = min(values) / 1.3, max(values) * 1.3
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in _ROUND:
        ticks = [digit * 10.0**power for power in powers for digit in digits]
        if sum(low <= tick <= high for tick in ticks) > 3:
            break
    axis.ticker = FixedTicker(ticks=ticks)
    axis.formatter = NumeralTickFormatter(format="0,0.[000]")
