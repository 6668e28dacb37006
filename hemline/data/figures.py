"""Pictures of data sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hemline.data.datasets import Images
from hemline.figures import Heading, drawn

_PER_CLASS = 14
_LEFT, _WIDTH = 1.2, 7.8  # inches: class names, images


def contact_sheet(images: Images, path: Path) -> None:
    """Write a PNG with a row of training images for each class, the first ones in the file."""
    labels = images.dataset.labels
    height, width, channels = images.train_images.shape[1:]
    sheet = np.full((len(labels) * (height + 2), _PER_CLASS * (width + 2), channels), 255, np.uint8)
    for row in range(len(labels)):
        chosen = np.flatnonzero(images.train_labels == row)[:_PER_CLASS]
        for column, at in enumerate(chosen):
            y, x = row * (height + 2) + 1, column * (width + 2) + 1
            sheet[y : y + height, x : x + width] = images.train_images[at]
    files = ", verified" if images.verified else ", unverified files"
    heading = Heading(
        title=images.dataset.title,
        subtitle=f"{len(images.train_images):,} training and {len(images.test_images):,} test "
        f"images of {height} × {width}{'' if images.dataset.is_custom else files}",
    )
    inches = _WIDTH * sheet.shape[0] / sheet.shape[1]
    with drawn(path, heading, width=_LEFT + _WIDTH, height=inches) as figure:
        axes = figure.subplots()
        axes.imshow(sheet.squeeze(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axes.set_xticks([])
        axes.set_yticks([(row + 0.5) * (height + 2) for row in range(len(labels))], labels)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
