"""List the images of a folder that has a folder for each class.

    flowers/daisy/…  flowers/rose/…              the test part is split off
    flowers/train/daisy/…  flowers/test/daisy/…  the data has a test part

Folders inside a class belong to it. Names that begin with a dot, and files without the suffix of an
image, are ignored.
"""

from __future__ import annotations

import logging
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from hemline.data.custom.reading import counted, few, require_labels, shown
from hemline.errors import DataError
from hemline.files import reason_of
from hemline.pictures.images import ENDINGS

log = logging.getLogger(__name__)

_PARTS = ("train", "test")
# what file managers and archivers leave behind
_NEVER = ("__MACOSX", "Thumbs.db", "desktop.ini")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFile:
    """One file of a class.

    name: path inside the folder, for texts and the cache.
    label: number of the class.
    size_bytes, modified_ns: identify its content in the cache.
    fault: why it cannot be read; empty if no reason is known.
    """

    path: Path
    name: str
    label: int
    size_bytes: int
    modified_ns: int
    fault: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The images of a folder, in the order of classes and names.

    labels: names of the classes, sorted.
    files: of the training part, then of the test part.
    test_from: position of the first file of the test part; None if the data has none.
    """

    folder: Path
    labels: tuple[str, ...]
    files: tuple[ImageFile, ...]
    test_from: int | None


def list_folder(folder: Path) -> Listing:
    """Return the images of a folder. Raises DataError when it does not have a folder per class."""
    below = _folders(folder)
    train, test = _parts(folder, below)
    classes = _folders(train)
    labels = tuple(path.name for path in classes)
    if not labels:
        raise DataError(
            f"{train} has no folder for each class: put the images of a class into a folder that "
            "has the name of the class"
        )
    require_labels(labels, where=str(train))
    others: list[str] = [] if train != folder else _misplaced(folder)
    files = _listed(folder, classes, labels, others)
    present = {file.label for file in files}
    if missing := [label for at, label in enumerate(labels) if at not in present]:
        raise DataError(f"{train} has no images in {few(missing)}: put some there, or remove it")
    test_from = None
    if test is not None:
        if foreign := [path.name for path in _folders(test) if path.name not in labels]:
            raise DataError(f"{test} has classes that {train} does not have: {few(foreign)}")
        test_from = len(files)
        files += _listed(folder, _folders(test), labels, others)
        if len(files) == test_from:
            raise DataError(f"{test} has no images: put some there, or remove it")
    if others:
        what = "ignored, not images by their names"
        count = counted(len(others), "file")
        log.warning("%s: %s: %s, such as %s", folder, what, count, shown(others[0]))
    return Listing(folder=folder, labels=labels, files=tuple(files), test_from=test_from)


def _parts(folder: Path, below: list[Path]) -> tuple[Path, Path | None]:
    """Return the folder of the training part, and that of the test part if there is one."""
    names = [path.name for path in below]
    train, test = (folder / part for part in _PARTS)
    if "train" not in names or not _folders(train):  # a class may be called train
        return folder, None
    if surplus := [name for name in names if name not in _PARTS]:
        raise DataError(
            f"{folder} has train/ with folders in it, and {surplus[0]}/: only test/ may be beside "
            "train/, and validation images are held out from train/"
        )
    return train, test if "test" in names else None


def _listed(
    root: Path, classes: list[Path], labels: tuple[str, ...], others: list[str]
) -> list[ImageFile]:
    files: list[ImageFile] = []
    for each in classes:
        above = {_identity(root), _identity(each.parent)}  # where a link must not lead back to
        files += _files(root, each, labels.index(each.name), others, seen=above)
    return files


def _files(
    root: Path, folder: Path, label: int, others: list[str], seen: set[tuple[int, int]]
) -> list[ImageFile]:
    """Return the images in a folder of a class and below, each folder once."""
    if _identity(folder) in seen:
        return []
    seen.add(_identity(folder))
    files: list[ImageFile] = []
    for path in _entries(folder):
        if _is_folder(path):
            files += _files(root, path, label, others, seen)
        elif path.suffix.lower() in ENDINGS:
            files.append(_image_file(root, path, label))
        else:
            others.append(str(path.relative_to(root)))
    return files


def _image_file(root: Path, path: Path, label: int) -> ImageFile:
    fault, size_bytes, modified_ns = "", 0, 0
    try:
        facts = path.stat()
    except OSError as error:  # a link that leads nowhere, or to itself
        fault = reason_of(error)
    else:
        size_bytes, modified_ns = facts.st_size, facts.st_mtime_ns
        if not stat.S_ISREG(facts.st_mode):
            fault = "not a file"  # reading from a pipe would wait for ever
    return ImageFile(
        path=path,
        name=str(path.relative_to(root)),
        label=label,
        size_bytes=size_bytes,
        modified_ns=modified_ns,
        fault=fault,
    )


def _identity(folder: Path) -> tuple[int, int]:
    """Return what identifies a folder, whatever links lead to it."""
    facts = folder.stat()
    return facts.st_dev, facts.st_ino


def _entries(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as found:
            names = sorted(entry.name for entry in found)
    except OSError as error:
        raise DataError(f"cannot read {folder}: {reason_of(error)}") from error
    return [folder / name for name in names if not name.startswith(".") and name not in _NEVER]


def _folders(folder: Path) -> list[Path]:
    return [path for path in _entries(folder) if _is_folder(path)]


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except OSError:
        return False


def _misplaced(folder: Path) -> list[str]:
    """Return the names of images beside the folders of the classes."""
    return [
        path.name
        for path in _entries(folder)
        if path.suffix.lower() in ENDINGS and not _is_folder(path)
    ]
