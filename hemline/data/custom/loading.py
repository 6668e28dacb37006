"""Load a custom data set: a folder with a folder for each class, arrays, or shards."""

from __future__ import annotations

import re
from pathlib import Path

from hemline.data.custom.array_file import read_arrays, read_unlabelled_array
from hemline.data.custom.class_folders import Listing, images_in, list_folder
from hemline.data.custom.decoded_cache import decoded
from hemline.data.custom.idx_files import read_idx
from hemline.data.custom.npz_archive import Archive
from hemline.data.custom.reading import CustomImages, ReadOptions
from hemline.data.custom.shards import UNLABELLED, holds_shards, read_shards
from hemline.data.custom.test_split import with_test_part, with_test_share
from hemline.data.datasets import DATASETS, Dataset, Images, holds_idx
from hemline.data.sources.items import iterate
from hemline.errors import DataError, UsageError, remedy
from hemline.pictures.pixels import NO_MEMORY

_LONGEST_NAME = 60


def load_custom(path: Path, reading: ReadOptions, *, cache: Path | None) -> Images:
    """Return the images of a folder, an .npz or shards, with a test part.

    `cache` is the folder for decoded images; None for no cache. Raises DataError for data that
    cannot be trained on, UsageError for options that do not fit the data.
    """
    try:
        found = _read(path, reading, cache)
        title = _title(path)
        dataset = Dataset(
            name=name_of(path),
            title=title if title.isprintable() and title else "custom images",
            labels=found.labels,
        )
        return with_test_part(found, dataset, source=str(path), reading=reading)
    except MemoryError as error:
        raise DataError(f"{path} {NO_MEMORY}: use fewer images") from error


def _read(path: Path, reading: ReadOptions, cache: Path | None) -> CustomImages:
    if path.is_dir() and holds_idx(path):
        return read_idx(path, reading, cache)
    if holds_shards(path):
        return read_shards(path, reading, cache)
    return (_from_folder if path.is_dir() else read_arrays)(path, reading, cache)


def is_unlabelled(path: Path) -> bool:
    """Return whether a folder has images but no folders, or a file images but no classes."""
    if holds_shards(path):
        return next(iterate(path)).label is None
    if path.is_dir():
        return not any(each.is_dir() for each in path.iterdir()) and bool(images_in(path))
    with Archive(path) as archive:
        return archive.names == ("x",)


def load_unlabelled(path: Path, reading: ReadOptions, *, cache: Path | None) -> Images:
    """Return the images of a flat folder, of an .npz with `x` alone or of shards: labels are 0.

    15 % of them are the test part. Raises DataError for fewer than 8 different images.
    """
    if holds_shards(path):
        found = read_shards(path, reading, cache, labelled=False)
    elif path.is_dir():
        listing = Listing(folder=path, labels=UNLABELLED, files=images_in(path), test_from=None)
        found = decoded(cache, listing, reading)
    else:
        found = read_unlabelled_array(path, UNLABELLED, reading, cache)
    dataset = Dataset(name=name_of(path), title=_title(path), labels=found.labels)
    return with_test_share(found, dataset, source=str(path))


def name_of(path: Path) -> str:
    """Return the name of the data set in a folder or file: letters, digits, dot, - and _."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", _title(path))[:_LONGEST_NAME].strip("-._") or "images"
    return f"custom-{name}" if name in DATASETS else name


def _title(path: Path) -> str:
    return path.resolve().name if path.is_dir() else path.resolve().stem.removesuffix(".tar")


def _from_folder(folder: Path, reading: ReadOptions, cache: Path | None) -> CustomImages:
    if reading.labels is not None:
        raise UsageError(
            "class names can be given for an .npz only; folders are named after their classes",
            remedy=remedy("no labels"),
        )
    return decoded(cache, list_folder(folder), reading)
