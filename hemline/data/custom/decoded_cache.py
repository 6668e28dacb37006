"""Cache decoded images on the disk: the next command maps them, and does not decode them again."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from hemline import files, folders
from hemline.contract import schema
from hemline.data.custom.cache_folders import FACTS, CacheFolder, by_use, remove, waiting
from hemline.data.custom.class_folders import Listing
from hemline.data.custom.decoding import decode, each, in_threads
from hemline.data.custom.image_blocks import content_of, require_unchanged
from hemline.data.custom.pixel_file import mapped
from hemline.data.custom.reading import CustomImages, ReadOptions, counted, few
from hemline.data.datasets import array_sha256, image_hashes
from hemline.data.image_rows import MappedImages, blocks
from hemline.errors import BackendError, DataError, HemlineError, UsageError
from hemline.pictures.npy import npy_errors
from hemline.provenance import installed_version

log = logging.getLogger(__name__)

_VERSION = 5  # counts up when the same files decode to other pixels
_DAMAGE: tuple[type[Exception], ...] = (OSError, HemlineError, *npy_errors())
_CLASSES = "classes.npy"
Make = Callable[[Listing, ReadOptions, CacheFolder | None], CustomImages]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The record beside decoded images; the last file that is written.

    source: the folder or file that they were read from, for texts.
    classes_sha256: of the array's bytes. The others are as in CustomImages.
    """

    KIND: ClassVar[str] = "decoded"
    SCHEMA: ClassVar[int] = 2

    source: str
    labels: tuple[str, ...]
    names: tuple[str, ...]
    validation_from: int | None
    test_from: int | None
    broken: tuple[str, ...]
    contents: tuple[str, ...]
    digests: tuple[str, ...]
    classes_sha256: str


_SAME = [field.name for field in fields(Facts) if field.name in CustomImages.__slots__]


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedImages:
    """A folder of the cache.

    source: that the images were read from; empty for a folder that is not finished.
    shape: (n, height, width, channels); None the same.
    size_bytes: on the disk.
    used: when it was last used, in seconds since 1970.
    """

    path: Path
    source: str
    shape: tuple[int, ...] | None
    size_bytes: int
    used: float


def decoded(
    cache: Path | None, listing: Listing, reading: ReadOptions, make: Make = decode
) -> CustomImages:
    """Return the images that `make` decodes of a folder or file, from the cache if they are there.

    listing: the files that they are in. Without a cache, or if it cannot be written or is too
    small, they are decoded into memory. Raises what `make` does.
    """
    if cache is not None:
        try:
            return _cached(cache, listing, reading, make)
        except (DataError, UsageError, BackendError):
            raise
        except HemlineError as error:
            log.warning("decoded images are not cached: %s", error)
    return make(listing, reading, None)


def _cached(cache: Path, listing: Listing, reading: ReadOptions, make: Make) -> CustomImages:
    if make is decode and not _has_names(cache, listing):
        # the files need not be read for their hashes alone: nothing there can be of them
        place = CacheFolder(
            path=cache / key_of(listing, (str(listing.folder.absolute()),), reading)
        )
        with waiting(place.path):
            if not _has_names(cache, listing):
                made = _made(place, listing, reading, make)
                _rename(place, key_of(listing, tuple(place.contents), reading))
                return made
            shutil.rmtree(place.path, ignore_errors=True)  # another process made them meanwhile
    contents = tuple(each(content_of, listing.files))
    if (found := _load_any(cache, listing, contents, reading)) is not None:
        if found.broken:
            count = counted(len(found.broken), "broken file")
            log.warning("%s: %s skipped: %s", listing.folder, count, few(found.broken, 3))
        return found
    place = CacheFolder(path=cache / key_of(listing, contents, reading), contents=[*contents])
    with waiting(place.path):
        if (found := _load(place.path)) is not None:  # another process made them meanwhile
            return found
        return _made(place, listing, reading, make)


def _names_file(listing: Listing) -> str:
    """Return the name of an empty file in the cache: a hash of the names of the image files."""
    names = [file.name for file in listing.files]
    return f"names-{files.fingerprint([listing.labels, names])[:16]}"


def _has_names(cache: Path, listing: Listing) -> bool:
    """Return whether there are finished images of files with these names."""
    marker = _names_file(listing)
    return any((each / FACTS).is_file() and (each / marker).is_file() for each in by_use(cache))


def _rename(place: CacheFolder, key: str) -> None:
    """Give a folder the name by which images of these contents are found."""
    final = place.path.with_name(key)
    with contextlib.suppress(HemlineError, OSError):  # then they are decoded again the next time
        if final.exists():
            remove(final)
        place.path.rename(final)


def key_of(listing: Listing, contents: tuple[str, ...], reading: ReadOptions) -> str:
    """Return a key of these files, their contents and how they are read.

    contents: hash of each; while those are not known, the path of their folder.
    """
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


def _load_any(
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
    if not (folder / FACTS).is_file():
        return None
    try:
        facts = schema.load(Facts, folder / FACTS)
        images = mapped(folder)
        classes = np.load(folder / _CLASSES, allow_pickle=False)
    except _DAMAGE:
        return None
    if array_sha256(classes) != facts.classes_sha256 or not _intact(images, facts.digests):
        return None
    with contextlib.suppress(OSError):
        os.utime(folder)  # it was used now
    return CustomImages(
        images=images, classes=classes, **{name: getattr(facts, name) for name in _SAME}
    )


def _intact(images: MappedImages, digests: tuple[str, ...]) -> bool:
    hashes = in_threads(lambda block: [each.hex() for each in image_hashes(block)], blocks(images))
    return tuple(itertools.chain(*hashes)) == digests


def _made(place: CacheFolder, listing: Listing, reading: ReadOptions, make: Make) -> CustomImages:
    """Return the images that `make` decodes into a folder of the cache, which this process holds.

    What a killed process left in it is gone on from. Raises HemlineError for a folder that cannot
    be written, and what `make` raises: then the folder is removed.
    """
    folder = place.path
    (folder / FACTS).unlink(missing_ok=True)  # they were damaged
    try:
        found = make(listing, reading, place)
        if make is not decode:  # which compares each file while it reads it
            for file, content in zip(listing.files, place.contents, strict=True):
                require_unchanged(file, content)
        (folder / _names_file(listing)).touch()
        _save(folder, str(listing.folder), found)
    except (HemlineError, OSError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError):
            raise HemlineError(f"cannot write {folder}: {files.reason_of(error)}") from error
        raise
    place.remove_others()
    return found


def _save(folder: Path, source: str, found: CustomImages) -> None:
    np.save(folder / _CLASSES, found.classes)
    same = {name: getattr(found, name) for name in _SAME}
    facts = Facts(source=source, classes_sha256=array_sha256(found.classes), **same)
    schema.save(folder / FACTS, facts)


def listed(cache: Path) -> Iterator[CachedImages]:
    """Yield what is in the cache, most recently used first."""
    for folder in by_use(cache):
        source, shape = "", None
        with contextlib.suppress(*_DAMAGE):
            source = schema.load(Facts, folder / FACTS).source
            shape = mapped(folder).shape
        size, used = folders.size_of(folder), folder.stat().st_mtime
        yield CachedImages(path=folder, source=source, shape=shape, size_bytes=size, used=used)
