"""Hold out some training images for validation, the same ones for everything that is trained."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from hemline.contract.card import Split
from hemline.data.datasets import Images, Pixels, array_sha256, image_hashes
from hemline.data.image_rows import ImageRows, selected
from hemline.errors import DataError

_VALIDATION_IMAGES, _LARGEST_SHARE = 5000, 5  # held out, and at most one image in five
_SPLIT_SEED = 20_170_831  # one split for every seed of training, so that runs can be compared


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingData:
    """The training and validation parts: images uint8 (n, h, w, c), labels uint8 (n,)."""

    train_images: ImageRows
    train_labels: Pixels
    validation_images: ImageRows
    validation_labels: Pixels
    split: Split

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return (height, width, channels) of an image."""
        _, height, width, channels = self.train_images.shape
        return height, width, channels


def validation_size(total: int, wanted: int = _VALIDATION_IMAGES) -> int:
    """Return how many of `total` training images to hold out: `wanted`, at most a fifth."""
    return max(1, min(wanted, total // _LARGEST_SHARE))


def require_room(images: Images, *, validation: int, limit: int | None = None) -> int:
    """Return how many of the training images are used; raise DataError for too few."""
    total = min(limit or len(images.train_images), len(images.train_images))
    classes = len(images.dataset.labels)
    least = 1 if images.validation_indices else classes
    if not least <= validation < total:
        why = (
            "none would be left for training"
            if validation >= total
            else f"there are {classes} classes"
        )
        raise DataError(f"{validation} validation images cannot be held out of {total}: {why}")
    return total


def held_out_split(images: Images, *, validation: int) -> Split:
    """Hold out images of a model that was not trained here, which may have seen all of them.

    Stratified by class where each class has images for that; drawn at random otherwise, and where
    the classes are not known.
    """
    total = len(images.train_images)
    counts = np.bincount(images.train_labels, minlength=len(images.dataset.labels))
    whole = len(counts) <= validation and counts.min() >= 2
    if images.labelled and whole and not images.validation_indices:
        return split_images(images, validation=validation).split
    held_out = np.asarray(images.validation_indices, np.intp)
    if not len(held_out):
        held_out = np.sort(np.random.default_rng(_SPLIT_SEED).permutation(total)[:validation])
    return _parted(images, held_out, total).split


def split_images(images: Images, *, validation: int, limit: int | None = None) -> TrainingData:
    """Hold out `validation` of the first `limit` training images, stratified by class.

    Data with a validation part of its own is split by that, whatever `validation` is.
    Raises DataError when there are too few images for that, or none of a class.
    """
    from sklearn.model_selection import train_test_split  # here, as it takes half a second to load

    total = require_room(images, validation=validation, limit=limit)
    labels = images.dataset.labels
    counts = np.bincount(images.train_labels[:total], minlength=len(labels))
    if without := [label for label, count in zip(labels, counts, strict=True) if not count]:
        raise DataError(
            f"{images.source}: no {without[0]!r} among the {total} training images: a model "
            "cannot learn it"
        )
    if images.validation_indices:
        held_out = own_validation(images, total)
        return _parted(images, held_out, total)
    positions = np.arange(total)
    try:
        _, held_out = train_test_split(
            positions,
            test_size=validation,
            stratify=images.train_labels[:total],
            random_state=_SPLIT_SEED,
        )
    except ValueError as error:  # a class with too few images on one side
        raise DataError(
            f"{validation} stratified validation images cannot be held out of {total} ({error})"
        ) from error
    return _parted(images, np.sort(held_out), total)


def fold_images(images: Images, folds: int) -> Iterator[Images]:
    """Yield the training images `folds` times, each time with other ones as the test part.

    Stratified by class; copies of an image stay together. Raises DataError for too few of a class.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    pixels, labels = images.train_images, images.train_labels
    _, groups = np.unique([each.hex() for each in image_hashes(pixels)], return_inverse=True)
    for label, name in enumerate(images.dataset.labels):
        if (count := len(np.unique(groups[labels == label]))) < folds:
            raise DataError(f"{folds} folds need as many images of each class: {name} has {count}")
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=_SPLIT_SEED)
    for kept, held_out in splitter.split(labels, labels, groups):
        yield replace(
            images,
            train_images=(train := selected(pixels, kept)),
            train_labels=labels[kept],
            test_images=(test := selected(pixels, held_out)),
            test_labels=labels[held_out],
            sha256={"train": array_sha256(train), "test": array_sha256(test)},
            test_indices=tuple(map(int, held_out)),
            validation_indices=(),
        )


def own_validation(images: Images, total: int) -> npt.NDArray[np.intp]:
    """Return the data's own validation images among the first `total`; empty if it has none."""
    indices = np.asarray(images.validation_indices, np.intp)
    return indices[indices < total]


def _parted(images: Images, held_out: npt.NDArray[np.intp], total: int) -> TrainingData:
    training = np.setdiff1d(np.arange(total), held_out)
    pixels = selected(images.train_images, held_out)
    return TrainingData(
        train_images=selected(images.train_images, training),
        train_labels=images.train_labels[training],
        validation_images=pixels,
        validation_labels=images.train_labels[held_out],
        split=Split(
            seed=_SPLIT_SEED,
            limit=None if total == len(images.train_images) else total,
            validation_indices=tuple(int(index) for index in held_out),
            validation_sha256=array_sha256(pixels),
            test_indices=images.test_indices,
        ),
    )
