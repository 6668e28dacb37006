"""Read a block of images into pixels and facts about each: here, or in processes beside this one.

In threads Python's lock changes hands a dozen times for each photograph, which costs a quarter of
the time that it takes to unpack one; with more cores than two it costs more.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import queue
import warnings
from collections.abc import Callable, Sequence
from logging.handlers import QueueHandler
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

import numpy as np

from hemline.child_process import PipedChild, how_it_ended, parent_pipe
from hemline.closing import Closing
from hemline.contract.specs import InputSpec
from hemline.data.custom.class_folders import ImageFile
from hemline.data.custom.pixel_file import PixelArray, PixelFile, Row, write_images
from hemline.data.datasets import HASH_BYTES, Pixels, image_hashes, new_hash
from hemline.errors import DataError, HemlineError
from hemline.files import reason_of
from hemline.host import cores
from hemline.pictures.pixels import NO_MEMORY
from hemline.pictures.preprocessing import as_picture, model_pixels

log = logging.getLogger(__name__)

R = TypeVar("R")
MOST = 64  # images of a block
BLACK = 16  # of 255: also the highest of 12 bits that a file of 16 bits holds in its low ones
_MOST_BYTES = 1 << 23  # of its pixels
_WHOLE_BYTES = 1 << 25  # of a file that are read at once
_MANY = 3000  # images: fewer are read before processes have started


class Readable(Protocol):
    """An image that is not decoded yet; what cannot be read raises a DataError."""

    def picture(self, side: int = 0, place: Pixels | None = None) -> Pixels:
        """Return its pixels, as read_picture does."""

    def size(self) -> tuple[int, int]:
        """Return (height, width)."""


class _Work(NamedTuple):
    """What a process is to do with the items that it gets.

    shape: (height, width, channels) that they are written in, to a file of pixels.
    hashed: whether the rows have hashes of the files.
    """

    shape: tuple[int, ...]
    hashed: bool
    path: Path


def block_length(shape: tuple[int, ...]) -> int:
    """Return how many images of (height, width, channels) are a block."""
    return max(1, min(MOST, _MOST_BYTES // math.prod(shape)))


class BlockReader(Closing):
    """Reads blocks of images and writes their pixels, called from as many threads as cores.

    Where that is worth it, each call has a process do it. One that is lost costs nothing but
    itself: its block is read here.
    """

    def __init__(
        self, pixels: PixelArray | PixelFile, *, count: int, hashed: bool, encoded: bool
    ) -> None:
        """`encoded` says that images have to be unpacked, which takes longer than to send them."""
        self._pixels, self._hashed = pixels, hashed
        self._children: list[PipedChild] = []
        self._free: queue.SimpleQueue[PipedChild | None] = queue.SimpleQueue()  # None: this process
        many = encoded and count >= _MANY and cores() > 1
        path = pixels.path if many and isinstance(pixels, PixelFile) else None
        for _ in range(cores()):
            self._free.put(self._started(path) if path else None)

    def read(self, at: int, items: Sequence[Readable]) -> list[Row]:
        """Read images, write their pixels to position `at`, and return a row for each.

        Raises DataError if a file changes meanwhile, and OSError for a full disk.
        """
        child = self._free.get()
        try:
            if child is not None and (rows := _rows_from(child, at, items)) is not None:
                return rows
            child = None
        finally:
            self._free.put(child)
        block = np.empty((len(items), *self._pixels.shape), np.uint8)
        rows = read_block(items, block, hashed=self._hashed)
        self._pixels.write(at, block)
        return rows

    def close(self) -> None:
        """End the processes."""
        for child in self._children:
            child.end()

    def _started(self, path: Path) -> PipedChild | None:
        try:
            child = PipedChild(__name__, OPENBLAS_NUM_THREADS="1")  # it starts sooner
        except OSError as error:
            log.warning("images are read in one process: %s", reason_of(error))
            return None
        self._children.append(child)
        with contextlib.suppress(OSError):  # it has ended, as `read` will see
            child.pipe.send(_Work(self._pixels.shape, self._hashed, path))
        return child


def _rows_from(child: PipedChild, at: int, items: Sequence[Readable]) -> list[Row] | None:
    """Return the rows of a block that a process reads and writes; None where it has ended.

    Raises what the process does.
    """
    try:
        child.pipe.send((at, items))
        rows, said, error = child.pipe.recv()
    except (EOFError, OSError):
        child.process.kill()  # if only its pipe is broken
        how = how_it_ended(child.process.wait(), "")
        log.warning("a process that reads images ended %s: the others go on", how)
        return None
    for record in said:
        if (logger := logging.getLogger(record.name)).isEnabledFor(record.levelno):
            logger.handle(record)
    if error is not None:
        raise error
    found: list[Row] = rows
    return found


def _work() -> None:  # pragma: no cover — in another process
    """Read the blocks that come, as long as the process that wants them lives."""
    pipe, said = parent_pipe(), queue.SimpleQueue[logging.LogRecord]()
    warnings.simplefilter("ignore")
    logging.getLogger().addHandler(QueueHandler(said))
    with contextlib.suppress(EOFError, OSError):
        shape, hashed, path = pipe.recv()
        file, block = os.open(path, os.O_WRONLY), np.empty((block_length(shape), *shape), np.uint8)
        while True:
            at, items = pipe.recv()
            rows, error = list[Row](), None
            try:
                rows = read_block(items, block, hashed=hashed)
                write_images(file, at, block[: len(items)])
            except (HemlineError, OSError) as reason:
                error = reason
            pipe.send((rows, [said.get() for _ in range(said.qsize())], error))


def read_block(items: Sequence[Readable], block: Pixels, *, hashed: bool) -> list[Row]:
    """Write the pixels that a model sees of images, black for broken ones; return their rows.

    block: uint8 (n or more, height, width, channels).
    hashed: whether the rows have hashes of the files.

    Raises DataError if a file changes meanwhile.
    """
    height, width, channels = block.shape[1:]
    spec = InputSpec(height=height, width=width, channels=channels, dtype="uint8")
    return [
        _read(spec, item, place, hashed=hashed)
        for item, place in zip(items, block[: len(items)], strict=True)
    ]


def _read(spec: InputSpec, item: Readable, place: Pixels, *, hashed: bool) -> Row:
    """Write the pixels that a model sees of an image to their place; black for a broken one.

    hashed: whether the row has the hash of the file. Raises DataError if it changes meanwhile.
    """
    file = item if hashed and isinstance(item, ImageFile) else None
    content, whole = ("", None) if file is None else _content(file)

    def read() -> Pixels:
        side = max(spec.height, spec.width)
        found = file.picture(side, place, whole) if file else item.picture(side, place)
        picture = as_picture(found)
        if picture is not place:
            place[:] = model_pixels(picture, spec, "stretch")
        return picture

    fault, picture = tried(read)
    if file and whole is None:
        require_unchanged(file, content)
    if picture is None:
        place[:] = 0
        return Row(fault=fault, file=content)
    gray = _is_gray(place)
    digest = own = next(image_hashes(place[np.newaxis])).hex()
    if picture.shape != place.shape or (gray and spec.channels != 1):  # rarely
        own = own_hash(picture)
    return Row("", own, digest, gray, _brightest(place), content)


def own_hash(picture: Pixels) -> str:
    """Return a hash of an image (h, w, c) in its own size; gray in three channels is gray."""
    if picture.shape[2] == 3 and _is_gray(picture):
        picture = picture[..., :1]
    return next(image_hashes(picture[np.newaxis])).hex()


def _is_gray(picture: Pixels) -> bool:
    first = picture[0, 0].tolist()  # says it of nearly all
    return first.count(first[0]) == len(first) and bool((picture == picture[..., :1]).all())


def _brightest(picture: Pixels) -> int:
    """Return the highest value of a pixel, or one that is high enough for any use of it."""
    middle = int(picture[len(picture) // 2].max())
    return middle if middle > BLACK else int(picture.max())


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
        raise changed(file.path)


def changed(path: Path) -> DataError:
    """Return the error for a file or folder that changes while it is read."""
    return DataError(
        f"{path} changed while it was being read: wait until nothing writes to its folder, then "
        "run the command again"
    )


def tried(read: Callable[[], R]) -> tuple[str, R | None]:
    """Return why an image cannot be read, or an empty text, and what `read` returns."""
    try:
        return "", read()
    except DataError as error:
        return str(error), None
    except MemoryError:
        return NO_MEMORY, None


if __name__ == "__main__":
    _work()
