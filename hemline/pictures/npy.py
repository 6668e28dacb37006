"""Write .npy files, and read their headers, which numpy reads as Python literals."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from hemline import files


def npy_errors() -> tuple[type[Exception], ...]:
    """Return what numpy's header parser and its zip reader let through as it is."""
    from tokenize import TokenError  # here, because it is needed when something is wrong only
    from zipfile import BadZipFile

    values = (ValueError, TypeError, LookupError, OverflowError, EOFError)
    parser = (SyntaxError, TokenError, MemoryError, RecursionError)  # deep nesting: the last two
    return (*values, *parser, BadZipFile)


def write_npy(path: Path, array: npt.NDArray[Any]) -> None:
    """Write an array, whole or not at all; raises HemlineError with the reason."""
    packed = io.BytesIO()  # numpy does not say why when it cannot write into a file
    np.save(packed, np.ascontiguousarray(array))
    files.write_bytes(path, packed.getvalue())


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
