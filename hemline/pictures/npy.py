"""What goes wrong in the headers of .npy files, which numpy reads as Python literals."""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy as np


def npy_errors() -> tuple[type[Exception], ...]:
    """Return what numpy's header parser and its zip reader let through as it is."""
    from tokenize import TokenError  # here, because it is needed when something is wrong only
    from zipfile import BadZipFile

    values = (ValueError, TypeError, LookupError, OverflowError, EOFError)
    parser = (SyntaxError, TokenError, MemoryError, RecursionError)  # deep nesting: the last two
    return (*values, *parser, BadZipFile)


def read_npy_header(stream: BinaryIO) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and dtype of an array without reading it. Raises what numpy's parser raises."""
    version = np.lib.format.read_magic(stream)  # type: ignore[no-untyped-call]
    read: Any = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    shape, _, dtype = read(stream)
    return shape, dtype
