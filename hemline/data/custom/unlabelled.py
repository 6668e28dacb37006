"""Images without labels: a flat folder, an .npz with one array of images, or shards."""

from __future__ import annotations

from pathlib import Path

from hemline.data.custom.array_file import read_unlabelled_array
from hemline.data.custom.class_folders import Listing, images_in
from hemline.data.custom.decoded_cache import decoded
from hemline.data.custom.npz_archive import Archive
from hemline.data.custom.reading import CustomImages, ReadOptions
from hemline.data.custom.shards import UNLABELLED, holds_shards, read_shards
from hemline.data.sources.items import iterate


def is_unlabelled(path: Path) -> bool:
    """Return whether a folder has images but no folders, or a file images but no classes."""
    if holds_shards(path):
        return next(iterate(path)).label is None
    if path.is_dir():
        return not any(each.is_dir() for each in path.iterdir()) and bool(images_in(path))
    with Archive(path) as archive:
        return archive.names == ("x",)


def read_unlabelled(path: Path, reading: ReadOptions, cache: Path | None) -> CustomImages:
    """Return the images, each of class 0. Raises DataError for what cannot be read."""
    if holds_shards(path):
        return read_shards(path, reading, cache, labelled=False)
    if not path.is_dir():
        return read_unlabelled_array(path, UNLABELLED, reading, cache)
    listing = Listing(folder=path, labels=UNLABELLED, files=images_in(path), test_from=None)
    return decoded(cache, listing, reading)
