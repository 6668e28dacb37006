"""The images that sources are trained, calibrated and judged on, in the sizes that they take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

SIZES = (32, 64)
TEST = 500
_COUNT = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelRange:
    """What a model was trained on: (pixel - mean) / std of each pixel 0 … 255, a value or three.

    options: that say so to Hemline.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    options: tuple[str, ...]

    def of(self, pixels: Pixels) -> Floats:
        """Return pixels (n, h, w, c) as the model reads them."""
        return (pixels.astype(np.float32) - np.float32(self.mean)) / np.float32(self.std)


RANGES = {
    "0..255": PixelRange(mean=(0,), std=(1,), options=("--pixels", "0..255")),
    "0..1": PixelRange(mean=(0,), std=(255,), options=("--pixels", "0..1")),
    "-1..1": PixelRange(mean=(127.5,), std=(127.5,), options=("--pixels", "-1..1")),
    "ImageNet": PixelRange(
        mean=(123.675, 116.28, 103.53),
        std=(58.395, 57.12, 57.375),
        options=("--mean", "123.675,116.28,103.53", "--std", "58.395,57.12,57.375"),
    ),
    "MNIST": PixelRange(
        mean=(33.3285,), std=(78.5655,), options=("--mean", "33.3285", "--std", "78.5655")
    ),
}


def write_images(folder: Path, archive: Path | None) -> str:
    """Write `images-SIZE.npz` for each size and return what the images are.

    archive: an .npz with colour images `x` (n, h, w, 3) and classes `y`, perhaps `labels`; without
    one, Fashion-MNIST is taken, in 32 × 32 pixels and three equal channels.
    """
    x, y, labels = _fashion() if archive is None else _archive(archive)
    for size in SIZES:
        scaled = np.stack([resized(image, size) for image in x])
        np.savez(
            folder / f"images-{size}.npz",
            x_train=scaled[:-TEST],
            y_train=y[:-TEST],
            x_test=scaled[-TEST:],
            y_test=y[-TEST:],
            labels=labels,
        )
    of = "Fashion-MNIST" if archive is None else archive.resolve().parent.name
    return f"{len(x) - TEST:,} training and {TEST} test images of {of}"


def _archive(path: Path) -> tuple[Pixels, npt.NDArray[np.int64], npt.NDArray[np.str_]]:
    with np.load(path) as arrays:
        x, y = arrays["x"][:_COUNT], arrays["y"][:_COUNT].astype(np.int64)
        names = arrays["labels"] if "labels" in arrays else np.arange(y.max() + 1).astype(str)
    return x, y, np.asarray(names, np.str_)


def _fashion() -> tuple[Pixels, npt.NDArray[np.int64], npt.NDArray[np.str_]]:
    from hemline.data.fetch import load_images

    images = load_images("fashion-mnist")
    padded = np.pad(images.train_images[:_COUNT, ..., 0], ((0, 0), (2, 2), (2, 2)))
    labels = np.asarray(images.dataset.labels, np.str_)
    return np.stack([padded] * 3, -1), images.train_labels[:_COUNT].astype(np.int64), labels


def resized(image: Pixels, size: int) -> Pixels:
    """Return an image in size × size pixels."""
    if image.shape[:2] == (size, size):
        return image
    from PIL import Image  # the scripts that read the archives have no Pillow everywhere

    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))
