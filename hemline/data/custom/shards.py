"""Read tar, TFRecord and Parquet files as a custom data set.

train-000.tar  train-001.tar  valid-000.tar  test-000.tar    the data has these parts
0000.parquet   0001.parquet                                  the test part is split off
"""

from __future__ import annotations

import itertools
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hemline.data.custom.array_file import class_numbers
from hemline.data.custom.cache_folders import CacheFolder
from hemline.data.custom.class_folders import ImageFile, Listing
from hemline.data.custom.decoded_cache import decoded
from hemline.data.custom.decoding import decode
from hemline.data.custom.folder_layout import TEST, TRAIN, VALIDATION, WORDS
from hemline.data.custom.reading import CustomImages, ReadOptions
from hemline.data.sources.items import Part, parts_of, reader_of
from hemline.errors import DataError
from hemline.pictures.images import photographs

UNLABELLED = ("unlabelled",)  # the class of every image without one


def holds_shards(path: Path) -> bool:
    """Return whether a file is a shard, or a folder has shards and no images."""
    if not path.is_dir():
        return path.suffix.lower() != ".npz" and reader_of(path) is not None
    found = False
    for folder, _, names in os.walk(path):
        paths = [Path(folder, name) for name in names if not name.startswith(".")]
        if photographs(paths):
            return False
        found = found or any(reader_of(each) is not None for each in paths)
    return found


def read_shards(
    path: Path, reading: ReadOptions, cache: Path | None, *, labelled: bool = True
) -> CustomImages:
    """Return the images of a shard, or of the shards in a folder; without labels, of one class.

    Raises DataError for a damaged shard, naming the place, and for an image without a class.
    """
    parts = parts_of(path)
    roles = [_role(part.name) for part in parts]
    if TRAIN not in roles:
        roles = [TRAIN] * len(parts)
    if None in roles:
        name = parts[roles.index(None)].name
        raise DataError(f"{path}: {name} is in no part: put train, valid or test into its name")
    listed = [
        ImageFile(path=part.path, name=part.name, label=0)
        for wanted in (TRAIN, VALIDATION, TEST)
        for part, role in zip(parts, roles, strict=True)
        if role == wanted
    ]
    train, validation, test = map(roles.count, (TRAIN, VALIDATION, TEST))
    shards = Listing(
        folder=path,
        labels=(reading.labels or ()) if labelled else UNLABELLED,
        files=tuple(listed),
        validation_from=train if validation else None,
        test_from=train + validation if test else None,
    )
    return decoded(cache, shards, reading, _decode)


def _role(name: str) -> str | None:
    """Return the part of the data that a shard belongs to by its name; None for none or several."""
    found = {WORDS[word] for word in re.findall("[a-z]+", name.lower()) if word in WORDS}
    return found.pop() if len(found) == 1 else None


def _decode(shards: Listing, reading: ReadOptions, into: CacheFolder | None) -> CustomImages:
    parts = [Part(file.path, file.name) for file in shards.files]
    found, ends = list[tuple[str, str | int | None]](), [0]
    for part in parts:
        found += ((item.name, item.label) for item in part.items())
        ends.append(len(found))
    starts = [None if at is None else ends[at] for at in (shards.validation_from, shards.test_from)]
    bounds = sorted({0, len(found), *(at for at in starts if at is not None)})
    if len(bounds) == 1 or 0 in starts:
        raise DataError(f"{shards.folder} has no images to train on")
    known = [_classes(found[a:b], shards) for a, b in itertools.pairwise(bounds)]
    labels, classes = shards.labels, np.concatenate([array for _, array in known])
    if labels != UNLABELLED:
        labels, classes = class_numbers(known, reading.labels, None)
    rows = Listing(
        folder=shards.folder,
        labels=labels,
        files=tuple(
            ImageFile(path=Path(name), name=name, label=int(label))
            for (name, _), label in zip(found, classes, strict=True)
        ),
        validation_from=starts[0],
        test_from=starts[1],
    )
    return decode(rows, reading, into, lambda: (item for part in parts for item in part.items()))


def _classes(
    found: list[tuple[str, str | int | None]], shards: Listing
) -> tuple[str, npt.NDArray[Any]]:
    """Return the classes of a part, all names or all numbers. Raises DataError for others."""
    if shards.labels == UNLABELLED:
        return "", np.zeros(len(found), np.uint8)
    for name, label in found:
        if label is None:
            raise DataError(f"{shards.folder}: {name} has no class: each image needs one")
    labels = [label for _, label in found]
    if len({isinstance(label, str) for label in labels}) > 1:
        raise DataError(f"{shards.folder} has names of classes and numbers: use one of them")
    return str(shards.folder), np.array(labels)
