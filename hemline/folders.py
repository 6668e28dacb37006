"""Folders that are made whole or not at all, and temporary ones that a killed process leaves."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from hemline import files
from hemline.errors import HemlineError
from hemline.progress import say

_TEMPORARY = "hemline-work-"
_UNFINISHED = ".unfinished-"  # in the name of a folder that is being made or removed
_NEW_SECONDS = 60.0  # a folder this new may be one that its process is about to lock
_thread_locks: dict[str, threading.RLock] = {}  # by parent folder, for the threads of this process


class TemporaryFolder(tempfile.TemporaryDirectory[str]):
    """An empty folder, removed at the end, or by the next one that is made after a kill.

    Its process holds a lock on the folder, which ends with it and with its forks.
    """

    def __init__(self, parent: str | None = None) -> None:
        """Make the folder in `parent` or the temporary folder; raises OSError as tempfile does."""
        _remove_abandoned(Path(parent or tempfile.gettempdir()))
        try:
            super().__init__(prefix=_TEMPORARY, dir=parent)
        except OSError as error:  # of a name that nobody gave
            error.filename = parent or error.filename
            raise
        self._lock = os.open(self.name, os.O_RDONLY)
        with contextlib.suppress(OSError):  # a file system without locks
            # another thread that looks for abandoned folders may hold it for a moment
            _lock(self._lock, wait=True)

    def cleanup(self) -> None:
        """Remove the folder and give up its lock."""
        super().cleanup()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _remove_abandoned(parent: Path) -> None:
    """Remove temporary folders of this user that no process holds."""
    for folder in parent.glob(f"{_TEMPORARY}*"):
        with contextlib.suppress(OSError):  # another user's, held, or removed meanwhile
            descriptor = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                _lock(descriptor)
                facts = os.fstat(descriptor)
                if facts.st_uid == os.getuid() and time.time() - facts.st_ctime > _NEW_SECONDS:
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)


def _lock(descriptor: int, *, wait: bool = False) -> None:
    """Lock a folder for this process and its forks.

    Raises OSError when another one holds it, unless it is to wait for that one.
    """
    import fcntl  # here, because a system without it can still import this module

    fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def made(folder: Path, make: Callable[[Path], None], *, needs_bytes: int, what: str = "") -> Path:
    """Return `folder`; if it is not there, let `make` fill an empty one, which then gets its name.

    `what` is reported as downloaded. Threads wait for each other. Raises BusyError when another
    process makes one beside it, HemlineError when it cannot be written or there is less room than
    `needs_bytes`.
    """
    if folder.is_dir():
        return folder
    with _thread_lock(folder), files.locked(folder.parent), _naming(folder):
        if folder.is_dir():  # another thread or process made it meanwhile
            return folder
        _remove_unfinished(folder.parent)
        require_space(folder.parent, needs_bytes, variable="XDG_CACHE_HOME")
        if what:
            say(f"downloading {what}: once, into {folder.parent}")
        with tempfile.TemporaryDirectory(prefix=_prefix(folder), dir=folder.parent) as name:
            whole = Path(name) / "whole"
            whole.mkdir()
            make(whole)
            whole.rename(folder)
    return folder


def remove(folder: Path) -> None:
    """Remove a folder, renamed first so that half of it is never found; raises as `made`."""
    with _thread_lock(folder), files.locked(folder.parent), _naming(folder):
        if not folder.is_dir():
            return
        _remove_unfinished(folder.parent)
        doomed = tempfile.mkdtemp(prefix=_prefix(folder), dir=folder.parent)
        folder.rename(Path(doomed) / "whole")
        shutil.rmtree(doomed)


def size_of(folder: Path) -> int:
    """Return the bytes of all files below a folder; links are not followed."""
    return sum(
        (Path(below) / name).lstat().st_size
        for below, _, names in os.walk(folder)
        for name in names
    )


def _thread_lock(folder: Path) -> threading.RLock:
    return _thread_locks.setdefault(str(folder.parent), threading.RLock())


def _prefix(folder: Path) -> str:
    return f".{folder.name}{_UNFINISHED}"


@contextlib.contextmanager
def _naming(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HemlineError(f"cannot write {folder}: {files.reason_of(error)}") from error


def _remove_unfinished(parent: Path) -> None:
    for abandoned in parent.glob(f".*{_UNFINISHED}*"):
        shutil.rmtree(abandoned, ignore_errors=True)  # the rest is tried again next time


def require_space(folder: Path, needs_bytes: int, *, variable: str) -> None:
    """Raise HemlineError, naming the variable that places it, for a folder without enough room."""
    free = shutil.disk_usage(folder).free
    if free < needs_bytes:
        raise HemlineError(
            f"{folder} has only {free / 1000000.0:.0f} MB free, and this needs "
            f"{needs_bytes / 1000000.0:.0f} MB: free some space, or set {variable} to another "
            "folder"
        )
