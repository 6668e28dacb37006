"""The picture of a layer's feature maps: an image, and beside it its channels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hemline.figures import Heading, drawn, place
from hemline.tiles import Tile, show_image

_COLUMNS = 8
_IMAGE, _MAP, _GAP = 1.4, 0.8, 0.07  # inches: side of the image, of a map, and between maps
_BETWEEN, _EDGE = 0.2, 0.09  # inches: between image, maps and scale, and around them
_BAR, _NUMBERS = 0.12, 0.45  # inches: width of the scale, and of its numbers
_TITLE = 0.2  # inches above the image
_TALLEST = 2.0  # times the width: what is taller is shown in this shape
Pixels = npt.NDArray[np.uint8]
Maps = npt.NDArray[np.float32]


def draw_feature_maps(path: Path, heading: Heading, image: Pixels, maps: Maps) -> None:
    """Draw an image and its maps, float32 (rows, columns, channels), all on one colour scale."""
    shown = maps.shape[-1]
    across = min(_COLUMNS, shown)
    side = _IMAGE if shown == 1 else _MAP
    tall, image_tall = side * _shape(maps), _IMAGE * _shape(image)
    wide = across * (side + _GAP) - _GAP
    high = -(-shown // across) * (tall + _GAP) - _GAP
    left = _EDGE + _IMAGE + _BETWEEN
    width = max(left + wide + _BETWEEN + _BAR + _NUMBERS, heading.width)
    height = _EDGE + _TITLE + max(image_tall, high) + _EDGE
    top = height - _EDGE - _TITLE
    with drawn(path, heading, width=width, height=height) as figure:
        axes = place(figure, _EDGE, top, _IMAGE, image_tall)
        show_image(axes, Tile(image=image, lines=()))
        axes.set_title("image", fontsize=8)
        drawing: Any = None
        for channel in range(shown):
            row, column = divmod(channel, across)
            x, y = left + column * (side + _GAP), top - row * (tall + _GAP)
            drawing = _show_map(place(figure, x, y, side, tall), maps, channel)
        bar_at = place(figure, left + wide + _BETWEEN, top, _BAR, min(high, 2 * _IMAGE))
        bar_at.set_axis_on()
        bar = figure.colorbar(drawing, cax=bar_at)
        bar.ax.tick_params(labelsize=7)
        bar.outline.set_visible(False)


def _shape(pixels: npt.NDArray[Any]) -> float:
    """Return height ÷ width as it is shown."""
    return min(_TALLEST, pixels.shape[0] / pixels.shape[1])


def _show_map(axes: Any, maps: Maps, channel: int) -> Any:
    below, above = (float(each) for each in np.percentile(maps, (0.5, 99.5)))
    limit = max(abs(below), abs(above), 1e-12)
    signed = below < 0
    return axes.imshow(
        maps[..., channel],
        cmap="RdBu_r" if signed else "viridis",
        vmin=-limit if signed else 0,
        vmax=limit,
        interpolation="nearest",
    )
