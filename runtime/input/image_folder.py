"""List the image files of folders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from hemline.pictures.images import photographs


def image_files(paths: Sequence[str]) -> Iterator[str]:
    """Yield files as they are named, and the images in folders and below, sorted, without hidden.

    Photographs of a format that is not read (HEIC) are among them, unless another file of the same
    name is. A folder without images is yielded itself.
    """
    for name in paths:
        folder = Path(name)
        if not folder.is_dir():
            yield name
            continue
        found = [path for path in sorted(folder.rglob("*")) if _is_shown(path, folder)]
        yield from [str(path) for path in photographs(found)] or [name]


def _is_shown(path: Path, folder: Path) -> bool:
    return path.is_file() and not any(x[0] == "." for x in path.relative_to(folder).parts)
