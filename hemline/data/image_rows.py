"""Images of a data set: an array in memory, or rows of a file that are read where they are used."""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator
from typing import Any, Protocol, TypeAlias, TypeGuard, overload

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Rows: TypeAlias = npt.NDArray[np.intp]
_LARGE_BYTES = 1 << 15  # of an image, from which on it is worth a call of the system
_BLOCK_BYTES = 1 << 24  # of pixels that are read at a time


class ImageRows(Protocol):
    """uint8 images (n, height, width, channels); what is taken out of them is an array."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Return (n, height, width, channels)."""

    def __len__(self) -> int:
        """Return the number of images."""

    @overload
    def __getitem__(self, key: int, /) -> Any: ...
    @overload
    def __getitem__(self, key: slice | Rows | list[int], /) -> Pixels: ...

    def __iter__(self) -> Iterator[Any]:
        """Yield each image (height, width, channels)."""


class MappedImages:
    """Rows of a memory-mapped file: the system reads its pages on demand, and drops them again."""

    def __init__(self, file: Pixels, rows: Rows | None = None) -> None:
        """`file` is uint8 (m, height, width, channels); `rows` are the images' places in it."""
        self.file = file
        self.rows = np.arange(len(file)) if rows is None else rows

    @property
    def shape(self) -> tuple[int, ...]:
        """Return (n, height, width, channels)."""
        return (len(self.rows), *self.file.shape[1:])

    @property
    def dtype(self) -> np.dtype[np.uint8]:
        """Return uint8."""
        return self.file.dtype

    @property
    def nbytes(self) -> int:
        """Return the size of the pixels."""
        return math.prod(self.shape)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.rows)

    def __getitem__(self, key: Any, /) -> Any:
        """Return a copy of some images, as an array; of one, a view."""
        rows = self.rows[key]
        if isinstance(rows, np.ndarray):
            self._announce(rows)
        return self.file[rows]

    def _announce(self, rows: Rows) -> None:
        """Let the system read these large images side by side, not page by page as they are copied.

        For photographs that are only on the disk, that takes a fifth of the time. Those that follow
        one another are read ahead anyway.
        """
        mapped, size = getattr(self.file, "_mmap", None), self.file.strides[0]
        if mapped is None or size < _LARGE_BYTES or not hasattr(mmap, "MADV_WILLNEED"):
            return
        if (np.diff(rows) == 1).all():
            return
        starts = getattr(self.file, "offset", 0) + rows * size
        for start in (starts - starts % mmap.PAGESIZE).tolist():
            mapped.madvise(
                mmap.MADV_WILLNEED, start, min(size + mmap.PAGESIZE, len(mapped) - start)
            )

    def __iter__(self) -> Iterator[Any]:
        """Yield a view of each image."""
        return (self.file[row] for row in self.rows)

    def same_file(self, other: object) -> TypeGuard[MappedImages]:
        """Return whether other images are rows of the same file."""
        return isinstance(other, MappedImages) and self.file is other.file

    def __array__(self, dtype: Any = None) -> Pixels:
        """Return a copy of all images, for those who need an array."""
        return np.asarray(self.file[self.rows], dtype)


def selected(images: ImageRows, rows: Any) -> ImageRows:
    """Return some of the images; of a file, without reading them.

    rows: positions, a slice or a mask (n,).
    """
    if isinstance(images, MappedImages):
        return MappedImages(images.file, images.rows[rows])
    found: Pixels = images[rows]
    return found


def joined(first: ImageRows, second: ImageRows) -> ImageRows:
    """Return images, and others of the same file or array type, one after the other."""
    if isinstance(first, MappedImages) and first.same_file(second):
        return MappedImages(first.file, np.concatenate([first.rows, second.rows]))
    found: Pixels = np.concatenate([np.asarray(first), np.asarray(second)])
    return found


def blocks(images: ImageRows) -> Iterator[Pixels]:
    """Yield the images in arrays of a few megabytes, in order."""
    step = max(1, _BLOCK_BYTES // max(1, math.prod(images.shape[1:])))
    for at in range(0, len(images), step):
        yield images[at : at + step]
