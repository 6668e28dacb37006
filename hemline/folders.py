"""Folders in the cache that are made whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from hemline import files
from hemline.errors import HemlineError

_UNFINISHED = ".unfinished-"  # in the name of a folder that is being made or removed
_turns: dict[str, threading.RLock] = {}  # by parent: threads of this process take turns


def made(folder: Path, make: Callable[[Path], None], *, needs_bytes: int) -> Path:
    """Return `folder`; if it is not there, let `make` fill an empty one, which then gets its name.

    Threads wait for each other. Raises BusyError when another process makes one beside it,
    HemlineError when it cannot be written or there is less room than `needs_bytes`.
    """
    if folder.is_dir():
        return folder
    with _turn(folder), files.locked(folder.parent), _told(folder):
        if folder.is_dir():  # another thread or process was faster
            return folder
        _remove_unfinished(folder.parent)
        _require_space(folder, needs_bytes)
        with tempfile.TemporaryDirectory(prefix=_prefix(folder), dir=folder.parent) as name:
            whole = Path(name) / "whole"
            whole.mkdir()
            make(whole)
            whole.rename(folder)
    return folder


def remove(folder: Path) -> None:
    """Remove a folder: first its name, so that nobody finds half of it; raises as `made`."""
    with _turn(folder), files.locked(folder.parent), _told(folder):
        if not folder.is_dir():
            return
        _remove_unfinished(folder.parent)
        doomed = tempfile.mkdtemp(prefix=_prefix(folder), dir=folder.parent)
        folder.rename(Path(doomed) / "whole")
        shutil.rmtree(doomed)


def size_of(folder: Path) -> int:
    """Return the bytes of all files below a folder, each link as itself."""
    return sum(
        (Path(below) / name).lstat().st_size
        for below, _, names in os.walk(folder)
        for name in names
    )


def _turn(folder: Path) -> threading.RLock:
    return _turns.setdefault(str(folder.parent), threading.RLock())


def _prefix(folder: Path) -> str:
    return f".{folder.name}{_UNFINISHED}"


@contextlib.contextmanager
def _told(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HemlineError(f"cannot write {folder}: {files.reason_of(error)}") from error


def _remove_unfinished(parent: Path) -> None:
    for abandoned in parent.glob(f".*{_UNFINISHED}*"):
        shutil.rmtree(abandoned, ignore_errors=True)  # what stays disturbs nobody


def _require_space(folder: Path, needs_bytes: int) -> None:
    free = shutil.disk_usage(folder.parent).free
    if free < needs_bytes:
        raise HemlineError(
            f"{folder.parent} has only {free / 1e6:.0f} MB free, and this needs "
            f"{needs_bytes / 1e6:.0f} MB: make room, or set XDG_CACHE_HOME to another folder"
        )
