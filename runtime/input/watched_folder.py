"""Watch a folder and read each image file that appears or is replaced in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from hemline.errors import DataError
from hemline.files import reason_of
from hemline.pictures.images import ENDINGS, read_picture
from hemline.runtime.input.streams import Frame, frame_of

SECONDS = 0.2  # between two looks
_State = tuple[int, int, int]  # modified at (ns), size, inode


def watched(folder: Path, wait: Callable[[float], bool], side: int = 0) -> Iterator[Frame]:
    """Yield each image file of a folder, those that are there first, until `wait` says to end.

    A file is read when it is the same in two looks and is not empty, so that a copy in progress is
    waited for; one that was replaced is read again. Nothing is remembered of files that are gone.
    `side` as in read_picture. Raises DataError when the folder cannot be listed, BackendError where
    a library is missing.
    """
    before: dict[str, _State] = {}
    answered: dict[str, _State] = {}
    while True:
        now = _files(folder)
        answered = {name: state for name, state in answered.items() if name in now}
        ready = [
            name
            for name, state in now.items()
            if before.get(name) == state and answered.get(name) != state
        ]
        for name in sorted(ready, key=lambda name: (now[name][0], name)):
            if wait(0):
                return
            answered[name] = now[name]
            path = folder / name
            yield frame_of(lambda path: read_picture(path, side), path, str(path), str(path))
        if wait(SECONDS):
            return
        before = now


def _files(folder: Path) -> dict[str, _State]:
    """Return the state of each image file that is not empty and not hidden."""
    found: dict[str, _State] = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") or Path(entry.name).suffix.lower() not in ENDINGS:
                    continue
                try:
                    if not entry.is_file():
                        continue
                    facts = entry.stat()
                except OSError:  # it has gone between the list and this look
                    continue
                if facts.st_size:
                    found[entry.name] = (facts.st_mtime_ns, facts.st_size, facts.st_ino)
    except OSError as error:
        raise DataError(f"cannot watch {folder}: {reason_of(error)}") from error
    return found
