"""Figures of data sets and models."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hemline.data.datasets import Images
from hemline.files import replacing

_PER_CLASS = 14
_TALLEST_INCHES = 60  # with very many classes the pictures become smaller


def contact_sheet(images: Images, path: Path) -> None:
    """Write a PNG with a row of training images for each class, the first ones in the file."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    labels = images.dataset.labels
    height, width, channels = images.train_images.shape[1:]
    sheet = np.full((len(labels) * (height + 2), _PER_CLASS * (width + 2), channels), 255, np.uint8)
    for row in range(len(labels)):
        chosen = np.flatnonzero(images.train_labels == row)[:_PER_CLASS]
        for column, at in enumerate(chosen):
            y, x = row * (height + 2) + 1, column * (width + 2) + 1
            sheet[y : y + height, x : x + width] = images.train_images[at]
    inches = 0.8 + 7.8 * sheet.shape[0] / sheet.shape[1]
    size = (9, min(inches, _TALLEST_INCHES))
    figure, axes = plt.subplots(figsize=size, dpi=130, layout="constrained")
    try:
        axes.imshow(sheet.squeeze(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axes.set_xticks([])
        axes.set_yticks([(row + 0.5) * (height + 2) for row in range(len(labels))], labels)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        files = ", verified" if images.verified else ", unverified files"
        verified = "" if images.dataset.is_custom else files
        axes.set_title(
            f"{images.dataset.title}: {len(images.train_images):,} training and "
            f"{len(images.test_images):,} test images of {height} × {width}{verified}",
            loc="left",
            fontsize=10,
        )
        with replacing(path) as partial:
            figure.savefig(partial, format="png")
    finally:
        plt.close(figure)
