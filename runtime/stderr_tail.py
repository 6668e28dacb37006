"""What a child process prints to its standard error: read all the time, and only the last kept."""

from __future__ import annotations

import os
import threading
from typing import IO, Any

_KEPT_BYTES = 1 << 16
_LAST_SECONDS = 1.0  # a grandchild may hold the pipe open


class Complaints:
    """The end of what a child complains of, however much it is; closes the pipe with the child."""

    def __init__(self, stream: IO[Any] | None) -> None:
        """Start to read the pipe that Popen was asked for."""
        assert stream is not None  # noqa: S101 — Popen was asked for a pipe
        self._kept = b""
        self._reader = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._reader.start()

    def text(self) -> str:
        """Return the last 64 kB; to be called when the child has ended."""
        self._reader.join(_LAST_SECONDS)
        return self._kept.decode(errors="replace")

    def _read(self, stream: IO[Any]) -> None:
        with stream:
            while chunk := os.read(stream.fileno(), _KEPT_BYTES):
                self._kept = (self._kept + chunk)[-_KEPT_BYTES:]
