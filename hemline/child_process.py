"""Limit a child process; how it ended, and the end of what it printed to its standard error."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import IO, Any

from hemline.closing import Closing
from hemline.safe_path import module_command

_KEPT_BYTES = 1 << 16
_LAST_SECONDS = 1.0  # a grandchild may hold the pipe open


class PipedChild(Closing):
    """A module that runs in a fresh Python and exchanges objects with this process.

    Not by multiprocessing, which runs the program of this process once more in the child. The pipe
    to its standard input is closed when this process ends, which ends the child.
    """

    def __init__(self, module: str, **environment: str) -> None:
        """Start it; it gets its end of `pipe` from parent_pipe. Raises OSError."""
        self.pipe, there = Pipe()
        with there:
            command = [*module_command(module), str(there.fileno())]
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                pass_fds=[there.fileno()],
                env=os.environ | environment,
                start_new_session=True,  # an interrupt is for this process, which ends them
            )

    def end(self) -> None:
        """End the child at once."""
        self.process.kill()
        self.close()

    def close(self) -> None:
        """Close the pipes, which ends the child if it still runs, and wait for that."""
        self.pipe.close()
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process.wait()


def parent_pipe() -> Connection:
    """Return, in a PipedChild, the pipe to the parent; from now on end with it."""
    end_with_parent()
    return Connection(int(sys.argv[1]))


class StderrTail:
    """The last 64 kB of a child's standard error, read all the time so that it never blocks."""

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


def run_child(command: Sequence[str], *, seconds: float) -> subprocess.CompletedProcess[bytes]:
    """Run a child process without input and return what it wrote.

    Raises subprocess.TimeoutExpired after so many seconds, OSError when it cannot be started.
    """
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False
    )


def end_with_parent() -> None:
    """End this child when its standard input is closed: its parent is gone, however it went.

    Python's own stream is left to the main thread.
    """

    def wait() -> None:
        while os.read(0, 1):
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def how_it_ended(code: int, errors: str) -> str:
    """Return the exit code or signal of a child, and the last line of its standard error."""
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    said = [line.strip() for line in errors.splitlines() if line.strip()]
    return f"({how}): {said[-1]}" if said else f"({how})"


def limit_memory(extra_bytes: int) -> None:
    """Let this process take so many more bytes of addresses at most; leave no core behind.

    Nothing happens on a system without such limits.
    """
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + extra_bytes
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
