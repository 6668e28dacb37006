"""Read images one by one, whatever stores them: files, arrays or shards.

    photos/                            every image in it and below; its class is its folder's name
    images.npz · train-images-idx3-ubyte.gz                      arrays
    train-{000..099}.tar · "shards/*.tfrecord" · images.parquet  shards; or their folder

A source consists of parts, each a file that can be read by itself. A row of READERS reads those
whose names it matches, and is imported when it is needed.
"""

from __future__ import annotations

import glob
import io
import os
import pkgutil
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from hemline.data.custom.class_folders import images_in
from hemline.errors import DataError, first_line
from hemline.pictures.images import (
    ENDINGS,
    read_array,
    read_picture,
    read_size,
    read_stream,
    stream_size,
)
from hemline.pictures.pixels import NO_MEMORY, Pixels
from hemline.pictures.preprocessing import as_picture

LARGEST_BYTES = 1 << 28  # of one encoded image; more is a damaged length
_NPY = b"\x93NUMPY"
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")  # shard numbers, as webdataset writes them
_MOST_NAMED = 100_000  # files that a range names

# what a file's name ends in, as a pattern: the function that yields its items
READERS: dict[str, str] = {
    r"\.tar(\.gz|\.bz2|\.xz)?|\.tgz": "hemline.data.sources.tar_shards:read_tar",
    r"\.tfrecords?(-\d+-of-\d+)?(\.gz)?": "hemline.data.sources.tfrecords:read_tfrecords",
    r"\.parquet|\.pq": "hemline.data.sources.parquet:read_parquet",
    r"\.npz": "hemline.data.sources.arrays:read_npz",
    r"-images[-.]idx[34]-ubyte(\.gz)?": "hemline.data.sources.arrays:read_idx_images",
}


class Item(NamedTuple):
    """An image that is not decoded yet.

    name: differs from the others' in its source: the part, and the place in it.
    content: an image file, the bytes of one, uint8 pixels (height, width[, channels]), or the
        error of an image that cannot be read.
    label: name or number of its class; None where it is not known.
    """

    name: str
    content: Path | bytes | Pixels | DataError
    label: str | int | None = None

    def picture(self, side: int = 0, place: Pixels | None = None) -> Pixels:
        """Return the pixels in the image's own size, as read_picture does for files.

        Raises DataError, naming the image.
        """
        content = self.content
        if isinstance(content, DataError):
            raise content
        if isinstance(content, Path):
            if content.exists() and not content.is_file():
                raise DataError(f"{content} is not a file")  # a pipe would be waited for
            return read_picture(content, side, place)
        if not isinstance(content, bytes):
            return content
        stream = io.BytesIO(content)
        if content.startswith(_NPY):
            return read_array(stream, self.name)
        return read_stream(stream, self.name, side, place=place)

    def prepared(self, prepare: Callable[[Pixels], Pixels], side: int) -> Pixels | str:
        """Return what `prepare` makes of the picture, or why there is none."""
        try:
            return prepare(self.picture(side))
        except DataError as error:
            return first_line(error)
        except MemoryError:
            return f"{self.name} {NO_MEMORY}"

    def size(self) -> tuple[int, int]:
        """Return (height, width), of a file by its header. Raises DataError, naming the image."""
        if isinstance(self.content, Path):
            return read_size(self.content)
        if isinstance(self.content, bytes) and not self.content.startswith(_NPY):
            return stream_size(io.BytesIO(self.content), self.name)
        height, width, _ = as_picture(self.picture()).shape
        return height, width


class Part(NamedTuple):
    """A file of a source, and its name in it."""

    path: Path
    name: str

    def items(self) -> Iterator[Item]:
        """Yield the images in the file. Raises DataError, naming the place, for a damaged one."""
        reader = reader_of(self.path)
        if reader is not None:
            yield from reader(self.path, self.name)
        else:
            folder = Path(self.name).parent.name
            yield Item(self.name, self.path, folder or None)


def iterate(source: Path | str) -> Iterator[Item]:
    """Yield the images of a folder, file, glob or range of files, in the order of names.

    Raises DataError for a source without images, and for a damaged file, naming the place.
    """
    for part in parts_of(source):
        yield from part.items()


def parts_of(source: Path | str) -> tuple[Part, ...]:
    """Return the files of a source, sorted by name: images, or arrays and shards.

    Of a folder with images, arrays and shards are ignored. Raises DataError where there is none.
    """
    root = Path(source)
    if root.is_dir():
        others: list[str] = []
        names = [image.name for image in images_in(root, others)]
        names = names or [name for name in others if reader_of(Path(name)) is not None]
    elif root.exists():
        names = [root.name]
        root = root.parent
    else:
        paths = _matching(str(source))
        root = Path(os.path.commonpath([path.parent for path in paths] or [Path()]))
        names = [str(path.relative_to(root)) for path in paths]
    if not names:
        raise DataError(f"{source} has no images, arrays or shards: name a folder or file of them")
    return tuple(
        Part(root / name, name) for name in sorted(names, key=lambda name: Path(name).parts)
    )


def reader_of(path: Path) -> Callable[[Path, str], Iterator[Item]] | None:
    """Return what yields the items of an array or a shard, by its name; None for other files."""
    for ending, place in READERS.items():
        if re.search(f"({ending})$", path.name.lower()):
            reader: Callable[[Path, str], Iterator[Item]] = pkgutil.resolve_name(place)
            return reader
    return None


def _matching(pattern: str) -> list[Path]:
    """Return the files that globs and ranges of numbers name; raises DataError for no such file."""
    if (found := _RANGE.search(pattern)) is None:
        paths = [Path(each) for each in glob.glob(pattern, recursive=True)]  # noqa: PTH207
        if not paths:
            raise DataError(f"{pattern} does not exist")
        return [p for p in paths if p.suffix.lower() in ENDINGS or reader_of(p) is not None]
    first, last = found[1], found[2]
    if int(last) - int(first) >= _MOST_NAMED:
        raise DataError(f"{pattern} names more than {_MOST_NAMED:,} files")
    numbers = (str(n).zfill(len(first)) for n in range(int(first), int(last) + 1))
    return [path for n in numbers for path in _matching(pattern.replace(found[0], n, 1))]
