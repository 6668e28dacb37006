"""Write pictures to try commands with: two to classify, and a folder of classes to train on."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from hemline import files
from hemline.data.datasets import Images, Pixels
from hemline.data.image_rows import ImageRows
from hemline.errors import BackendError, UsageError, remedy

PICTURES = {"shirt.png": 6, "boot.png": 9}  # class index in Fashion-MNIST
PHOTOS = {"bag": 8, "boot": 9, "shirt": 6}
_EACH = 60  # pictures of a class: enough to train, validate and test in seconds


def write_samples(images: Images, folder: Path, *, force: bool) -> tuple[Path, ...]:
    """Write test images as pictures and training images as class folders; return the paths.

    `images` are those of Fashion-MNIST, uint8 (n, 28, 28, 1). Raises UsageError when something of
    that name is there and `force` is not given, BackendError without pillow.
    """
    chosen = {
        folder / name: _first(images.test_images, images.test_labels, at, 1)[0]
        for name, at in PICTURES.items()
    }
    for name, at in PHOTOS.items():
        found = _first(images.train_images, images.train_labels, at, _EACH)
        chosen |= {folder / "photos" / name / f"{n}.png": each for n, each in enumerate(found, 1)}
    for path in (*(folder / name for name in PICTURES), folder / "photos"):
        if path.exists() and not force:
            raise UsageError(f"{path} exists", remedy=remedy("replace or move"))
    for path, pixels in chosen.items():
        _write(path, pixels)
    return tuple(chosen)


def _first(images: ImageRows, labels: Pixels, label: int, count: int) -> Pixels:
    return np.asarray(images[np.flatnonzero(np.asarray(labels) == label)[:count]])


def _write(path: Path, pixels: Pixels) -> None:
    try:
        from PIL import Image
    except ImportError as error:
        raise BackendError("writing pictures needs pillow: pip install pillow") from error
    stream = io.BytesIO()
    Image.fromarray(pixels.squeeze(-1)).save(stream, "PNG")
    files.write_bytes(path, stream.getvalue())
