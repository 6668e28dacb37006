"""Read the image files of a listing into arrays, exactly as `hemline classify` reads them."""

from __future__ import annotations

import collections
import itertools
import logging
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from hemline.data.custom.cache_folders import CacheFolder
from hemline.data.custom.class_folders import ImageFile, Listing
from hemline.data.custom.image_blocks import (
    BLACK,
    MOST,
    BlockReader,
    Readable,
    block_length,
    changed,
    content_of,
    tried,
)
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
from hemline.errors import DataError, remedy
from hemline.host import cores
from hemline.progress import Progress, say

log = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")
_AHEAD = 2  # tasks of each thread that are waiting or done
_MANY_BYTES = 1 << 27  # of pixels: the user should know where so many are kept
_SIZES_SHOWN = 4


def decode(
    listing: Listing,
    reading: ReadOptions,
    into: CacheFolder | None = None,
    items: Callable[[], Iterable[Readable]] | None = None,
    *,
    arrays: bool = False,
) -> CustomImages:
    """Return the pixels of every file: in memory, or in a file in a folder.

    `items` yields the images of the listing, from the start each time, where they are not files;
    `arrays` says that they are pixels, of which black ones are meant.

    Raises DataError when files cannot be read and may not be skipped, when one changes meanwhile,
    when sizes differ and no size is given, and when the images do not fit into memory.
    """
    where = str(listing.folder)
    files = listing.files
    opened = items or (lambda: files)
    size = reading.size
    if size is None:
        measured = each(lambda item: tried(item.size), opened())
        sizes = [found for _, found in measured if found is not None]
        if not sizes:
            _without_broken(listing, [fault for fault, _ in measured], reading)
        size = common_size(sizes, where=where)
    shape = (*size, reading.channels or 3)
    contents = None if into is None or items is not None else into.contents
    with _opened(into, shape, len(files), where) as pixels:
        pixels.reserve(len(files))
        say(_said(into, len(files), len(files) * math.prod(shape)))
        hashed, encoded = contents is not None, not arrays
        with BlockReader(pixels, count=len(files), hashed=hashed, encoded=encoded) as reader:
            rows = _rows(opened(), pixels, reader, contents, len(files))
        if len(rows) != len(files):
            raise changed(listing.folder)
        if contents is not None:
            contents[:] = [row.file for row in rows]
        whole = _without_broken(listing, [row.fault for row in rows], reading)
        kept = list(itertools.compress(rows, whole))
        if not arrays:
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
    pixels: PixelArray | PixelFile,
    reader: BlockReader,
    contents: Sequence[str] | None,
    count: int,
) -> list[Row]:
    """Read images in threads, block by block.

    `contents` are the hashes that the files must have; empty, the rows tell those; None, they do
    not matter.
    """
    step = block_length(pixels.shape)

    def read(part: tuple[int, list[Readable]]) -> tuple[int, list[Readable], list[Row]]:
        at, some = part
        rows = pixels.rows_at(at)
        if rows is None or (contents == [] and not _same_files(some, rows)):
            rows = reader.read(at, some)
        return at, some, rows

    found: list[Row] = []
    with Progress("reading", count) as progress:
        progress.show(done=0)
        parts = zip(itertools.count(0, step), _chunks(items, step))
        for at, some, rows in in_threads(read, parts):
            _require_same(some, rows, contents[at : at + step] if contents else ())
            pixels.note(at, rows)
            found += rows
            progress.show(f"{len(found):,} of {count:,}", done=len(found))
    return found


def _require_same(items: Iterable[Readable], rows: Iterable[Row], contents: Iterable[str]) -> None:
    """Raise DataError for a file that does not have its hash; without hashes, for none."""
    for item, row, content in zip(items, rows, contents, strict=False):
        if row.file != content and isinstance(item, ImageFile):
            raise changed(item.path)


def _same_files(items: Iterable[Readable], rows: Iterable[Row]) -> bool:
    """Return whether the rows are of the files as they are now."""
    pairs = zip(items, rows, strict=True)
    return all(content_of(item) == row.file for item, row in pairs if isinstance(item, ImageFile))


def _require_visible(highest: int, where: str) -> None:
    """Raise DataError where every image is nearly black: pixels in few of the bits of their files.

    They cannot be scaled here, since a device sees the same files one by one.
    """
    if highest <= BLACK:
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
    done = in_threads(lambda chunk: [work(item) for item in chunk], _chunks(items, MOST))
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
