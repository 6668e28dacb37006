"""Folders that describe themselves in a record: environments and wheel sets in the cache."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, TypeVar

from hemline.contract import schema
from hemline.errors import HemlineError, UnknownNameError


class Record(Protocol):
    """What every record says: a runtime, its version, a Python (major.minor) and its own name."""

    @property
    def runtime(self) -> str: ...  # noqa: D102
    @property
    def version(self) -> str: ...  # noqa: D102
    @property
    def python(self) -> str: ...  # noqa: D102
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


def select(
    pairs: list[tuple[Path, R]], *, kind: str, asked: str, runtime: str,
    version: str | None, python: str | None,
) -> list[tuple[Path, R]]:  # fmt: skip
    """Return the folders of a runtime, a version and a Python, where None stands for any.

    Raises UnknownNameError, with the names of a `kind` of folder, when none is `asked` for.
    """
    found = [
        (folder, record)
        for folder, record in pairs
        if record.runtime == runtime
        and version in (None, record.version)
        and python in (None, record.python)
    ]
    if not found:
        raise UnknownNameError(kind, asked, {record.name for _, record in pairs})
    return found
