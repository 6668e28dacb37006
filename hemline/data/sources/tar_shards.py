"""Read tar files of images, such as webdataset writes: 0001.jpg beside 0001.cls or 0001.json.

An image without such a file has the name of its folder as its class. Nothing is unpacked to disk.
"""

from __future__ import annotations

import itertools
import json
import lzma
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from hemline.data.sources.items import LARGEST_BYTES, Item
from hemline.errors import DataError
from hemline.pictures.images import ENDINGS

_DAMAGE = (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError, ValueError)
_CLASS, _JSON = ".cls", ".json"
_KEYS = ("label", "class", "cls", "label_name", "class_name")  # in a .json


def read_tar(path: Path, name: str) -> Iterator[Item]:
    """Yield the images in a tar file. Raises DataError where it is damaged or cut short."""
    members = _members(path)
    for stem, group in itertools.groupby(members, key=lambda member: member[0].with_suffix("")):
        sample = dict(group)
        label = _label(sample, stem, f"{path}: {stem}")
        for member, content in sample.items():
            if member.suffix.lower() in ENDINGS:
                yield Item(f"{name}/{member}", content, label)


def _members(path: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Yield name and content of the files in the order of the archive, in constant memory."""
    wanted, last = {*ENDINGS, _CLASS, _JSON}, "its start"
    try:
        with tarfile.open(path) as tar:
            while (member := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # it would keep all
                place = PurePosixPath(member.name)
                last = member.name
                if not member.isreg() or place.name[0] == "." or place.suffix.lower() not in wanted:
                    continue
                if member.size > LARGEST_BYTES:
                    raise ValueError(f"an image has {member.size:,} bytes")
                yield place, tar.extractfile(member).read()  # type: ignore[union-attr]
            _require_end(tar)
    except _DAMAGE as error:
        raise DataError(
            f"{path} is damaged or cut short at {last} ({error}): copy it again"
        ) from error


def _require_end(tar: tarfile.TarFile) -> None:
    """Raise ValueError without the mark that ends an archive: tarfile stops at any bad header."""
    tar.fileobj.seek(tar.offset)
    if tar.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise ValueError(f"no header follows at byte {tar.offset:,}")


def _label(sample: dict[PurePosixPath, bytes], stem: PurePosixPath, where: str) -> str | int | None:
    """Return the class that files beside an image name, or its folder; None without either."""
    folder = stem.parent.name
    for member, content in sample.items():
        if member.suffix.lower() == _CLASS:
            text = content.decode(errors="replace").strip()
            return int(text) if text.isdecimal() else text
        if member.suffix.lower() == _JSON:
            try:
                facts = json.loads(content)
            except ValueError as error:
                raise DataError(f"{where}.json cannot be read: {error}") from error
            found = [facts[key] for key in _KEYS if key in facts] if isinstance(facts, dict) else []
            if found and isinstance(found[0], str | int):
                return found[0]
    return folder or None
