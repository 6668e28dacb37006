"""Images without labels: a flat folder, or an .npz with one array of images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hemline.data.custom.array_file import image_shape, pixels_of, resized
from hemline.data.custom.class_folders import Listing, images_in
from hemline.data.custom.decoding import common_size, decode, gray_if_all
from hemline.data.custom.npz_archive import Archive
from hemline.data.custom.reading import CustomImages, ReadOptions, require_room

_CLASS = ("unlabelled",)  # of every image


def is_unlabelled(path: Path) -> bool:
    """Return whether a folder has images but no folders, or an .npz images but no classes."""
    if path.is_dir():
        return not any(each.is_dir() for each in path.iterdir()) and bool(images_in(path))
    with Archive(path) as archive:
        return archive.names == ("x",)


def read_unlabelled(path: Path, reading: ReadOptions) -> CustomImages:
    """Return the images, each of class 0. Raises DataError for what cannot be read."""
    if path.is_dir():
        files = images_in(path)
        return decode(Listing(folder=path, labels=_CLASS, files=files, test_from=None), reading)
    with Archive(path) as archive:
        height, width, channels = image_shape(archive, "x")
        count = archive.header("x")[0][0]
        size = reading.size or common_size([(height, width)], where=str(path))
        channels = reading.channels or min(channels, 3)
        require_room(count, size, channels, where=str(path))
        images, contents = resized(pixels_of(archive, "x"), (count, *size, channels))
    return CustomImages(
        labels=_CLASS,
        images=gray_if_all(images) if reading.channels is None else images,
        classes=np.zeros(count, np.uint8),
        names=tuple(f"x[{at}]" for at in range(count)),
        test_from=None,
        contents=contents,
    )
