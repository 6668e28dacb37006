"""Read images and classes out of an .npz: x and y, or x_train, y_train, x_test and y_test."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from hemline.contract.specs import InputSpec
from hemline.data.custom.decoding import common_size, content_hash, each, gray_if_all
from hemline.data.custom.npz_archive import Archive, Array
from hemline.data.custom.pixel_range import byte_blocks
from hemline.data.custom.reading import (
    MOST_CLASSES,
    CustomImages,
    ReadOptions,
    few,
    require_labels,
    require_room,
)
from hemline.data.datasets import Pixels
from hemline.errors import DataError, UsageError, remedy
from hemline.pictures.preprocessing import model_pixels

_ALONE, _TRAIN, _TEST = ("x", "y"), ("x_train", "y_train"), ("x_test", "y_test")
_LABELS = "labels"  # optional class names, in the order of their numbers
Part = tuple[str, str]  # names of the images' and of the classes' array


def read_arrays(path: Path, reading: ReadOptions) -> CustomImages:
    """Return the images and classes of an .npz.

    Raises DataError unless images are 8-bit, or exactly so after scaling, and classes are numbers
    from 0 or names.
    """
    with Archive(path) as archive:
        parts = _parts(archive)
        shapes = [_part_shape(archive, part) for part in parts]
        size = reading.size or common_size([shape[:2] for shape in shapes], where=str(path))
        channels = reading.channels or (1 if all(c == 1 for *_, c in shapes) else 3)
        counts = [archive.header(x)[0][0] for x, _ in parts]
        require_room(sum(counts), size, channels, where=str(path))
        labels, classes = _classes(archive, parts, reading.labels)
        pixels = itertools.chain.from_iterable(pixels_of(archive, x) for x, _ in parts)
        images, contents = resized(pixels, (sum(counts), *size, channels))
    return CustomImages(
        labels=labels,
        images=gray_if_all(images) if reading.channels is None else images,
        classes=classes,
        names=tuple(
            f"{x}[{at}]" for (x, _), n in zip(parts, counts, strict=True) for at in range(n)
        ),
        test_from=counts[0] if len(parts) > 1 else None,
        contents=contents,
    )


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


def resized(
    parts: Iterable[Pixels], shape: tuple[int, int, int, int]
) -> tuple[Pixels, tuple[str, ...]]:
    """Return arrays (n, h, w[, c]) as one of `shape`, and each image's hash before it is resized.

    shape: (all n, height, width, channels). Images are converted as `hemline classify` does.
    """
    spec = InputSpec(height=shape[1], width=shape[2], channels=shape[3], dtype="uint8")
    images, contents = np.empty(shape, np.uint8), list[str]()
    for part in parts:
        pixels = part[..., np.newaxis] if part.ndim == 3 else part
        place = images[len(contents) : len(contents) + len(pixels)]

        def one(at: int, pixels: Pixels = pixels, place: Pixels = place) -> None:
            place[at] = model_pixels(pixels[at], spec, "stretch")

        each(one, range(len(pixels)))
        contents += map(content_hash, pixels)
    return images, tuple(contents)


def _classes(
    archive: Archive, parts: list[Part], given: tuple[str, ...] | None
) -> tuple[tuple[str, ...], Pixels]:
    """Return the names of the classes and the class of each image, uint8 (n,)."""
    arrays = [archive.read(y).reshape(-1) for _, y in parts]
    train, where = arrays[0], f"{archive.path}: {parts[0][1]}"
    if all(array.dtype.kind == "U" for array in arrays):
        if given is not None:
            raise UsageError(f"{where} already contains class names", remedy=remedy("no labels"))
        labels = tuple(str(name) for name in np.unique(train))
        require_labels(labels, where=where)
        numbers = [_numbered(array, labels, archive.path) for array in arrays]
    else:
        numbers = [
            _whole(array, f"{archive.path}: {y}")
            for array, (_, y) in zip(arrays, parts, strict=True)
        ]
        labels = (
            given or class_names_in(archive) or tuple(map(str, range(int(numbers[0].max()) + 1)))
        )
    require_labels(labels, where=where)
    for array, (_, y) in zip(numbers, parts, strict=True):
        if array.max() >= len(labels):
            raise DataError(
                f"{archive.path}: {y} has class {array.max()}, but there are {len(labels)} "
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


def _numbered(names: Array, labels: tuple[str, ...], path: Path) -> Pixels:
    foreign = sorted({str(name) for name in np.unique(names)} - set(labels))
    if foreign:
        raise DataError(
            f"{path}: the test part has classes that are not in the training part: {few(foreign)}"
        )
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
