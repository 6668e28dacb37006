"""Folders that describe themselves in a record: environments and wheel sets in the cache."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Protocol, TypeVar

from hemline.contract import schema
from hemline.errors import HemlineError, UnknownNameError


class Record(Protocol):
    """What every record has: a name, as litert==1.4.0@3.11."""

    @property
    def name(self) -> str: ...  # noqa: D102


R = TypeVar("R", bound=Record)


def read_folders(
    parent: Path, pattern: str, kind: type[R], record_name: str
) -> tuple[list[tuple[Path, R]], list[Path]]:
    """Return the folders below `parent` with their records, and those without a readable one."""
    folders = sorted(path for path in parent.glob(pattern) if path.is_dir())
    records = [(folder, _read(kind, folder / record_name)) for folder in folders]
    readable = [(folder, record) for folder, record in records if record is not None]
    return readable, [folder for folder, record in records if record is None]


def _read(kind: type[R], path: Path) -> R | None:
    try:
        return schema.load(kind, path)
    except HemlineError:
        return None


def select(pairs: list[tuple[Path, R]], pattern: str, *, kind: str) -> list[tuple[Path, R]]:
    """Return the folders whose names match, with * for any version or Python.

    Raises UnknownNameError, with the names of this `kind` of folder, for none.
    """
    found = [(folder, record) for folder, record in pairs if fnmatchcase(record.name, pattern)]
    if not found:
        asked = pattern.replace("==*", "").replace("@*", "")
        raise UnknownNameError(kind, asked, {record.name for _, record in pairs})
    return found
