"""Read the image files of a listing into arrays, exactly as `hemline classify` reads them."""

from __future__ import annotations

import collections
import itertools
import logging
import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from hemline.contract.specs import InputSpec
from hemline.data.custom.cache_folders import CacheFolder
from hemline.data.custom.class_folders import ImageFile, Listing
from hemline.data.custom.pixel_file import PixelArray, PixelFile, Row
from hemline.data.custom.reading import (
    LARGEST_SIDE,
    CustomImages,
    ReadOptions,
    counted,
    few,
    require_room,
    shown,
)
from hemline.data.datasets import HASH_BYTES, Pixels, image_hashes, new_hash
from hemline.errors import DataError, remedy
from hemline.files import reason_of
from hemline.host import cores
from hemline.pictures.pixels import NO_MEMORY
from hemline.pictures.preprocessing import as_picture, model_pixels
from hemline.progress import Progress, say

log = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")
_AT_ONCE = 64  # files per task of a thread
_AHEAD = 2  # tasks of each thread that are waiting or done
_BLOCK_BYTES = 1 << 23  # of pixels per task of a thread
_WHOLE_BYTES = 1 << 25  # of a file that are read at once
_MANY_BYTES = 1 << 27  # of pixels: the user should know where so many are kept
_SIZES_SHOWN = 4
_BLACK = 16  # of 255: also the highest of 12 bits that a file of 16 bits holds in its low ones


class Readable(Protocol):
    """An image that is not decoded yet; what cannot be read raises a DataError."""

    def picture(self, side: int = 0) -> Pixels:
        """Return its pixels, as read_picture does."""

    def size(self) -> tuple[int, int]:
        """Return (height, width)."""


def decode(
    listing: Listing,
    reading: ReadOptions,
    into: CacheFolder | None = None,
    items: Callable[[], Iterable[Readable]] | None = None,
    *,
    scaled: bool = False,
) -> CustomImages:
    """Return the pixels of every file: in memory, or in a file in a folder.

    `items` yields the images of the listing, from the start each time, where they are not files;
    `scaled` says that black ones are meant.

    Raises DataError when files cannot be read and may not be skipped, when one changes meanwhile,
    when sizes differ and no size is given, and when the images do not fit into memory.
    """
    where = str(listing.folder)
    files = listing.files
    opened = items or (lambda: files)
    size = reading.size
    if size is None:
        measured = each(lambda item: _tried(item.size), opened())
        sizes = [found for _, found in measured if found is not None]
        if not sizes:
            _without_broken(listing, [fault for fault, _ in measured], reading)
        size = common_size(sizes, where=where)
    shape = (*size, reading.channels or 3)
    contents = None if into is None or items is not None else into.contents
    with _opened(into, shape, len(files), where) as pixels:
        pixels.reserve(len(files))
        say(_said(into, len(files), len(files) * math.prod(shape)))
        rows = _rows(opened(), len(files), pixels, contents)
        if len(rows) != len(files):
            raise _changed(listing.folder)
        if contents is not None:
            contents[:] = [row.file for row in rows]
        whole = _without_broken(listing, [row.fault for row in rows], reading)
        kept = list(itertools.compress(rows, whole))
        if not scaled:
            _require_visible(max(row.brightest for row in kept), where)
        gray = reading.channels is None and all(row.gray for row in kept)
        images, digests = pixels.finish(whole, 1 if gray else shape[2])
    return CustomImages(
        labels=listing.labels,
        images=images,
        classes=np.array([f.label for f, keep in zip(files, whole, strict=True) if keep], np.uint8),
        names=tuple(f.name for f, keep in zip(files, whole, strict=True) if keep),
        validation_from=_moved(listing.validation_from, whole),
        test_from=_moved(listing.test_from, whole),
        broken=tuple(f.name for f, keep in zip(files, whole, strict=True) if not keep),
        contents=tuple(row.content for row in kept),
        digests=tuple(digests or (row.digest for row in kept)),
    )


def own_hash(picture: Pixels) -> str:
    """Return a hash of an image (h, w, c) in its own size; gray in three channels is gray."""
    if picture.shape[2] == 3 and _is_gray(picture):
        picture = picture[..., :1]
    return next(image_hashes(picture[np.newaxis])).hex()


def _is_gray(picture: Pixels) -> bool:
    parts = (picture[:1, :1], picture)  # the first pixel says it of nearly all
    return all(bool((part == part[..., :1]).all()) for part in parts)


def _opened(
    into: CacheFolder | None, shape: tuple[int, int, int], count: int, where: str
) -> PixelArray | PixelFile:
    """Return what pixels are written to; raises DataError or HemlineError without room."""
    if into is None:
        require_room(count, shape[:2], shape[2], where=where)
        return PixelArray(shape)
    into.require_room(count * math.prod(shape))
    return PixelFile(into.path, shape)


def _said(into: CacheFolder | None, count: int, size_bytes: int) -> str:
    """Return what is done; of many images also where they go."""
    said = f"reading {count:,} images"
    if into is None or size_bytes < _MANY_BYTES:
        return said
    return f"{said}: once, into {into.path.parent} ({size_bytes / 1e9:.1f} GB)"


def _rows(
    items: Iterable[Readable],
    count: int,
    pixels: PixelArray | PixelFile,
    contents: Sequence[str] | None,
) -> list[Row]:
    """Read images in threads, block by block.

    `contents` are the hashes that the files must have; empty, the rows tell those; None, they do
    not matter.
    """
    height, width, channels = pixels.shape
    spec = InputSpec(height=height, width=width, channels=channels, dtype="uint8")
    step = max(1, min(_AT_ONCE, _BLOCK_BYTES // math.prod(pixels.shape)))

    def read(part: tuple[int, list[Readable]]) -> list[Row]:
        at, some = part
        rows = pixels.rows_at(at)
        if rows is None or (contents == [] and not _same_files(some, rows)):
            block = np.zeros((len(some), *pixels.shape), np.uint8)
            pairs = zip(some, block, strict=True)
            rows = [_read(spec, *each, hashed=contents is not None) for each in pairs]
            _require_same(some, rows, contents[at : at + step] if contents else ())
            pixels.write(at, block, rows)
        return rows

    found: list[Row] = []
    with Progress("reading", count) as progress:
        progress.show(done=0)
        for rows in in_threads(read, zip(itertools.count(0, step), _chunks(items, step))):
            found += rows
            progress.show(f"{len(found):,} of {count:,}", done=len(found))
    return found


def _read(spec: InputSpec, item: Readable, place: Pixels, *, hashed: bool) -> Row:
    """Write the pixels that a model sees of an image to their place; black if it is broken.

    hashed: whether the row has the hash of the file. Raises DataError if it changes meanwhile.
    """
    file = item if hashed and isinstance(item, ImageFile) else None
    content, whole = ("", None) if file is None else _content(file)

    def read() -> Pixels:
        side = max(spec.height, spec.width)
        picture = as_picture(file.picture(side, whole) if file else item.picture(side))
        place[:] = model_pixels(picture, spec, "stretch")
        return picture

    fault, picture = _tried(read)
    if file and whole is None:
        require_unchanged(file, content)
    if picture is None:
        return Row(fault=fault, file=content)
    gray = _is_gray(place)
    digest = own = next(image_hashes(place[np.newaxis])).hex()
    if picture.shape != place.shape or (gray and spec.channels != 1):  # rarely
        own = own_hash(picture)
    return Row("", own, digest, gray, int(place.max()), content)


def _require_same(items: Iterable[Readable], rows: Iterable[Row], contents: Iterable[str]) -> None:
    """Raise DataError for a file that does not have its hash; without hashes, for none."""
    for item, row, content in zip(items, rows, contents, strict=False):
        if row.file != content and isinstance(item, ImageFile):
            raise _changed(item.path)


def _same_files(items: Iterable[Readable], rows: Iterable[Row]) -> bool:
    """Return whether the rows are of the files as they are now."""
    pairs = zip(items, rows, strict=True)
    return all(content_of(item) == row.file for item, row in pairs if isinstance(item, ImageFile))


def content_of(file: ImageFile) -> str:
    """Return the hash of a file, or why it cannot be read.

    Names, sizes and times do not tell two contents apart: archives and package managers set one
    time for all files.
    """
    return _content(file)[0]


def _content(file: ImageFile) -> tuple[str, bytes | None]:
    """Return the hash of a file, or why it cannot be read, and its bytes, if they are few."""
    if file.fault:
        return file.fault, None
    try:
        descriptor = os.open(file.path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        try:
            return _hash_and_bytes(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        return reason_of(error), None


def _hash_and_bytes(descriptor: int) -> tuple[str, bytes | None]:
    """Return the hash of an open file, and its bytes, if they are few."""
    size = os.fstat(descriptor).st_size
    if size <= _WHOLE_BYTES:  # in half the time of a Python file
        whole = b"".join(iter(lambda: os.read(descriptor, size + 1), b""))
        return new_hash(whole).digest(HASH_BYTES).hex(), whole
    found = new_hash()
    while chunk := os.read(descriptor, _WHOLE_BYTES):
        found.update(chunk)
    return found.digest(HASH_BYTES).hex(), None


def require_unchanged(file: ImageFile, content: str) -> None:
    """Raise DataError for a file that has another hash than before."""
    if content_of(file) != content:
        raise _changed(file.path)


def _changed(path: Path) -> DataError:
    return DataError(
        f"{path} changed while it was being read: wait until nothing writes to its folder, then "
        "run the command again"
    )


def _require_visible(highest: int, where: str) -> None:
    """Raise DataError where every image is nearly black: pixels in few of the bits of their files.

    They cannot be scaled here, since a device sees the same files one by one.
    """
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


def each(work: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Call `work` for every item in threads; return the results in the order of items."""
    done = in_threads(lambda chunk: [work(item) for item in chunk], _chunks(items, _AT_ONCE))
    return [*itertools.chain.from_iterable(done)]


def _chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    stream = iter(items)
    return iter(lambda: [*itertools.islice(stream, size)], [])


def in_threads(work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Call `work` for every item in threads; yield the results in the order of items.

    Only as many items are taken as threads are busy with, since items may be large.
    Decoders and numpy work without holding Python's lock.
    """
    executor = ThreadPoolExecutor(cores())
    # read_image changes the warning filters, which threads share: this block restores them
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            running = collections.deque[Future[R]]()
            for item in items:
                running.append(executor.submit(work, item))
                if len(running) > _AHEAD * cores():
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            executor.shutdown(cancel_futures=True)


def _tried(read: Callable[[], R]) -> tuple[str, R | None]:
    """Return why an image cannot be read, or an empty text, and what `read` returns."""
    try:
        return "", read()
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
