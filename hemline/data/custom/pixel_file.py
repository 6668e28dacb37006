"""Decoded images that many threads write: in memory, or in a file that outlives a killed process.

In a file the pixels are one .npy. A journal says which blocks of it were written, with a hash of
each image: after a kill or a power cut, a block that does not have its hashes is decoded again.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hemline.closing import Closing
from hemline.data.datasets import image_hashes
from hemline.data.image_rows import ImageRows, MappedImages, Pixels
from hemline.pictures.npy import npy_header, write_npy

PIXELS = "images.npy"
_UNFINISHED, _JOURNAL = "unfinished.npy", "journal.jsonl"
_HEADER_BYTES = 128  # numpy's, for images of any number and size


class Row(NamedTuple):
    """Facts about an image that was read.

    fault: why it cannot be read; empty where it was.
    content: hash of the image in its own size.
    digest: hash of its pixels in the file.
    gray: whether its channels are equal.
    brightest: its highest pixel; of an image that is not black another that is not.
    file: hash of the file that it was read from, where that is asked for.
    """

    fault: str = ""
    content: str = ""
    digest: str = ""
    gray: bool = True
    brightest: int = 0
    file: str = ""


class PixelArray(Closing):
    """Decoded images uint8 (n, height, width, channels) in memory."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        """`shape` is (height, width, channels)."""
        self.shape = shape
        self._pixels = np.empty((0, *shape), np.uint8)

    def reserve(self, count: int) -> None:
        """Reserve the memory of so many images; raises MemoryError."""
        self._pixels = np.empty((count, *self.shape), np.uint8)

    def rows_at(self, at: int) -> list[Row] | None:
        """Return the rows of a block that was written earlier: none is."""
        del at
        return None

    def write(self, at: int, pixels: Pixels) -> None:
        """Write a block of images to position `at`, from any thread."""
        self._pixels[at : at + len(pixels)] = pixels

    def note(self, at: int, rows: list[Row]) -> None:
        """Do nothing: these images do not outlive the process."""

    def finish(self, keep: Sequence[bool], channels: int) -> tuple[ImageRows, list[str] | None]:
        """Return as PixelFile does."""
        if all(keep) and channels == self._pixels.shape[3]:
            return self._pixels, None
        kept = np.ascontiguousarray(self._pixels[np.array(keep, bool)][..., :channels])
        return kept, [digest.hex() for digest in image_hashes(kept)]

    def close(self) -> None:
        """Give up nothing: the images are the caller's."""


class PixelFile(Closing):
    """Decoded images uint8 (n, height, width, channels) in a folder, while they are written."""

    def __init__(self, folder: Path, shape: tuple[int, ...]) -> None:
        """Open what an earlier process left in the folder, or begin.

        shape: (height, width, channels). Raises OSError, as all methods do for a full disk.
        """
        self.shape, self._folder, self._size = shape, folder, math.prod(shape)
        self.path = folder / _UNFINISHED
        self._done = dict(self._written())
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        self._journal = (folder / _JOURNAL).open("w", encoding="utf-8")
        for at, rows in self._done.items():
            self.note(at, rows)

    def reserve(self, count: int) -> None:
        """Reserve the disk space of so many images, so that it does not lack in the middle."""
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(self._file, 0, self._place(count))

    def rows_at(self, at: int) -> list[Row] | None:
        """Return the rows of a block that was written from position `at`; None if it was not."""
        rows = self._done.get(at)
        if rows is None:
            return None
        content = os.pread(self._file, self._size * len(rows), self._place(at))
        if len(content) != self._size * len(rows):
            return None
        pixels = np.frombuffer(content, np.uint8).reshape(-1, *self.shape)
        hashes = zip(rows, image_hashes(pixels), strict=True)
        return (
            rows if all(row.fault or row.digest == found.hex() for row, found in hashes) else None
        )

    def write(self, at: int, pixels: Pixels) -> None:
        """Write a block of images to position `at`, from any thread."""
        write_images(self._file, at, pixels)

    def note(self, at: int, rows: list[Row]) -> None:
        """Note that a block was written to position `at`."""
        self._journal.write(f"{json.dumps([at, rows])}\n")
        self._journal.flush()

    def finish(self, keep: Sequence[bool], channels: int) -> tuple[ImageRows, list[str] | None]:
        """Leave a .npy of the images to keep, in so many channels, and no journal.

        Return the images, and the hash of each if they are others than those in the rows.
        """
        shape = (len(keep), *self.shape)
        whole = all(keep) and channels == self.shape[2]
        if whole:
            os.ftruncate(self._file, self._place(len(keep)))
            _write(self._file, npy_header(shape, np.dtype(np.uint8)), 0)
            self.path.replace(self._folder / PIXELS)
        else:
            pixels: Pixels = np.memmap(self.path, np.uint8, "r", _HEADER_BYTES, shape)
            kept = MappedImages(pixels[..., :channels], np.flatnonzero(keep))
            write_npy(self._folder / PIXELS, kept)
            self.path.unlink()
        (self._folder / _JOURNAL).unlink()
        images = mapped(self._folder)
        return images, None if whole else [digest.hex() for digest in image_hashes(images)]

    def close(self) -> None:
        """Close the files; what was written stays for the next process."""
        self._journal.close()
        os.close(self._file)

    def _place(self, at: int) -> int:
        return _HEADER_BYTES + at * self._size

    def _written(self) -> Iterator[tuple[int, list[Row]]]:
        """Yield the blocks of the journal; a kill may have cut the last line."""
        with contextlib.suppress(OSError, ValueError, TypeError):
            for line in (self._folder / _JOURNAL).read_text(encoding="utf-8").splitlines():
                at, rows = json.loads(line)
                yield int(at), [Row(*row) for row in rows]


def mapped(folder: Path) -> MappedImages:
    """Return the images of a finished file; raises what numpy does for a damaged one."""
    return MappedImages(np.load(folder / PIXELS, mmap_mode="r", allow_pickle=False))


def write_images(file: int, at: int, pixels: Pixels) -> None:
    """Write images uint8 (n, height, width, channels) to position `at` of an open file of them.

    Raises OSError for a full disk.
    """
    place = _HEADER_BYTES + at * math.prod(pixels.shape[1:])
    _write(file, np.ascontiguousarray(pixels).reshape(-1).data, place)


def _write(file: int, left: bytes | memoryview, place: int) -> None:
    while left:
        count = os.pwrite(file, left, place)
        left, place = left[count:], place + count
