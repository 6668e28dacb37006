"""When, with which versions and from which commit something was made."""

from __future__ import annotations

import datetime
import functools
import importlib.metadata
from collections.abc import Iterable
from pathlib import Path

from hemline.programs import ProgramError, output_of
from hemline.version import VERSION


def utc_now() -> str:
    """Return the UTC time in ISO 8601, to the second."""
    now = datetime.datetime.now(datetime.timezone.utc)
    return now.isoformat(timespec="seconds").replace("+00:00", "Z")


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return package name to installed version, and Hemline's; missing packages are left out."""
    known = {package: installed_version(package) for package in packages}
    return {"hemline": VERSION, **{name: found for name, found in known.items() if found}}


@functools.cache
def commit() -> str | None:
    """Return Hemline's commit, with "+" when its tree was changed; None outside a checkout."""
    folder = Path(__file__).resolve().parent
    inside = _git(folder, "rev-parse", "--show-toplevel")
    own = None if inside is None else Path(inside) / "hemline" / "version.py"
    if own is None or not own.is_file() or not own.samefile(folder / "version.py"):
        return None
    name = _git(folder, "rev-parse", "--short=12", "HEAD")
    if name is None:
        return None
    return f"{name}+" if _git(folder, "status", "--porcelain", "--untracked-files=no") else name


def installed_version(package: str) -> str | None:
    """Return the version of a package without importing it; None where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        return output_of(["git", "-C", str(folder), *arguments], seconds=10).strip()
    except ProgramError:
        return None
