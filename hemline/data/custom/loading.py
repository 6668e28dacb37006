"""The user's own data set: a folder with a folder for each class, or an .npz of arrays."""

from __future__ import annotations

import logging
import re
from pathlib import Path

from hemline.data.custom import decoded_cache
from hemline.data.custom.array_file import read_arrays
from hemline.data.custom.class_folders import list_folder
from hemline.data.custom.decoding import decode
from hemline.data.custom.reading import Found, Reading, counted, few
from hemline.data.custom.test_split import as_images
from hemline.data.datasets import DATASETS, Dataset, Images
from hemline.errors import DataError, UsageError
from hemline.pictures.pixels import NO_MEMORY

log = logging.getLogger(__name__)

_LONGEST_NAME = 60


def load_own(path: Path, reading: Reading, *, cache: Path | None) -> Images:
    """Return the images of a folder or an .npz, with a test part.

    `cache` is the folder in which decoded images are kept; None for nowhere. Raises DataError for
    data that cannot be trained on, UsageError for a reading that does not fit it.
    """
    try:
        return _load(path, reading, cache)
    except MemoryError as error:
        raise DataError(f"{path} {NO_MEMORY}: give fewer images") from error


def _load(path: Path, reading: Reading, cache: Path | None) -> Images:
    found = _from_folder(path, reading, cache) if path.is_dir() else read_arrays(path, reading)
    title = path.resolve().name if path.is_dir() else path.resolve().stem
    dataset = Dataset(
        name=name_of(path),
        title=title if title.isprintable() and title else "own images",
        labels=found.labels,
        files=(),
        system_folder=None,
        mirrors=(),
        debian_package=None,
    )
    return as_images(found, dataset, source=str(path))


def name_of(path: Path) -> str:
    """Return what the data set in a folder or a file is called: letters, digits, dot, - and _."""
    whole = path.resolve()
    plain = whole.name if whole.is_dir() else whole.stem
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", plain)[:_LONGEST_NAME].strip("-._") or "images"
    return f"own-{name}" if name in DATASETS else name


def _from_folder(folder: Path, reading: Reading, cache: Path | None) -> Found:
    if reading.labels is not None:
        raise UsageError("--labels names the classes of an .npz: those of a folder are its folders")
    listing = list_folder(folder)
    found = None if cache is None else decoded_cache.load(cache, listing, reading)
    if found is None:
        found = decode(listing, reading)
        if cache is not None:
            decoded_cache.keep(cache, listing, reading, found)
    elif found.broken:
        told = few(found.broken, 3)
        count = counted(len(found.broken), "broken file")
        log.warning("%s: left out: %s: %s", folder, count, told)
    return found
