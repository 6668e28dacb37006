"""Read the image files of a listing into arrays, exactly as `hemline classify` reads them."""

from __future__ import annotations

import collections
import itertools
import logging
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from hemline.contract.specs import InputSpec
from hemline.data.custom.class_folders import ImageFile, Listing
from hemline.data.custom.reading import (
    LARGEST_SIDE,
    CustomImages,
    ReadOptions,
    counted,
    few,
    require_room,
    shown,
)
from hemline.data.datasets import Pixels, image_hashes
from hemline.errors import DataError, remedy
from hemline.host import cores
from hemline.pictures.images import read_picture, read_size
from hemline.pictures.pixels import NO_MEMORY
from hemline.pictures.preprocessing import as_picture, model_pixels
from hemline.progress import Progress

log = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")
_AT_ONCE = 64  # files per task of a thread
_SIZES_SHOWN = 4
_BLACK = 16  # of 255: also the highest of 12 bits that a file of 16 bits holds in its low ones


def decode(listing: Listing, reading: ReadOptions) -> CustomImages:
    """Return the pixels of every file.

    Raises DataError when files cannot be read and may not be skipped, when sizes differ and no size
    is given, and when the images do not fit into memory.
    """
    where = str(listing.folder)
    files = listing.files
    size = reading.size
    if size is None:
        measured = each(lambda file: _tried(read_size, file), files)
        files = tuple(replace(f, fault=w) for f, (w, _) in zip(files, measured, strict=True))
        sizes = [found for _, found in measured if found is not None]
        if not sizes:
            _without_broken(listing, [file.fault for file in files], reading)
        size = common_size(sizes, where=where)
    channels = reading.channels or 3
    require_room(len(files), size, channels, where=where)
    spec = InputSpec(height=size[0], width=size[1], channels=channels, dtype="uint8")
    images, contents = np.empty((len(files), *spec.shape), np.uint8), [""] * len(files)

    def read(at: int) -> str:
        fault, found = _tried(lambda path: _read(path, spec), files[at])
        images[at], contents[at] = (0, "") if found is None else found
        return fault

    with Progress("reading", len(files)) as progress:
        progress.show(done=0, line=f"reading {len(files):,} images")
        faults = each(read, range(len(files)), progress)
    whole = _without_broken(listing, faults, reading)
    if not all(whole):
        images = images[whole]
    _require_visible(images, where)
    return CustomImages(
        labels=listing.labels,
        images=gray_if_all(images) if reading.channels is None else images,
        classes=np.array([f.label for f, keep in zip(files, whole, strict=True) if keep], np.uint8),
        names=tuple(f.name for f, keep in zip(files, whole, strict=True) if keep),
        validation_from=_moved(listing.validation_from, whole),
        test_from=_moved(listing.test_from, whole),
        broken=tuple(f.name for f, keep in zip(files, whole, strict=True) if not keep),
        contents=tuple(itertools.compress(contents, whole)),
    )


def content_hash(picture: Pixels) -> str:
    """Return a hash of an image (h, w, c) in its own size; gray in three channels is gray."""
    parts = (picture[:1], picture)  # the first row says it of nearly all
    if picture.shape[2] == 3 and all((part == part[..., :1]).all() for part in parts):
        picture = picture[..., :1]
    return next(image_hashes(picture[np.newaxis])).hex()


def _read(path: Path, spec: InputSpec) -> tuple[Pixels, str]:
    """Return the pixels that a model sees of a file, and the hash of its content."""
    picture = as_picture(read_picture(path, max(spec.height, spec.width)))
    return model_pixels(picture, spec, "stretch"), content_hash(picture)


def _require_visible(images: Pixels, where: str) -> None:
    """Raise DataError where every image is nearly black: pixels in few of the bits of their files.

    They cannot be scaled here, since a device sees the same files one by one.
    """
    highest = int(images.max(initial=0))
    if highest <= _BLACK:
        raise DataError(
            f"{where}: the brightest pixel of all images is {highest} of 255 (8 bits): the images "
            "look black, like masks of 0 and 1, or 12 bits in 16-bit files; save them scaled to 0 "
            "… 255"
        )


def _moved(position: int | None, whole: list[bool]) -> int | None:
    """Return a position among the files that are left."""
    return None if position is None else sum(whole[:position])


def common_size(sizes: list[tuple[int, int]], *, where: str) -> tuple[int, int]:
    """Return the (height, width) that all images have.

    Raises DataError when sizes differ, and for the size of a photograph.
    """
    counts = collections.Counter(sizes).most_common()
    (height, width), _ = counts[0]
    if len(counts) > 1:
        shown_sizes = ", ".join(
            f"{h}x{w} ({counted(n, 'image')})" for (h, w), n in counts[:_SIZES_SHOWN]
        )
        more = " …" if len(counts) > _SIZES_SHOWN else ""
        raise DataError(
            f"{where} has images of {len(counts):,} sizes (height x width), most often "
            f"{shown_sizes}{more}: choose the model's input size (in Python "
            f"images({where!r}, size=64))",
            remedy=remedy("image size"),
        )
    if max(height, width) > LARGEST_SIDE:
        raise DataError(
            f"{where} has images of {height}x{width} (height x width), which is large for a "
            f"classifier: choose the model's input size (in Python images({where!r}, size=64))",
            remedy=remedy("image size"),
        )
    return height, width


def gray_if_all(images: Pixels) -> Pixels:
    """Return colour images (n, height, width, 3) with 1 channel if every one is gray."""
    for image in images:
        if (image != image[..., :1]).any():
            return images
    return np.ascontiguousarray(images[..., :1])


def each(
    work: Callable[[T], R],
    items: Sequence[T],
    progress: Progress | None = None,
) -> list[R]:
    """Call `work` for every item in threads; return the results in the order of items.

    Decoders and numpy work without holding Python's lock.
    """
    chunks = [items[at : at + _AT_ONCE] for at in range(0, len(items), _AT_ONCE)]
    results: list[R] = []
    executor = ThreadPoolExecutor(cores())
    # read_image changes the warning filters, which threads share: this block restores them
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for part in executor.map(lambda chunk: [work(item) for item in chunk], chunks):
                results += part
                if progress is not None:
                    progress.show(f"{len(results):,} of {len(items):,}", done=len(results))
        finally:
            executor.shutdown(cancel_futures=True)
    return results


def _tried(read: Callable[[Path], R], file: ImageFile) -> tuple[str, R | None]:
    """Return why a file cannot be read, or an empty text, and what `read` returns for it."""
    if file.fault:
        return file.fault, None
    try:
        return "", read(file.path)
    except DataError as error:
        return str(error), None
    except MemoryError:
        return NO_MEMORY, None


def _without_broken(listing: Listing, faults: list[str], reading: ReadOptions) -> list[bool]:
    """Return which files are readable. Raises DataError when broken ones may not be skipped."""
    broken = [at for at, fault in enumerate(faults) if fault]
    if not broken:
        return [True] * len(faults)
    reasons = few([_with_fault(listing.files[at], faults[at]) for at in broken], 3)
    count = f"{len(broken):,} of {counted(len(faults), 'file')} cannot be read"
    if not reading.skip_broken or len(broken) == len(faults):
        raise DataError(f"{listing.folder}: {count}: {reasons}", remedy=remedy("skip broken"))
    log.warning("%s: %s and are skipped: %s", listing.folder, count, reasons)
    return [not fault for fault in faults]


def _with_fault(file: ImageFile, fault: str) -> str:
    """Return the name of a broken file and its fault in brackets."""
    path = str(file.path)
    for before in (f"cannot read {path}: ", f"{path}: ", f"{path} "):
        fault = fault.removeprefix(before)
    return f"{shown(file.name)} ({shown(fault)})"
