"""Whether two bundles were judged on the same labelled images: only then are they compared."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hemline.bench.measuring.subject import Subject
from hemline.contract.evaluation_set import FOLDER, load_labels, load_split
from hemline.data.custom.held_out import plain_name
from hemline.errors import UsageError, remedy
from hemline.pictures.scaling import area, scaled

_IMAGES, _LABELS = f"{FOLDER}/test-images.npy", f"{FOLDER}/test-labels.npy"
_SAMPLE = 64  # images that are compared where the models see other sizes
_SIDE = 8  # pixels: what is left of an image in two sizes is alike at this one
_ALIKE = 0.9  # correlation; images of one class but not the same ones have 0.2 … 0.6


def require_same_images(subjects: Sequence[Subject]) -> None:
    """Raise UsageError unless all bundles were judged on the same images, in the same order.

    Each model may see them at its own size and channels, and may number the classes in its own way.
    Where no image has labels nothing was judged, and latencies can be compared.
    """
    first, *others = subjects
    for other in others:
        if not _same(first, other):
            raise UsageError(
                f"{first.bundle} was verified on {_described(first)}, {other.bundle} on other "
                f"images ({_described(other)})",
                remedy=remedy("one image set", bundle=first.bundle),
            )


def _same(first: Subject, other: Subject) -> bool:
    classes, other_classes = _classes(first), _classes(other)
    if classes is None or other_classes is None:
        return classes is other_classes
    hashes, other_hashes = (each.manifest.evaluation_sha256 for each in (first, other))
    if classes != other_classes and hashes[_LABELS] != other_hashes[_LABELS]:
        return False
    return hashes[_IMAGES] == other_hashes[_IMAGES] or _alike(first, other)


def _classes(subject: Subject) -> list[str] | None:
    """Return the class name of each test image; None where they have no labels."""
    manifest = subject.manifest
    labels = load_labels(subject.bundle, "test", manifest.evaluation_sha256)
    if labels is None:
        return None
    names = [plain_name(name) for name in manifest.labels]
    return [names[at] for at in labels]


def _alike(first: Subject, other: Subject) -> bool:
    """Return whether images of different sizes or channels show the same, by small copies."""
    images, other_images = _images(first), _images(other)
    if images.shape[1:] == other_images.shape[1:]:
        return False  # then their bytes would be the same
    values, other_values = _small(images).ravel(), _small(other_images).ravel()
    return float(np.corrcoef(values, other_values)[0, 1]) >= _ALIKE


def _small(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return gray copies of some images, less their mean, float32 (n, 8, 8)."""
    picked = images[:: max(1, len(images) // _SAMPLE)]
    height, width = picked.shape[1:3]
    rows, columns = area(height, _SIDE), area(width, _SIDE)
    copies = np.stack([scaled(each, rows, columns).mean(axis=2) for each in picked])
    return np.asarray(copies - copies.mean(axis=0), np.float32)


def _images(subject: Subject) -> npt.NDArray[np.uint8]:
    return load_split(subject.bundle, "test", subject.manifest.evaluation_sha256).images


def _described(subject: Subject) -> str:
    return f"{len(_images(subject)):,} images of {subject.manifest.dataset}"
