"""Wait for what must happen: the limit ends only what hangs, however busy the machine is."""

from __future__ import annotations

import time
from collections.abc import Callable

HANG_SECONDS = 900.0


def eventually(condition: Callable[[], object], *, seconds: float = HANG_SECONDS) -> bool:
    """Wait until a condition holds; return whether it did before the limit."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
