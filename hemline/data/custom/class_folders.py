"""List the images of a folder that has a folder for each class.

    flowers/daisy/…  flowers/rose/…              the test part is split off
    flowers/train/daisy/…  flowers/test/daisy/…  the data has a test part (folder_layout.py)

Folders inside a class belong to it. Names that begin with a dot, and files without the suffix of an
image, are ignored; images of a format that is not read (HEIC) count as files that cannot be read.
"""

from __future__ import annotations

import logging
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from hemline.data.custom.folder_layout import (
    entries,
    find_layout,
    folders_in,
    images_beside,
    mode_of,
)
from hemline.data.custom.reading import counted, few, require_labels, shown
from hemline.errors import DataError
from hemline.pictures.foreign_formats import FOREIGN_ENDINGS, unread
from hemline.pictures.images import photographs, read_picture, read_size
from hemline.pictures.pixels import Pixels

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFile:
    """One file of a class.

    name: path inside the folder, for texts and the cache.
    label: number of the class.
    fault: why it cannot be read; empty if no reason is known.
    """

    path: Path
    name: str
    label: int
    fault: str = ""

    def picture(
        self, side: int = 0, place: Pixels | None = None, content: bytes | None = None
    ) -> Pixels:
        """Return the pixels as read_picture does; raises DataError."""
        self._require_whole()
        return read_picture(self.path, side, place, content)

    def size(self) -> tuple[int, int]:
        """Return (height, width); raises DataError."""
        self._require_whole()
        return read_size(self.path)

    def _require_whole(self) -> None:
        if self.fault:
            raise DataError(self.fault)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The images of a folder, in the order of classes and names.

    labels: names of the classes, sorted.
    files: of the training part, then of the validation part, then of the test part.
    test_from: position of the first file of the test part; None if the data has none.
    validation_from: the same of the validation part.
    """

    folder: Path
    labels: tuple[str, ...]
    files: tuple[ImageFile, ...]
    test_from: int | None
    validation_from: int | None = None


def list_folder(folder: Path) -> Listing:
    """Return the images of a folder. Raises DataError when it does not have a folder per class."""
    layout = find_layout(folder)
    train = layout.train
    classes = folders_in(train)
    labels = tuple(path.name for path in classes)
    if not labels:
        raise DataError(
            f"{train} has no class folders: put the images of each class into a folder named "
            "after it"
        )
    require_labels(labels, where=str(train))
    others = images_beside(folder)
    files = _listed(folder, classes, labels, others)
    present = {file.label for file in files}
    if missing := [label for at, label in enumerate(labels) if at not in present]:
        raise DataError(f"{train} has no images in {few(missing)}: add some, or remove the folder")
    starts: list[int | None] = []
    for part in (layout.validation, layout.test):
        starts.append(None if part is None else len(files))
        if part is not None:
            files += _part(folder, part, labels, others, train)
    if others:
        what = "ignored because of their file names"
        count = counted(len(others), "file")
        log.warning("%s: %s: %s, such as %s", folder, what, count, shown(others[0]))
    return Listing(
        folder=folder,
        labels=labels,
        files=tuple(files),
        validation_from=starts[0],
        test_from=starts[1],
    )


def images_in(folder: Path, others: list[str] | None = None) -> tuple[ImageFile, ...]:
    """Return the images of a folder and below, each of class 0; add other files to `others`."""
    return tuple(_files(folder, folder, 0, [] if others is None else others, seen=set()))


def _part(
    root: Path, part: Path, labels: tuple[str, ...], others: list[str], train: Path
) -> list[ImageFile]:
    """Return the images of a validation or test part, which may lack classes."""
    classes = folders_in(part)
    if foreign := [path.name for path in classes if path.name not in labels]:
        raise DataError(f"{part} has classes that {train} does not have: {few(foreign)}")
    files = _listed(root, classes, labels, others)
    if not files:
        raise DataError(f"{part} has no images: add some, or remove it")
    return files


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
    found, inside = entries(folder), "" if folder == root else f"{folder.relative_to(root)}{os.sep}"
    images = {*map(id, photographs([path for path, _ in found]))}  # a path takes long to hash
    for path, entry in found:
        mode, fault = mode_of(entry)
        if stat.S_ISDIR(mode):
            files += _files(root, path, label, others, seen)
            continue
        name = inside + path.name
        if id(path) not in images:
            others.append(name)
            continue
        if not fault and not stat.S_ISREG(mode):
            fault = "not a file"  # reading from a pipe would wait for ever
        elif path.suffix.lower() in FOREIGN_ENDINGS:
            fault = fault or unread(FOREIGN_ENDINGS[path.suffix.lower()])
        files.append(ImageFile(path=path, name=name, label=label, fault=fault))
    return files


def _identity(folder: Path) -> tuple[int, int]:
    """Return what identifies a folder, whatever links lead to it."""
    facts = folder.stat()
    return facts.st_dev, facts.st_ino
