"""Write .npy files, and read their headers, which numpy reads as Python literals."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from hemline import files

_BLOCK_VALUES = 1 << 22  # written at a time


def npy_errors() -> tuple[type[Exception], ...]:
    """Return what numpy's header parser and its zip reader let through as it is."""
    from tokenize import TokenError  # here, because it is needed when something is wrong only
    from zipfile import BadZipFile

    values = (ValueError, TypeError, LookupError, OverflowError, EOFError)
    parser = (SyntaxError, TokenError, MemoryError, RecursionError)  # deep nesting: the last two
    return (*values, *parser, BadZipFile)


def write_npy(path: Path, array: Any) -> None:
    """Write an array, or rows of one, whole or not at all; raises StorageError with the reason."""
    step = max(1, _BLOCK_VALUES * len(array) // max(1, math.prod(array.shape)))
    with files.replacing(path) as partial, partial.open("wb") as stream:
        stream.write(npy_header(array.shape, array.dtype))  # numpy does not say why it cannot write
        for at in range(0, len(array), step):
            stream.write(np.ascontiguousarray(array[at : at + step]).data)


def npy_header(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    """Return what a .npy begins with."""
    header = io.BytesIO()
    facts = {"descr": dtype.str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, facts)  # type: ignore[no-untyped-call]
    return header.getvalue()


def read_npy_header(stream: BinaryIO) -> tuple[tuple[int, ...], np.dtype[Any], bool]:
    """Return shape, dtype and whether an array is stored by columns, without reading it.

    Raises what numpy's parser raises.
    """
    version = np.lib.format.read_magic(stream)  # type: ignore[no-untyped-call]
    read: Any = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    shape, by_columns, dtype = read(stream)
    return shape, dtype, by_columns
