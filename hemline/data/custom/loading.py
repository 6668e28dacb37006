"""Load a custom data set: a folder with a folder for each class, arrays, or shards."""

from __future__ import annotations

import re
from pathlib import Path

from hemline.data.custom import decoded_cache
from hemline.data.custom.array_file import read_arrays
from hemline.data.custom.class_folders import list_folder
from hemline.data.custom.idx_files import read_idx
from hemline.data.custom.reading import CustomImages, ReadOptions
from hemline.data.custom.shards import holds_shards, read_shards
from hemline.data.custom.test_split import with_test_part, with_test_share
from hemline.data.custom.unlabelled import read_unlabelled
from hemline.data.datasets import DATASETS, Dataset, Images, holds_idx
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


def load_unlabelled(path: Path, reading: ReadOptions, *, cache: Path | None) -> Images:
    """Return the images of a flat folder, of an .npz with `x` alone or of shards: labels are 0.

    15 % of them are the test part. Raises DataError for fewer than 8 different images.
    """
    found = read_unlabelled(path, reading, cache)
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
    return decoded_cache.decoded(cache, list_folder(folder), reading)
