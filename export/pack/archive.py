"""Sums of a folder's files, and archives whose bytes depend on names and contents only."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from hemline.files import sha256_of, write_bytes

SUMS_NAME = "SHA256SUMS"
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)


def write_sums(folder: Path) -> None:
    """Write the SHA-256 of each file below a folder, in the form that `sha256sum --check` reads."""
    paths = [path for path in _files(folder) if path.name != SUMS_NAME]
    lines = [f"{sha256_of(path)}  {path.relative_to(folder).as_posix()}\n" for path in paths]
    write_bytes(folder / SUMS_NAME, "".join(lines).encode())


def tar_of(folder: Path, name: str) -> bytes:
    """Return a .tar.gz of a folder's files below `name`."""
    stream = io.BytesIO()
    with (
        gzip.GzipFile("", "wb", 9, stream, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for path in _files(folder):
            entry = tarfile.TarInfo(f"{name}/{path.relative_to(folder).as_posix()}")
            entry.size, entry.mode = path.stat().st_size, path.stat().st_mode & 0o777
            archive.addfile(entry, io.BytesIO(path.read_bytes()))
    return stream.getvalue()


def zip_of(folder: Path, name: str) -> bytes:
    """Return a .zip of a folder's files below `name`."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for path in _files(folder):
            member = f"{name}/{path.relative_to(folder).as_posix()}"
            entry = zipfile.ZipInfo(member, _ZIP_EPOCH)
            entry.external_attr = path.stat().st_mode << 16
            archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED, 9)
    return stream.getvalue()


# by the ending of a name
ARCHIVES: dict[str, Callable[[Path, str], bytes]] = {
    ".tar.gz": tar_of,
    ".tgz": tar_of,
    ".zip": zip_of,
}


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
