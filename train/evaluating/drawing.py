"""What all pictures of an evaluation share: colours, letters, and how a file is written."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hemline.files import replacing

# Okabe & Ito's palette, told apart by colour-blind readers
BLUE, ORANGE, GREEN, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9"
# the palette's own, vermilion, is taken for orange; what is red has a mark of its own too
RED = "#C62828"
GRAY = "#666666"
_DPI = 150
_HEADING, _FOOT = 0.5, 0.06  # inches above and below every picture
_TITLE_SIZE, _SUBTITLE_SIZE = 11.0, 8.0  # points
_SMALL = 7.0  # points, of the letters below an image
_LINE, _GAP = 0.13, 0.09  # inches from one of their lines to the next, and between images
_NOTE = 0.2  # inches that a note below them takes
_STYLE: dict[Any, Any] = {
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.parse_math": False,  # a class may be called $x$
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """What stands above a picture: a title, and in smaller letters what it is a picture of."""

    title: str
    subtitle: str


@contextlib.contextmanager
def drawn(path: Path, heading: Heading, *, width: float, height: float) -> Iterator[Any]:
    """Yield an empty figure of so many inches; write it as a PNG at the end of the block."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    whole = height + _HEADING
    with matplotlib.rc_context(_STYLE):
        room = (0.0, _FOOT / whole, 1.0, (height - _FOOT) / whole)  # left, bottom, width, height
        layout = ConstrainedLayoutEngine(rect=room)
        figure = Figure(figsize=(width, whole), dpi=_DPI, layout=layout)
        _write(figure, heading, width, whole)
        yield figure
        with replacing(path) as partial, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a sign that no font has is drawn as a box
            figure.savefig(partial, format="png")


def _write(figure: Any, heading: Heading, width: float, height: float) -> None:
    for text, size, colour, below in (
        (heading.title, _TITLE_SIZE, "black", 0.22),
        (heading.subtitle, _SUBTITLE_SIZE, GRAY, 0.4),
    ):
        figure.text(
            0.08 / width,
            1 - below / height,
            fitted(text, size, width - 0.16),
            fontsize=size,
            color=colour,
        )


def heading_width(heading: Heading) -> float:
    """Return the inches that a picture must be wide for its heading not to be cut."""
    return 0.2 + max(
        text_width(heading.title, _TITLE_SIZE), text_width(heading.subtitle, _SUBTITLE_SIZE)
    )


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line below an image.

    text: cut where it is too long.
    end: follows the text, and is never cut.
    """

    text: str
    end: str = ""
    colour: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """An image with lines of text below it.

    image: uint8 or float32 0 … 1, (height, width) or (height, width, 3).
    lines: from top to bottom.
    heat: laid over it, float32 0 … 1 (rows, columns); None for nothing.
    """

    image: npt.NDArray[Any]
    lines: tuple[Line, ...]
    heat: npt.NDArray[np.float32] | None = None


def draw_tiles(
    path: Path,
    heading: Heading,
    tiles: Sequence[Tile],
    *,
    columns: int = 6,
    side: float = 1.3,
    note: str = "",
) -> None:
    """Draw images in rows of `columns`, each `side` inches wide, and a note below them all."""
    rows = -(-len(tiles) // columns)
    lines = max(len(tile.lines) for tile in tiles)
    tall = min(2.0, tiles[0].image.shape[0] / tiles[0].image.shape[1]) * side
    across, down = side + _GAP, tall + _LINE * lines + _GAP + 0.05
    below = _NOTE if note else 0.0
    width, height = columns * across + _GAP, rows * down + _GAP + below
    with drawn(path, heading, width=width, height=height) as figure:
        whole = figure.get_figheight()
        shown = fitted(note, _SUBTITLE_SIZE, width - 2 * _GAP)
        figure.text(_GAP / width, _GAP / whole, shown, fontsize=_SUBTITLE_SIZE, color=GRAY)
        for at, tile in enumerate(tiles):
            left, top = _GAP + at % columns * across, height - at // columns * down
            # by hand: a layout that makes room for the letters makes the images smaller
            box = (left / width, (top - tall) / whole, side / width, tall / whole)
            axes = figure.add_axes(box)
            axes.set_axis_off()
            show_image(axes, tile.image)
            if tile.heat is not None:
                _lay_over(axes, tile)
            for number, line in enumerate(tile.lines):
                figure.text(
                    (left + side / 2) / width,
                    (top - tall - 0.04 - _LINE * number) / whole,
                    fitted(line.text, _SMALL, side + _GAP / 2, end=line.end),
                    ha="center",
                    va="top",
                    fontsize=_SMALL,
                    color=line.colour,
                )


def show_image(axes: Any, image: npt.NDArray[Any]) -> None:
    """Show pixels as they are, gray ones from black to white."""
    highest = 255 if image.dtype == np.uint8 else 1
    axes.imshow(
        image.squeeze(-1) if image.shape[-1] == 1 else image,
        cmap="gray",
        vmin=0,
        vmax=highest,
        interpolation="nearest",
    )


def _lay_over(axes: Any, tile: Tile) -> None:
    height, width = tile.image.shape[:2]
    axes.imshow(
        tile.heat,
        cmap="inferno",
        vmin=0,
        vmax=1,
        alpha=0.55,
        interpolation="bilinear",
        extent=(-0.5, width - 0.5, height - 0.5, -0.5),
    )
