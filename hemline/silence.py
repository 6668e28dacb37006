"""Keep what native code prints at start-up away from the user, and look for its reasons there."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator

from hemline.errors import HemlineError


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Keep the block's stderr away from the user, unless it breaks down: then show it.

    A HemlineError does not show it: its message says all that the user needs.
    """
    lines: list[str] = []
    try:
        with noted() as lines:
            yield
    except HemlineError:
        raise
    except Exception:
        os.write(2, "".join(f"{line}\n" for line in lines).encode(errors="replace"))
        raise


@contextlib.contextmanager
def noted() -> Iterator[list[str]]:
    """Keep the block's stderr away from the user; the list has its lines when the block has ended.

    For what native code says there and nowhere else, as why it found no GPU.
    """
    lines: list[str] = []
    sys.stderr.flush()
    with tempfile.TemporaryFile() as kept:
        original = os.dup(2)
        os.dup2(kept.fileno(), 2)
        try:
            yield lines
        finally:
            sys.stderr.flush()
            os.dup2(original, 2)
            os.close(original)
            kept.seek(0)
            lines += kept.read().decode(errors="replace").splitlines()
