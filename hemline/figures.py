"""Figures: one palette, one style and one way to save for every picture that Hemline draws."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from hemline.files import replacing
from hemline.progress import tracked

# Okabe & Ito's palette, which colour-blind readers can distinguish
BLUE, ORANGE, GREEN, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9"
VERMILION = "#D55E00"
PALETTE = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION)
# vermilion looks like orange beside it: errors are red, and have a mark of their own too
RED = "#C62828"
DARK, GRAY, LIGHT = "#444444", "#666666", "#999999"  # lines, small text, what is in the background
SUBTITLE_SIZE = 8.0  # points
_TITLE_SIZE = 11.0
_GRID = "#dddddd"
_DPI = 150
_TALLEST_INCHES = 60  # more than 9,000 pixels is more than most programs show
_HEADING, _FOOT = 0.5, 0.06  # inches above and below every picture
_STYLE: dict[Any, Any] = {
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": _GRID,
    "grid.linewidth": 0.6,
    "text.parse_math": False,  # a class may be called $x$
}
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """The title of a picture, and a line below it that says what was measured."""

    title: str
    subtitle: str = ""

    def saying(self, message: str) -> Heading:
        """Return the heading with what this picture shows added to its title."""
        return replace(self, title=f"{self.title}: {message}")

    @property
    def width(self) -> float:
        """Return the inches that a picture must be wide to show the heading in full."""
        widths = (text_width(text, size) for text, size, _, _ in self.lines)
        return 0.2 + max(widths)

    @property
    def lines(self) -> tuple[tuple[str, float, str, float], ...]:
        """Return text, size in points, colour, and inches below the upper edge of each line."""
        return ((self.title, _TITLE_SIZE, "black", 0.22), (self.subtitle, SUBTITLE_SIZE, GRAY, 0.4))


class NotDrawnError(Exception):
    """There is nothing that a picture could show; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture(Generic[T]):
    """A row of a table of pictures.

    name: of the file, without its ending.
    title: on the picture and in the report.
    caption: what the reader sees.
    draw: writes the file, and returns what the caption says of this one besides, if anything.
    """

    name: str
    title: str
    caption: str
    draw: Callable[[T, Path, Heading], str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A picture that was drawn, or why it was not: exactly one of path and reason is given."""

    name: str
    title: str
    caption: str
    path: Path | None
    reason: str | None


def draw_all(
    pictures: Iterable[Picture[T]], subject: T, folder: Path, subtitle: str
) -> tuple[Drawn, ...]:
    """Write every picture of `subject` in a folder; a file left from before is removed."""

    def draw(row: Picture[T]) -> Drawn:
        path = folder / f"{row.name}.png"
        drawn = Drawn(name=row.name, title=row.title, caption=row.caption, path=path, reason=None)
        try:
            remark = row.draw(subject, path, Heading(title=row.title, subtitle=subtitle))
        except NotDrawnError as reason:
            path.unlink(missing_ok=True)
            return replace(drawn, path=None, reason=str(reason))
        return replace(drawn, caption=f"{row.caption} {remark}") if remark else drawn

    rows = tuple(pictures)
    return tuple(draw(row) for row in tracked(rows, len(rows), "drawing"))


@contextlib.contextmanager
def drawn(path: Path, heading: Heading, *, width: float, height: float) -> Iterator[Any]:
    """Yield an empty figure of so many inches below its heading; save it when the block ends.

    A failed block writes nothing. Raises HemlineError when `path` cannot be written.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    height = min(height, _TALLEST_INCHES)
    whole = height + _HEADING
    with matplotlib.rc_context(_STYLE):
        room = (0.0, _FOOT / whole, 1.0, (height - _FOOT) / whole)  # left, bottom, width, height
        layout = ConstrainedLayoutEngine(rect=room)
        figure = Figure(figsize=(width, whole), dpi=_DPI, layout=layout)
        FigureCanvasAgg(figure)
        for text, size, colour, below in heading.lines:
            shown = fitted(text, size, width - 0.16)
            figure.text(0.08 / width, 1 - below / whole, shown, fontsize=size, color=colour)
        yield figure
        for axes in figure.axes:
            _write_logarithms(axes.xaxis)
            _write_logarithms(axes.yaxis)
        save(figure, path)


def _write_logarithms(axis: Any) -> None:
    """Write the ticks of a logarithmic axis as numbers: matplotlib's own are mathematical text."""
    from matplotlib.ticker import LogFormatter, LogFormatterMathtext

    class Plain(LogFormatter):
        def __call__(self, x: float, pos: int | None = None) -> str:
            return f"{x:,g}" if super().__call__(x, pos) else ""

    if isinstance(axis.get_major_formatter(), LogFormatterMathtext):
        axis.set_major_formatter(Plain())
    if isinstance(axis.get_minor_formatter(), LogFormatterMathtext):
        axis.set_minor_formatter(Plain(labelOnlyBase=False))


def save(figure: Any, path: Path) -> None:
    """Write a figure as a PNG, whole or not at all; raises HemlineError."""
    with replacing(path) as partial, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a sign that no font has is drawn as a box
        figure.savefig(partial, format="png")


def place(figure: Any, left: float, top: float, width: float, height: float) -> Any:
    """Return axes without lines, their upper left corner so many inches from the lower left one."""
    # by hand: a layout that makes room for letters makes what keeps its shape smaller
    across, up = figure.get_size_inches()
    axes = figure.add_axes((left / across, (top - height) / up, width / across, height / up))
    axes.set_axis_off()
    return axes


def legend_below(figure: Any, axes: Any, **options: Any) -> None:
    """Put the legend of `axes` below the whole figure; `options` are matplotlib's."""
    handles, labels = axes.get_legend_handles_labels()
    values = {"ncols": 5, "fontsize": 8, **options}
    figure.legend(handles, labels, loc="outside lower left", frameon=False, **values)


def darkened(colour: str) -> str:
    """Return a colour of the palette for letters: 4.5 times as dark as white, or nearly."""
    parts = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return "#" + "".join(f"{round(0.7 * part):02x}" for part in parts)


def fitted(text: str, size: float, inches: float, *, end: str = "") -> str:
    """Return a text on one line, cut to the width that letters of `size` points may take.

    `end` follows it, and is never cut.
    """
    line = plain(text, most=200)
    for kept in range(len(line), 0, -1):
        shown = line if kept == len(line) else f"{line[:kept].rstrip()}…"
        if text_width(shown + end, size) <= inches:
            return shown + end
    return end.lstrip()


def text_width(text: str, size: float) -> float:
    """Return the inches that a line takes in letters of `size` points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as above
        points, _, _ = text_to_path.get_text_width_height_descent(
            text, FontProperties(size=size), ismath=False
        )
    return float(points) / 72


def plain(text: str, *, most: int) -> str:
    """Return a text on one line, cut to `most` signs."""
    line = "".join(sign if sign.isprintable() else " " for sign in text)
    return line if len(line) <= most else f"{line[: most - 1]}…"


def short_labels(labels: Sequence[str], *, most: int = 24) -> tuple[str, ...]:
    """Return class names that fit into a picture, numbered where they begin alike."""
    short = tuple(plain(label, most=most) for label in labels)
    if len(set(short)) == len(short):
        return short
    return tuple(plain(f"{at} {label}", most=most) for at, label in enumerate(labels))
