"""The folders of the cache: for decoded images one for each data set, and few of them."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from hemline import files, folders
from hemline.errors import BusyError, HemlineError
from hemline.progress import say

DECODED, SOFT_TARGETS = "decoded", "soft-targets"  # in the cache folder
FACTS = "facts.json"  # the last file that is written, and the first that is removed
_KEPT = 4  # data sets; the least recently used is removed first
_FOREVER_SECONDS = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheFolder:
    """Where decoded images are kept.

    path: a folder of this data set alone.
    contents: hash of each file that they are decoded from; whoever decodes them adds those where
        there are none yet.
    """

    path: Path
    contents: list[str] = field(default_factory=list)

    def require_room(self, needs_bytes: int) -> None:
        """Remove other data sets until there is room; raise HemlineError if there is none."""
        needed = needs_bytes - folders.size_of(self.path)  # what an earlier process has written
        for old in reversed(by_use(self.path.parent)):
            if shutil.disk_usage(self.path).free >= needed:
                return
            if old != self.path:
                _remove_unused(old)
        folders.require_space(self.path, needed, variable="XDG_CACHE_HOME")

    def remove_others(self) -> None:
        """Remove the data sets that were not used for longest."""
        for old in by_use(self.path.parent)[_KEPT:]:
            _remove_unused(old)


def by_use(cache: Path) -> list[Path]:
    """Return the folders of the cache, most recently used first."""
    if not cache.is_dir():
        return []
    kept = [path for path in cache.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return sorted(kept, key=lambda path: path.stat().st_mtime_ns, reverse=True)


def remove(folder: Path) -> None:
    """Remove a folder. Raises BusyError while another process writes into it or below, OSError.

    A process that has mapped the files keeps them until it ends.
    """
    with contextlib.ExitStack() as stack:
        for each in (folder, *(path for path in folder.iterdir() if path.is_dir())):
            stack.enter_context(files.locked(each))
        (folder / FACTS).unlink(missing_ok=True)
        shutil.rmtree(folder)


def _remove_unused(folder: Path) -> None:
    with contextlib.suppress(HemlineError, OSError):  # another process decodes into it
        remove(folder)


@contextlib.contextmanager
def waiting(folder: Path) -> Iterator[None]:
    """Hold a folder for this process; where another one does, say so and wait for it."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(files.locked(folder))
        except BusyError:
            say("another hemline command is reading these images: waiting for it")
            stack.enter_context(files.locked(folder, wait_seconds=_FOREVER_SECONDS))
        yield
