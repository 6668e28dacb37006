"""devices.toml: the names that a user gave to devices."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hemline import files
from hemline.bench.devices.ssh.address import parse_address
from hemline.bench.devices.table import DEVICES
from hemline.errors import FileFormatError, UnknownNameError, UsageError, remedy
from hemline.user_folders import config_folder

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_KIND = "ssh:"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
_PYTHON = re.compile(r"[A-Za-z0-9_/.][A-Za-z0-9_/.+-]*")
_FIELDS = ("address", "folder", "python")
_LONGEST = 1000  # characters of a folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A device with a name.

    name: letters, digits, - and _.
    address: ssh:user@host[:port].
    folder: for Hemline's files on it; empty for the cache folder of its user.
    python: command that starts Python there.
    """

    name: str
    address: str
    folder: str = ""
    python: str = "python3"

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise UsageError(
                f"{self.name!r} is not a name: use letters, digits, - and _, at most 40"
            )
        if self.name in DEVICES:
            raise UsageError(f"{self.name} is a kind of device: choose another name")
        if not self.address.startswith(_KIND):
            raise UsageError(
                f"{self.address!r} is not an address: write it as ssh:user@host[:port]"
            )
        parse_address(self.address.removeprefix(_KIND))
        if not self.folder.isprintable() or len(self.folder) > _LONGEST:
            raise UsageError(f"{self.folder!r} is not a folder: use visible characters")
        if not _PYTHON.fullmatch(self.python):
            raise UsageError(f"{self.python!r} is not a command for Python: write it as python3.11")


def registry_path() -> Path:
    """Return the path of devices.toml; raises HemlineError for a user without a home folder."""
    return config_folder() / "devices.toml"


def read_registry(path: Path) -> dict[str, Entry]:
    """Return the devices in the file by name, none without a file.

    Raises FileFormatError naming what is wrong.
    """
    return _parsed(_text(path), path) if path.exists() else {}


def require_free(path: Path, entry: Entry) -> None:
    """Raise UsageError when there is a device of that name."""
    if entry.name in read_registry(path):
        raise UsageError(
            f"{path} already has {entry.name}", remedy=remedy("remove device", device=entry.name)
        )


def add_entry(path: Path, entry: Entry) -> None:
    """Append a device; what the user wrote stays as it is.

    Raises UsageError when its name is not free.
    """
    require_free(path, entry)
    before = _text(path) if path.exists() else ""
    gap = "" if not before else "\n" if before.endswith("\n") else "\n\n"
    defaults = Entry(name=entry.name, address=entry.address)
    lines = [
        # every string of JSON without control characters is one of TOML
        f"{field} = {json.dumps(getattr(entry, field), ensure_ascii=False)}"
        for field in _FIELDS
        if field == "address" or getattr(entry, field) != getattr(defaults, field)
    ]
    _write(path, f"{before}{gap}[{entry.name}]\n" + "\n".join(lines) + "\n")


def remove_entry(path: Path, name: str) -> None:
    """Remove a device from the file.

    Raises UnknownNameError with the nearest name, FileFormatError when it is not written as a table
    of its own.
    """
    others = read_registry(path)
    if not others:
        raise UsageError(f"there is no device {name!r}", remedy=remedy("add device"))
    if others.pop(name, None) is None:
        raise UnknownNameError("device", name, others)
    kept, inside = [], False
    for line in _text(path).splitlines(keepends=True):
        if header := re.match(r"\s*\[\s*([^]]*?)\s*\]", line):
            inside = header[1].strip("\"'") == name
        if not inside:
            kept.append(line)
    left = "".join(kept)
    if _parsed(left, path) != others:
        raise FileFormatError(f"{path}: {name} is not a separate table [{name}]: remove it by hand")
    _write(path, left)


def _write(path: Path, text: str) -> None:
    _parsed(text, path)  # whatever the user wrote there: nothing is to be broken
    files.write_bytes(path, text.encode())


def _text(path: Path) -> str:
    try:
        return files.read_bytes(path).decode()
    except UnicodeDecodeError as error:
        raise FileFormatError(f"{path} is not UTF-8 text: write it again") from error


def _parsed(text: str, path: Path) -> dict[str, Entry]:
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise FileFormatError(f"{path} is not valid TOML ({error}): correct it") from error
    return {name: _entry(name, fields, path) for name, fields in document.items()}


def _entry(name: str, fields: Any, path: Path) -> Entry:
    if not isinstance(fields, dict) or "address" not in fields:
        raise FileFormatError(f"{path}: {name} must be a table with an address: correct it")
    for field, value in fields.items():
        if field not in _FIELDS or not isinstance(value, str):
            raise FileFormatError(
                f"{path}: {name}.{field}: the fields are {', '.join(_FIELDS)}, all text: correct it"
            )
    try:
        return Entry(name=name, **fields)
    except UsageError as error:
        raise FileFormatError(f"{path}: {error}") from error
