"""How much memory is free, so that too much data is refused before it is read."""

from __future__ import annotations

from pathlib import Path

_GROUP = Path("/sys/fs/cgroup")  # version 2: the limit of a container


def free_bytes() -> int | None:
    """Return the memory that this process can still allocate, or None if it is unknown.

    The cache of files counts as free: the system drops it on demand.
    """
    known = [each for each in (_of_machine(), _of_group()) if each is not None]
    return min(known, default=None)


def _of_machine() -> int | None:
    kilobytes = _table(Path("/proc/meminfo")).get("MemAvailable:")
    return None if kilobytes is None else kilobytes * 1024


def _of_group() -> int | None:
    limit, used = _number(_GROUP / "memory.max"), _number(_GROUP / "memory.current")
    if limit is None or used is None:
        return None
    return max(0, limit - used + _table(_GROUP / "memory.stat").get("inactive_file", 0))


def _table(path: Path) -> dict[str, int]:
    rows = (line.split() for line in _text(path).splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdecimal()}


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdecimal() else None  # "max" where there is no limit


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
