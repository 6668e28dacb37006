"""Cache decoded images, so that the next training of the same files starts at once."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import logging
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from hemline import files, folders
from hemline.contract import schema
from hemline.data.custom.class_folders import ImageFile, Listing
from hemline.data.custom.decoding import each
from hemline.data.custom.reading import CustomImages, ReadOptions
from hemline.data.datasets import array_sha256
from hemline.errors import HemlineError
from hemline.files import reason_of
from hemline.pictures.npy import npy_errors
from hemline.provenance import installed_version

log = logging.getLogger(__name__)

_KEPT = 4  # decoded folders; the least recently used is removed first
_VERSION = 3  # counts up when the same files decode to other pixels
_CHUNK_BYTES = 1 << 20  # of a file, hashed at a time
_DAMAGE: tuple[type[Exception], ...] = (OSError, HemlineError, *npy_errors())
_IMAGES, _CLASSES, _FACTS = "images.npy", "classes.npy", "facts.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The record beside decoded images.

    labels, names, validation_from, test_from, broken, contents: as in CustomImages.
    images_sha256, classes_sha256: of the arrays' bytes.
    """

    KIND: ClassVar[str] = "decoded"
    SCHEMA: ClassVar[int] = 1

    labels: tuple[str, ...]
    names: tuple[str, ...]
    validation_from: int | None
    test_from: int | None
    broken: tuple[str, ...]
    contents: tuple[str, ...]
    images_sha256: str
    classes_sha256: str


def contents_of(listing: Listing) -> tuple[str, ...]:
    """Return the hash of each file: names, sizes and times do not tell two contents apart.

    Archives and package managers set one time for all files.
    """
    return tuple(each(_content, listing.files))


def _content(file: ImageFile) -> str:
    if file.fault:
        return file.fault
    digest = hashlib.blake2b(digest_size=16)
    try:
        with file.path.open("rb", buffering=0) as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
    except OSError as error:
        return reason_of(error)
    return digest.hexdigest()


def key_of(listing: Listing, contents: tuple[str, ...], reading: ReadOptions) -> str:
    """Return a key of these files, their contents and how they are read."""
    return files.fingerprint(
        {
            "version": _VERSION,
            "pillow": installed_version("pillow"),
            "labels": listing.labels,
            "names": [file.name for file in listing.files],
            "contents": contents,
            "parts": [listing.validation_from, listing.test_from],
            "reading": [reading.size, reading.channels, reading.skip_broken],
        }
    )


def load(
    cache: Path, listing: Listing, contents: tuple[str, ...], reading: ReadOptions
) -> CustomImages | None:
    """Return the cached images of these files, or None if they are missing or damaged.

    An explicit size or number of channels equals none if all images have it.
    """
    sizes, channels = {reading.size, None}, {reading.channels, None}
    for size, channel, skip in itertools.product(sizes, channels, {reading.skip_broken, False}):
        other = replace(reading, size=size, channels=channel, skip_broken=skip)
        found = _load(cache / key_of(listing, contents, other))
        if found is not None and _fits(found, reading):
            return found
    return None


def _fits(found: CustomImages, reading: ReadOptions) -> bool:
    _, height, width, channels = found.images.shape
    return reading.size in (None, (height, width)) and reading.channels in (None, channels)


def _load(folder: Path) -> CustomImages | None:
    if not folder.is_dir():
        return None
    try:
        facts = schema.load(Facts, folder / _FACTS)
        images = np.load(folder / _IMAGES, allow_pickle=False)
        classes = np.load(folder / _CLASSES, allow_pickle=False)
    except _DAMAGE:
        return None
    damaged = array_sha256(images) != facts.images_sha256
    if damaged or array_sha256(classes) != facts.classes_sha256:
        return None
    with contextlib.suppress(OSError):
        os.utime(folder)  # it was used now
    return CustomImages(
        labels=facts.labels,
        images=images,
        classes=classes,
        names=facts.names,
        validation_from=facts.validation_from,
        test_from=facts.test_from,
        broken=facts.broken,
        contents=facts.contents,
    )


def keep(
    cache: Path,
    listing: Listing,
    contents: tuple[str, ...],
    reading: ReadOptions,
    found: CustomImages,
) -> None:
    """Cache decoded images; a cache that cannot be written is only a warning."""
    folder = cache / key_of(listing, contents, reading)

    def write(place: Path) -> None:
        np.save(place / _IMAGES, found.images)
        np.save(place / _CLASSES, found.classes)
        facts = Facts(
            labels=found.labels,
            names=found.names,
            validation_from=found.validation_from,
            test_from=found.test_from,
            broken=found.broken,
            contents=found.contents,
            images_sha256=array_sha256(found.images),
            classes_sha256=array_sha256(found.classes),
        )
        schema.save(place / _FACTS, facts)

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folders.remove(folder)  # it was damaged
        folders.made(folder, write, needs_bytes=2 * found.images.nbytes)
        for old in _by_use(folder.parent)[_KEPT:]:
            folders.remove(old)
    except (HemlineError, OSError) as error:
        log.warning("decoded images are not cached: %s", error)


def _by_use(place: Path) -> list[Path]:
    """Return the cached folders, most recently used first."""
    kept = [path for path in place.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return sorted(kept, key=lambda path: path.stat().st_mtime_ns, reverse=True)
