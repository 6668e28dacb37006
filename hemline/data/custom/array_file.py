"""Read images and classes out of an .npz: x and y, or x_train, y_train, x_test and y_test."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from hemline.data.custom.class_folders import ImageFile, Listing
from hemline.data.custom.decoded_cache import decoded
from hemline.data.custom.decoding import common_size, decode
from hemline.data.custom.npz_archive import Archive, Array
from hemline.data.custom.pixel_range import byte_blocks
from hemline.data.custom.reading import (
    MOST_CLASSES,
    CustomImages,
    ReadOptions,
    few,
    require_labels,
)
from hemline.data.datasets import Pixels
from hemline.data.sources.items import Item
from hemline.errors import DataError, UsageError, remedy

PARTS = _ALONE, _TRAIN, _TEST = ("x", "y"), ("x_train", "y_train"), ("x_test", "y_test")
_LABELS = "labels"  # optional class names, in the order of their numbers
_LARGE_BYTES = 1 << 27  # of pixels: fewer are kept in memory, and are read each time
Part = tuple[str, str]  # names of the images' and of the classes' array


def read_arrays(path: Path, reading: ReadOptions, cache: Path | None) -> CustomImages:
    """Return the images and classes of an .npz.

    Raises DataError unless images are 8-bit, or exactly so after scaling, and classes are numbers
    from 0 or names.
    """
    with Archive(path) as archive:
        parts = _parts(archive)
        shapes = [_part_shape(archive, part) for part in parts]
        classes = [(f"{path}: {y}", archive.read(y).reshape(-1)) for _, y in parts]
        labels, numbers = class_numbers(classes, reading.labels, class_names_in(archive))
    lengths = [len(found) for _, found in classes]
    rows = array_rows(path, labels, [x for x, _ in parts], lengths, numbers)
    items = functools.partial(_items, path, [x for x, _ in parts])
    return decoded_rows(rows, shapes, items, reading, cache)


def read_unlabelled_array(
    path: Path, labels: tuple[str], reading: ReadOptions, cache: Path | None
) -> CustomImages:
    """Return the images `x` of an .npz, each of the one class."""
    with Archive(path) as archive:
        shape, count = image_shape(archive, "x"), archive.header("x")[0][0]
    rows = array_rows(path, labels, ["x"], [count], np.zeros(count, np.uint8))
    return decoded_rows(rows, [shape], functools.partial(_items, path, ["x"]), reading, cache)


def array_rows(
    path: Path, labels: tuple[str, ...], names: list[str], lengths: list[int], classes: Pixels
) -> Listing:
    """Return a listing of the rows of arrays, of which the second is for test."""
    places = (f"{name}[{at}]" for name, n in zip(names, lengths, strict=True) for at in range(n))
    files = (
        ImageFile(path=Path(place), name=place, label=int(label))
        for place, label in zip(places, classes, strict=True)
    )
    test_from = lengths[0] if len(lengths) > 1 else None
    return Listing(folder=path, labels=labels, files=tuple(files), test_from=test_from)


def decoded_rows(
    rows: Listing,
    shapes: list[tuple[int, int, int]],
    items: Callable[[], Iterator[Item]],
    reading: ReadOptions,
    cache: Path | None,
) -> CustomImages:
    """Return the rows of arrays that have (height, width, channels); of large ones in the cache."""
    path = rows.folder
    size = reading.size or common_size([shape[:2] for shape in shapes], where=str(path))
    channels = reading.channels or (1 if all(c == 1 for *_, c in shapes) else None)
    known = replace(reading, size=size, channels=channels)
    large = len(rows.files) * math.prod(size) * (channels or 3) > _LARGE_BYTES
    paths = sorted(path.glob("*-ubyte*")) if path.is_dir() else [path]
    files = tuple(ImageFile(path=each, name=each.name, label=0) for each in paths)
    stored = Listing(folder=path, labels=reading.labels or (), files=files, test_from=None)
    return decoded(
        cache if large else None,
        stored,
        reading,
        lambda _, __, into: decode(rows, known, into, items, arrays=True),
    )


def _items(path: Path, arrays: list[str]) -> Iterator[Item]:
    with Archive(path) as archive:
        for x in arrays:
            images = itertools.chain.from_iterable(pixels_of(archive, x))
            yield from (Item(f"{x}[{at}]", image) for at, image in enumerate(images))


def _parts(archive: Archive) -> list[Part]:
    """Return the training part and, if there is one, the test part."""
    names = set(archive.names)
    if {*_TRAIN} <= names and not names & {*_TEST}:
        return [_TRAIN]
    if {*_TRAIN, *_TEST} <= names:
        return [_TRAIN, _TEST]
    if {*_ALONE} <= names and not names & {*_TRAIN, *_TEST}:
        return [_ALONE]
    raise DataError(
        f"{archive.path} has {few(sorted(names)) or 'no arrays'}: it needs x and y, or x_train, "
        "y_train, x_test and y_test"
    )


def image_shape(archive: Archive, x: str) -> tuple[int, int, int]:
    """Return (height, width, channels) of an array of images; raises DataError for another."""
    shape, _ = archive.header(x)
    where = f"{archive.path}: {x} has shape {shape}"
    if len(shape) not in (3, 4):
        raise DataError(
            f"{where}: images must be (n, height, width) or (n, height, width, channels)"
        )
    if 0 in shape:
        raise DataError(f"{where}: it contains no images")
    channels = shape[3] if len(shape) == 4 else 1
    if channels not in (1, 3, 4):
        last = shape[1] in (1, 3)
        advice = f"numpy.moveaxis({x}, 1, -1) moves them there" if last else "save gray or colour"
        raise DataError(f"{where}: images must have 1, 3 or 4 channels on the last axis: {advice}")
    return shape[1], shape[2], channels


def _part_shape(archive: Archive, part: Part) -> tuple[int, int, int]:
    """Return (height, width, channels) of a part; raises DataError for arrays that do not fit."""
    x, y = part
    found = image_shape(archive, x)
    shape, _ = archive.header(x)
    classes, _ = archive.header(y)
    if len(classes) == 2 and classes[1] > 1:
        raise DataError(
            f"{archive.path}: {y} has shape {classes}: save the class numbers, {y}.argmax(axis=1) "
            "if rows are one-hot"
        )
    if classes not in ((shape[0],), (shape[0], 1)):
        raise DataError(
            f"{archive.path}: {x} has shape {shape}, {y} has {classes}: there must be one class "
            "for each image"
        )
    return found


def pixels_of(archive: Archive, x: str) -> Iterator[Pixels]:
    """Yield an array of images as uint8, block by block; raises DataError for other pixels."""
    return byte_blocks(functools.partial(archive.blocks, x), where=f"{archive.path}: {x}")


def class_numbers(
    parts: list[tuple[str, Array]], given: tuple[str, ...] | None, named: tuple[str, ...] | None
) -> tuple[tuple[str, ...], Pixels]:
    """Return the names of the classes and the class of each image, uint8 (n,).

    parts: where they were found, for texts, and names or numbers (n,) of each; the first is that to
    train on. `given` are the user's names of numbered classes, `named` those in the file.
    """
    where, train = parts[0]
    if all(array.dtype.kind == "U" for _, array in parts):
        if given is not None:
            raise UsageError(f"{where} already contains class names", remedy=remedy("no labels"))
        labels = tuple(str(name) for name in np.unique(train))
        require_labels(labels, where=where)
        numbers = [_numbered(array, labels, each) for each, array in parts]
    else:
        numbers = [_whole(array, each) for each, array in parts]
        labels = given or named or tuple(map(str, range(int(numbers[0].max()) + 1)))
    require_labels(labels, where=where)
    for array, (each, _) in zip(numbers, parts, strict=True):
        if array.max() >= len(labels):
            raise DataError(
                f"{each} has class {array.max()}, but there are {len(labels)} "
                "labels: classes are numbered from 0"
            )
    present = np.bincount(numbers[0], minlength=len(labels))
    if missing := [labels[at] for at in np.flatnonzero(present == 0)]:
        raise DataError(
            f"{where} has no image of class {few(missing)}: number classes without gaps"
        )
    return labels, np.concatenate(numbers)


def class_names_in(archive: Archive) -> tuple[str, ...] | None:
    """Return the class names in the file, or None."""
    if _LABELS not in archive.names:
        return None
    names = archive.read(_LABELS)
    if names.ndim != 1 or names.dtype.kind != "U" or len(set(names.tolist())) != len(names):
        raise DataError(
            f"{archive.path}: labels must be a list of unique texts, one for each class"
        )
    return tuple(str(name) for name in names)


def _numbered(names: Array, labels: tuple[str, ...], where: str) -> Pixels:
    foreign = sorted({str(name) for name in np.unique(names)} - set(labels))
    if foreign:
        raise DataError(f"{where} has classes that are not in the training part: {few(foreign)}")
    return np.searchsorted(np.array(labels), names).astype(np.uint8)


def _whole(numbers: Array, where: str) -> Pixels:
    if numbers.dtype.kind not in "iu":
        raise DataError(
            f"{where} has dtype {numbers.dtype}: classes must be whole numbers from 0, or names"
        )
    low, high = numbers.min(), numbers.max()
    if low < 0 or high >= MOST_CLASSES:
        raise DataError(
            f"{where} has classes from {low} to {high}: they must be 0 to {MOST_CLASSES - 1}"
        )
    return numbers.astype(np.uint8)
