"""Find the training, validation and test parts among the folders of a data set.

    train/…  test/…                train/…  valid/…  test/…       Training/…  Validation/…
    seg_train/seg_train/…  seg_test/seg_test/…  seg_pred/seg_pred/*.jpg

A folder is a part if a word of its name says so and it has class folders. A folder whose only
content is another folder with folders is entered.
"""

from __future__ import annotations

import logging
import os
import re
import stat
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hemline.data.custom.reading import few
from hemline.errors import DataError
from hemline.files import reason_of
from hemline.pictures.images import ENDINGS

log = logging.getLogger(__name__)

TRAIN, VALIDATION, TEST, _UNLABELLED = "training", "validation", "test", "unlabelled"
WORDS = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("val", "valid", "validation"), VALIDATION),
    **dict.fromkeys(("test", "testing"), TEST),
    **dict.fromkeys(("pred", "predict", "prediction", "unlabeled", "unlabelled"), _UNLABELLED),
}
# what file managers and archivers leave behind
_NEVER = ("__MACOSX", "Thumbs.db", "desktop.ini")
_DEEPEST = 4  # folders that are entered one in the other; a link may lead back


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Folders that have a folder for each class; None for a part that the data does not have."""

    train: Path
    validation: Path | None = None
    test: Path | None = None


def find_layout(folder: Path) -> Layout:
    """Return where the parts of a data set are. Raises DataError for a layout that is unclear."""
    root = _entered(folder)
    below = folders_in(root)
    named = _named_parts(below)
    filled = {path: _entered(path) for path in named if folders_in(path)}
    if not any(named[path] == TRAIN for path in filled):
        _require_classes(root, below, named, filled)
        return Layout(train=root)
    if surplus := [path.name for path in below if path not in named]:
        raise DataError(
            f"{root} has {few(_shown(filled))} with folders in it, and {surplus[0]}/: only "
            "training, validation and test folders can be next to each other"
        )
    parts: dict[str, list[Path]] = defaultdict(list)
    for path in named:
        if path in filled and named[path] != _UNLABELLED:
            parts[named[path]].append(path)
        elif path in filled or images_beside(path):
            log.warning("%s has no class folders: its images are ignored", path)
        elif named[path] != _UNLABELLED:
            raise DataError(f"{path} has no images: add some, or remove it")
    for role, paths in parts.items():
        if len(paths) > 1:
            raise DataError(f"{root} has several {role} parts: {few(_shown(paths))}")
    found = {role: filled[paths[0]] for role, paths in parts.items()}
    return Layout(train=found[TRAIN], validation=found.get(VALIDATION), test=found.get(TEST))


def _require_classes(
    root: Path, below: list[Path], named: dict[Path, str], filled: dict[Path, Path]
) -> None:
    """Raise DataError where folders are parts by their names, but not classes of one part."""
    if len(below) > 1 and len(named) == len(below):
        lacks = "no training part" if filled else "no class folders in them"
        raise DataError(f"{root} has {few(_shown(below))}, but {lacks}")
    names = {path.name for path in below}
    for path, inner in filled.items():
        if names & {each.name for each in folders_in(inner)}:
            raise DataError(
                f"{root} has {path.name}/ next to the class folders, with the same classes in it: "
                "move the others into train/"
            )


def _named_parts(below: list[Path]) -> dict[Path, str]:
    """Return which folders are parts by their names: of one word, or alike but for that word."""
    alike: dict[tuple[str, ...], list[tuple[Path, str]]] = defaultdict(list)
    for path in below:
        words = re.findall(r"[a-z]+", path.name.lower())
        roles = [WORDS[word] for word in words if word in WORDS]
        if len(roles) == 1:
            rest = tuple(word for word in words if word not in WORDS)
            alike[rest].append((path, roles[0]))
    return {
        path: role
        for rest, group in alike.items()
        for path, role in group
        if not rest or len({each for _, each in group}) > 1
    }


def _entered(folder: Path) -> Path:
    """Return the folder inside that has the content, where each has only one."""
    for _ in range(_DEEPEST):
        inside = folders_in(folder)
        if len(inside) != 1 or images_beside(folder) or not folders_in(inside[0]):
            break
        folder = inside[0]
    return folder


def _shown(paths: Sequence[Path] | dict[Path, Path]) -> list[str]:
    return [f"{path.name}/" for path in paths]


def entries(folder: Path) -> list[tuple[Path, os.DirEntry[str]]]:
    """Return what is in a folder, sorted, without hidden files. Raises DataError."""
    try:
        with os.scandir(folder) as found:
            shown = [each for each in found if each.name[0] != "." and each.name not in _NEVER]
    except OSError as error:
        raise DataError(f"cannot read {folder}: {reason_of(error)}") from error
    return [(folder / each.name, each) for each in sorted(shown, key=lambda each: each.name)]


def folders_in(folder: Path) -> list[Path]:
    """Return the folders in a folder, sorted."""
    return [path for path, entry in entries(folder) if is_folder(entry)]


def images_beside(folder: Path) -> list[str]:
    """Return the names of the images in a folder itself, not in folders of it."""
    return [
        path.name
        for path, entry in entries(folder)
        if path.suffix.lower() in ENDINGS and not is_folder(entry)
    ]


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry leads to a folder."""
    return stat.S_ISDIR(mode_of(entry)[0])


def mode_of(entry: os.DirEntry[str]) -> tuple[int, str]:
    """Return the mode of what an entry leads to, or 0 and why it cannot be followed."""
    try:
        if entry.is_file(follow_symlinks=False):  # its folder says so
            return stat.S_IFREG, ""
        return entry.stat().st_mode, ""
    except OSError as error:  # a link that leads nowhere, or to itself
        return 0, reason_of(error)
