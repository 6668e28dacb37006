"""One ssh connection that is kept open, and processes on the board that share it.

The system's ssh with the user's own configuration. The first process keeps the connection (a
control master); the others go through its socket, without another handshake. It runs `cat`, which
ends with our end of its pipe, so that nothing stays behind when this process is killed.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import shlex
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from typing import IO

from hemline.bench.devices.device import LostError
from hemline.bench.devices.ssh.address import SshAddress
from hemline.bench.devices.ssh.connection_failures import failure, last_line
from hemline.child_process import StderrTail
from hemline.errors import DeviceError, JobError
from hemline.folders import TemporaryFolder

CONNECT_SECONDS = 10  # for TCP and the first greeting, each
LOGIN_SECONDS = (
    45.0  # until the board's shell runs; a slow card and DNS on the board take their time
)
SILENT_SECONDS = 10  # an unplugged board is noticed after three times as long
_END_SECONDS = 5.0
_READY = "hemline-is-connected"
_LONGEST_GREETING = 1 << 16  # bytes that a board's start-up files may print
# a unix socket's path has 108 bytes; ours adds 29, and ssh 17 while it makes it
_FOLDER = re.compile(r"/[A-Za-z0-9_./+-]{0,59}")
_OPTIONS: tuple[str, ...] = tuple(
    f"-o{option}"
    for option in (
        "BatchMode=yes",  # no passwords, no questions
        "StrictHostKeyChecking=yes",
        "ForwardAgent=no",
        "ForwardX11=no",
        "ClearAllForwardings=yes",
        "PermitLocalCommand=no",
        "RemoteCommand=none",
        "RequestTTY=no",
        "EscapeChar=none",
        "ControlPersist=no",
        f"ConnectTimeout={CONNECT_SECONDS}",
        f"ServerAliveInterval={SILENT_SECONDS}",
        "ServerAliveCountMax=3",
        "LogLevel=ERROR",  # the reasons of failures, but no banners
    )
)


class Connection:
    """A connection to one board; opened by `open`, and again after it was cut."""

    def __init__(self, address: SshAddress) -> None:
        self.address = address
        self.opened = 0  # times; a process of an earlier time is gone
        self._master: subprocess.Popen[bytes] | None = None
        self._folder: TemporaryFolder | None = None
        self._stderr: StderrTail | None = None

    @property
    def alive(self) -> bool:
        """Tell whether the connection is open, as far as is known here."""
        return self._master is not None and self._master.poll() is None

    def open(self) -> None:
        """Connect.

        Raises DeviceError saying what to do when the board does not answer, is not the one that it
        was, or does not let us in.
        """
        self.close()
        self._folder = TemporaryFolder(_short_folder())
        self._master = _start(
            (*self._ssh(), "-oControlMaster=yes", *self.address.words, f"echo {_READY}; cat"),
            start_new_session=True,  # control-C ends it in our order, not at once
        )
        self._stderr = StderrTail(self._master.stderr)
        try:
            ready = _says_ready(self._master)
        except BaseException:
            self.close()
            raise
        if not ready:
            said = self._said()
            self.close()
            raise failure(said, self.address, reached=self.opened > 0)
        self.opened += 1

    def command(self, words: Sequence[str]) -> tuple[str, ...]:
        """Return the local command that runs `words` on the board, through this connection."""
        # exec: the process is then a child of the ssh server itself, and ends with it
        remote = f"exec {shlex.join(words)}"
        return (*self._ssh(), "-oControlMaster=no", *self.address.words, remote)

    def call(
        self,
        words: Sequence[str],
        *,
        write: Callable[[IO[bytes]], object] = bool,
        most_bytes: int,
        timeout_seconds: float | None = None,
    ) -> tuple[int, bytes, str]:
        """Run a command on the board: exit code, output, last line of standard error.

        `write` writes its standard input. Raises DeviceError when the connection is cut or
        the time is over, JobError when it prints more than `most_bytes`.
        """
        child = _start(self.command(words))
        assert child.stdout is not None  # noqa: S101 — Popen was asked for a pipe
        stderr = StderrTail(child.stderr)
        timer = threading.Timer(timeout_seconds or 1e6, child.kill)
        writer = threading.Thread(target=_write, args=(child.stdin, write), daemon=True)
        try:
            timer.start()
            writer.start()
            output = child.stdout.read(most_bytes + 1)
            if len(output) > most_bytes:
                raise JobError(f"{self.address} sent a response of more than {most_bytes} bytes")
            code = child.wait()
        finally:
            timer.cancel()
            child.kill()
            child.wait()
            writer.join(_END_SECONDS)
            child.stdout.close()
        said = stderr.text() if code else ""
        if code < 0 and timeout_seconds is not None:
            raise DeviceError(f"{self.address} did not answer in {timeout_seconds:g} s")
        self.require_alive(code)
        return code, output, last_line(said)

    def require_alive(self, code: int = 255) -> None:
        """Raise DeviceError when the connection was cut; `code` is that of a process on it."""
        if self._master is None or code != 255:
            return  # given up by us, or an exit code of the process's own
        # 255 is ssh's own failure, but also a process that was killed: ask whether the master lives
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._master.wait(1.0)
        if not self.alive:
            said = self._said()
            self.close()
            raise LostError(f"the connection to {self.address} was lost ({last_line(said)})")

    def close(self) -> None:
        """End the connection and all that runs on it."""
        if self._master is not None:
            for stream in (self._master.stdin, self._master.stdout):
                with contextlib.suppress(OSError):
                    assert stream is not None  # noqa: S101 — Popen was asked for pipes
                    stream.close()
            self._master.terminate()
            try:
                self._master.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                self._master.kill()
                self._master.wait()
        if self._folder is not None:
            self._folder.cleanup()
        self._master = self._stderr = self._folder = None

    def _ssh(self) -> tuple[str, ...]:
        return (
            "ssh",
            "-T",
            *_OPTIONS,
            f"-oControlPath={self._folder and self._folder.name}/socket",
        )

    def _said(self) -> str:
        return "" if self._stderr is None else self._stderr.text()


def _start(command: Sequence[str], *, start_new_session: bool = False) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=start_new_session,
        )
    except FileNotFoundError as error:
        raise DeviceError("ssh is not installed here: apt-get install openssh-client") from error


def _says_ready(master: subprocess.Popen[bytes]) -> bool:
    """Wait until the board's shell has run; whatever it prints before that is passed over."""
    assert master.stdout is not None  # noqa: S101 — Popen was asked for a pipe
    deadline = time.monotonic() + LOGIN_SECONDS
    heard = b""
    while len(heard) < _LONGEST_GREETING and (left := deadline - time.monotonic()) > 0:
        if not select.select([master.stdout], [], [], left)[0]:
            break
        chunk = os.read(master.stdout.fileno(), 4096)
        if not chunk:
            with contextlib.suppress(subprocess.TimeoutExpired):
                master.wait(_END_SECONDS)
            return False
        heard += chunk
        if _READY.encode() in heard:
            return True
    return False


def _write(stream: IO[bytes], write: Callable[[IO[bytes]], object]) -> None:
    with contextlib.suppress(OSError):  # the reader reports why it has ended
        write(stream)
        stream.flush()
    with contextlib.suppress(OSError):
        stream.close()


def _short_folder() -> str:
    """Return a folder for the socket: its path is short, and ssh takes it without quotes."""
    folders = (os.environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir())
    good = (each for each in folders if _FOLDER.fullmatch(each) and os.access(each, os.W_OK))
    return next(good, "/tmp")  # noqa: S108 — a private folder is made in it
