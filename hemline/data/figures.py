"""Pictures of data sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hemline.data.datasets import Images
from hemline.figures import Heading, drawn, place, short_labels, text_width
from hemline.tiles import Tile, show_image

_PER_CLASS = 14
_SIDE, _EDGE = 0.56, 0.09  # inches: width of an image, and around all of them
_LETTERS = 9.0  # points


def contact_sheet(images: Images, path: Path) -> None:
    """Write a PNG with a row of training images for each class, the first ones in the file."""
    counts = np.bincount(images.train_labels, minlength=len(images.dataset.labels))
    names = zip(short_labels(images.dataset.labels), counts, strict=True)
    labels = [f"{name} ({count:,})" for name, count in names]
    columns = min(_PER_CLASS, int(counts.max()))
    height, width, channels = images.train_images.shape[1:]
    down, across = (side + max(2, side // 16) for side in (height, width))
    sheet = np.full((len(labels) * down, columns * across, channels), 255, np.uint8)
    for row in range(len(labels)):
        chosen = np.flatnonzero(images.train_labels == row)[:columns]
        for column, at in enumerate(chosen):
            y, x = row * down, column * across
            sheet[y : y + height, x : x + width] = images.train_images[at]
    files = ", verified" if images.verified else ", unverified files"
    heading = Heading(
        title=images.dataset.title,
        subtitle=f"{len(images.train_images):,} training and {len(images.test_images):,} test "
        f"images of {height} × {width}{'' if images.dataset.is_custom else files}",
    )
    left = _EDGE + max(text_width(label, _LETTERS) for label in labels) + 0.15
    wide, high = columns * _SIDE, columns * _SIDE * sheet.shape[0] / sheet.shape[1]
    whole = max(left + wide, heading.width)
    with drawn(path, heading, width=whole, height=high + 2 * _EDGE) as figure:
        axes = place(figure, left, high + _EDGE, wide, high)
        show_image(axes, Tile(image=sheet, lines=()))
        axes.set_axis_on()
        axes.set_xticks([])
        axes.set_yticks([row * down + height / 2 for row in range(len(labels))], labels)
        axes.tick_params(length=0, labelsize=_LETTERS)
        axes.spines[:].set_visible(False)
