"""Run another program to its end: its output, or one line that says why there is none."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from hemline.errors import HemlineError
from hemline.files import reason_of

# the binaries themselves: Debian's scripts in /usr/bin can leave their children behind
_CHROMIUM = ("/usr/lib/chromium/chromium-headless-shell", "/usr/lib/chromium/chromium")
_ON_PATH = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


class ProgramError(HemlineError):
    """A program is missing, failed or took too long.

    stderr: the lines that it wrote to standard error, without empty ones.
    timed_out: whether it took too long.
    """

    def __init__(
        self, message: str, *, stderr: Sequence[str] = (), timed_out: bool = False
    ) -> None:
        super().__init__(message)
        self.stderr = stderr
        self.timed_out = timed_out


def output_of(command: Sequence[str], *, seconds: float, folder: Path | None = None) -> str:
    """Return the standard output of a program, run in `folder` without standard input.

    Raises ProgramError, with the last line of its errors, when it is missing, does not end within
    `seconds` or ends with a failure.
    """
    name = command[0]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            timeout=seconds,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
        )
    except FileNotFoundError as error:
        raise ProgramError(f"{name} is not installed") from error
    except OSError as error:
        raise ProgramError(f"{name}: {reason_of(error)}") from error
    except subprocess.TimeoutExpired as error:
        raise ProgramError(f"{name} took more than {seconds:g} s", timed_out=True) from error
    if done.returncode:
        how = f"signal {-done.returncode}" if done.returncode < 0 else f"exit {done.returncode}"
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        last = f"{lines[-1].removeprefix('error: ')} ({how})" if lines else how
        raise ProgramError(last, stderr=lines)
    return done.stdout


def chromium() -> Path:
    """Return Chromium or a browser made of it; raises ProgramError where none is installed."""
    for name in (*_CHROMIUM, *_ON_PATH):
        if found := shutil.which(name):
            return Path(found)
    raise ProgramError(
        "Chromium is not installed: install it (Debian: apt-get install chromium), or name another "
        "browser made of it by its path (browser:/opt/google/chrome/chrome)"
    )
