"""What goes wrong in the headers of .npy files, which numpy reads as Python literals."""

from __future__ import annotations


def npy_errors() -> tuple[type[Exception], ...]:
    """Return what numpy's header parser and its zip reader let through as it is."""
    from tokenize import TokenError  # here, because it is needed when something is wrong only
    from zipfile import BadZipFile

    values = (ValueError, TypeError, LookupError, OverflowError, EOFError)
    parser = (SyntaxError, TokenError, MemoryError, RecursionError)  # deep nesting: the last two
    return (*values, *parser, BadZipFile)
