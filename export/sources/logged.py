"""What packages log while they convert: a line each."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator


@contextlib.contextmanager
def logged_in_one_line(package: str) -> Iterator[None]:
    """Report what a package logs in the block as a line each, for --verbose, without tracebacks."""
    ours, theirs = logging.getLogger(__name__), logging.getLogger(package)

    class OneLine(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            ours.info("%s: %s", record.name, " ".join(record.getMessage().split()))

    before = theirs.handlers, theirs.propagate
    theirs.handlers, theirs.propagate = [OneLine()], False
    try:
        yield
    finally:
        theirs.handlers, theirs.propagate = before
