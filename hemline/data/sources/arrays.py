"""Read the images of an .npz or of IDX files one after the other."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hemline.data.custom.array_file import PARTS, class_names_in, image_shape, pixels_of
from hemline.data.custom.npz_archive import Archive
from hemline.data.datasets import parse_idx, read_file
from hemline.data.sources.items import Item
from hemline.errors import DataError


def read_npz(path: Path, name: str) -> Iterator[Item]:
    """Yield the images of an .npz, in constant memory. Raises DataError for other arrays."""
    with Archive(path) as archive:
        pairs = [pair for pair in PARTS if pair[0] in archive.names]
        if not pairs:
            raise DataError(f"{path} has no array of images x, x_train or x_test")
        classes = class_names_in(archive) or ()
        for x, y in pairs:
            image_shape(archive, x)
            found = archive.read(y).reshape(-1).tolist() if y in archive.names else []
            labels = [_label(each, classes) for each in found] if classes else found
            images, start = itertools.chain.from_iterable(pixels_of(archive, x)), f"{name}/{x}/"
            for at, (image, label) in enumerate(itertools.zip_longest(images, labels)):
                if image is None:
                    raise DataError(f"{path}: {y} has more classes than {x} has images")
                yield Item(f"{start}{at}", image, label)


def _label(value: Any, classes: Sequence[str]) -> Any:
    known = isinstance(value, int) and 0 <= value < len(classes)
    return classes[value] if known else value


def read_idx_images(path: Path, name: str) -> Iterator[Item]:
    """Yield the images of an IDX file, with the classes in the file of labels beside it."""
    images = parse_idx(read_file(path), where=str(path))
    plain = path.name.removesuffix(".gz").replace("images", "labels")
    plain = plain.replace("idx3", "idx1").replace("idx4", "idx1")
    beside = [
        each for each in (path.with_name(plain), path.with_name(f"{plain}.gz")) if each.exists()
    ]
    labels = parse_idx(read_file(beside[0]), where=str(beside[0])).tolist() if beside else None
    if labels is not None and len(labels) != len(images):
        raise DataError(f"{path} has {len(images)} images, but {beside[0]} {len(labels)} labels")
    for at, image in enumerate(images):
        yield Item(f"{name}/{at}", image, None if labels is None else labels[at])
