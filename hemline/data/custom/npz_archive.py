"""Open an .npz without trusting it: headers first, sizes before memory, nothing is unpickled."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hemline.closing import Closing
from hemline.errors import DataError
from hemline.host import free_bytes
from hemline.pictures.npy import npy_errors, read_npy_header

_BLOCK_BYTES = 1 << 22  # read at a time
Array = npt.NDArray[Any]
Header = tuple[tuple[int, ...], np.dtype[Any]]  # shape and dtype
# what zipfile and numpy raise for a damaged, an encrypted or a crafted file
_DAMAGED: tuple[type[Exception], ...] = (
    *npy_errors(), OSError, RuntimeError, NotImplementedError, zlib.error
)  # fmt: skip


class Archive(Closing):
    """The arrays of an .npz; a context manager."""

    def __init__(self, path: Path) -> None:
        """Open the file. Raises DataError when it is not an archive."""
        self.path = path
        if not path.exists():
            raise DataError(
                f"{path} does not exist: name a folder with class folders, or an .npz file"
            )
        try:
            self._zip = zipfile.ZipFile(path)
        except _DAMAGED as error:
            raise DataError(
                f"{path} is not a numpy .npz file ({_reason(error)}): name one with x and y, or a "
                "folder with class folders"
            ) from error
        self.names = tuple(
            name.removesuffix(".npy") for name in self._zip.namelist() if name.endswith(".npy")
        )

    def header(self, name: str) -> Header:
        """Return shape and dtype of an array. Raises DataError for one of Python objects."""
        try:
            with self._zip.open(f"{name}.npy") as stream:
                shape, dtype, _ = read_npy_header(stream)  # type: ignore[arg-type]
        except _DAMAGED as error:
            raise self._unreadable(name, error) from error
        if dtype.hasobject:
            raise DataError(
                f"{self.path}: {name} contains Python objects, which are never loaded: save it as "
                "an array of numbers"
            )
        return shape, dtype

    def read(self, name: str) -> Array:
        """Return an array. Raises DataError for a damaged one, and for one that does not fit."""
        shape, dtype = self.header(name)
        free, needed = free_bytes(), math.prod(shape) * dtype.itemsize
        if free is not None and 2 * needed > free:
            raise DataError(
                f"{self.path}: {name} needs {needed / 1000000000.0:.1f} GB unpacked, and "
                f"{free / 1000000000.0:.1f} GB of memory are free: save fewer images, as uint8"
            )
        try:
            with self._zip.open(f"{name}.npy") as stream:
                array: Array = np.lib.format.read_array(  # type: ignore[no-untyped-call]
                    stream, allow_pickle=False
                )
        except _DAMAGED as error:
            raise self._unreadable(name, error) from error
        return array

    def blocks(self, name: str) -> Iterator[Array]:
        """Yield an array part by part along its first axis. Raises DataError where it is damaged.

        One that is stored column by column is read as a whole.
        """
        shape, dtype = self.header(name)
        step = max(1, _BLOCK_BYTES // max(1, math.prod(shape[1:]) * dtype.itemsize))
        try:
            with self._zip.open(f"{name}.npy") as stream:
                if read_npy_header(stream)[2]:  # type: ignore[arg-type]
                    yield self.read(name)
                    return
                for at in range(0, shape[0], step):
                    part = (min(step, shape[0] - at), *shape[1:])
                    content = stream.read(math.prod(part) * dtype.itemsize)
                    if len(content) < math.prod(part) * dtype.itemsize:
                        raise EOFError(f"it is cut short at {name}[{at}]")
                    yield np.frombuffer(content, dtype).reshape(part)
                stream.read(1)  # compares the checksum
        except _DAMAGED as error:
            raise self._unreadable(name, error) from error

    def _unreadable(self, name: str, error: Exception) -> DataError:
        return DataError(f"cannot read {name} in {self.path} ({_reason(error)}): save it again")

    def close(self) -> None:
        """Close the file."""
        self._zip.close()


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())[:120]
