"""Labelled images of a model that was not trained on them: all of them, by the model's labels."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hemline.contract.evaluation_set import load_split
from hemline.contract.manifest import MANIFEST_NAME, read_manifest
from hemline.contract.specs import InputSpec
from hemline.data.custom.decoding import each
from hemline.data.custom.reading import ReadOptions, few
from hemline.data.datasets import DATASETS, Dataset, Images
from hemline.data.fetch import FetchOptions, load_images
from hemline.data.image_rows import joined, selected
from hemline.errors import DataError, remedy
from hemline.pictures.preprocessing import model_pixels


def labelled_images(path: Path, shape: tuple[int, int, int], labels: tuple[str, ...]) -> Images:
    """Return the user's images for a model: all as test images, or their test part.

    `path` may be a bundle: then they are its test images. They are brought to `shape` (height,
    width, channels), and their classes to the order of `labels`. Raises DataError for those that do
    not fit.
    """
    if (path / MANIFEST_NAME).exists():
        return with_labels_of(_images_of_bundle(path, shape), labels)
    reading = ReadOptions(size=shape[:2], channels=shape[2], skip_broken=True, fewest=1)
    named = [each.name for each in DATASETS.values() if each.labels == labels]
    images = load_images((named or list(DATASETS))[0], FetchOptions(folder=path, reading=reading))
    require_size(images, shape, name="the model")
    return held_out(with_labels_of(images, labels))


def _images_of_bundle(bundle: Path, shape: tuple[int, int, int]) -> Images:
    manifest = read_manifest(bundle)
    split = load_split(bundle, "test", manifest.evaluation_sha256)
    if split.labels is None:
        raise DataError(
            f"the test images in {bundle} have no labels", remedy=remedy("name other data")
        )
    spec = InputSpec(height=shape[0], width=shape[1], channels=shape[2], dtype="uint8")
    pixels = np.stack(each(lambda image: model_pixels(image, spec, "stretch"), split.images))
    return Images(
        dataset=Dataset(name=manifest.dataset, title=manifest.dataset, labels=manifest.labels),
        train_images=pixels[:0],
        train_labels=split.labels[:0],
        test_images=pixels,
        test_labels=split.labels,
        sha256={},
        verified=False,
        source=str(bundle),
    )


def require_size(images: Images, shape: tuple[int, int, int], *, name: str) -> None:
    """Raise DataError unless the images are of `shape` (height, width, channels)."""
    own = images.test_images.shape[1:]
    if own != shape:
        raise DataError(
            f"{name} needs images of {shape}, but those in {images.source} are {own}",
            remedy=remedy("name other data"),
        )


def held_out(images: Images) -> Images:
    """Return a custom data set with all of its images for test, unless it has a test part itself.

    The first 15 % of each class are for test where a model is trained on the others: one that was
    trained elsewhere has seen none of them. They are in the order of their names, which is the same
    at every size.
    """
    if not images.test_indices:
        return images
    names = (*images.test_names, *images.train_names)
    order = sorted(range(len(names)), key=lambda at: names[at])
    return replace(
        images,
        train_images=images.train_images[:0],
        train_labels=images.train_labels[:0],
        train_names=(),
        test_images=selected(joined(images.test_images, images.train_images), order),
        test_labels=np.concatenate([images.test_labels, images.train_labels])[order],
        test_names=tuple(names[at] for at in order),
        test_indices=(),
        validation_indices=(),
    )


def with_labels_of(images: Images, labels: tuple[str, ...]) -> Images:
    """Return images with their classes numbered as in `labels`, of a model: by name.

    The images may be of some of the classes only. Names that differ in case, spaces, hyphens or
    underscores are matched where each fits one label alone. Numbered classes, as those of an array
    without names, stand for the labels in their order. Raises DataError for a class that is not
    among the labels, or that stands for several.
    """
    own = images.dataset.labels
    if own == labels:
        return images
    named = replace(images, dataset=replace(images.dataset, labels=labels))
    numbers = [_position(label, own, labels) for label in own]
    strange = [label for label, at in zip(own, numbers, strict=True) if at is None]
    if strange and own == tuple(map(str, range(len(own)))) and len(own) <= len(labels):
        return named
    if strange:
        raise DataError(
            f"the classes in {images.source} are {few(own, 3)} ({len(own)} classes), those of the "
            f"model {few(labels, 3)} ({len(labels)} classes): {few(strange, 3)} cannot be matched",
            remedy=remedy("other classes"),
        )
    order: npt.NDArray[Any] = np.array(numbers, np.uint8 if len(labels) <= 1 << 8 else np.uint16)
    return replace(
        named,
        train_labels=order[images.train_labels],
        test_labels=order[images.test_labels],
    )


def _position(label: str, own: tuple[str, ...], labels: tuple[str, ...]) -> int | None:
    """Return the number of the one label that a class name of `own` stands for, or None."""
    if label in labels:
        return labels.index(label) if labels.count(label) == 1 else None
    alike = [at for at, each in enumerate(labels) if plain_name(each) == plain_name(label)]
    rivals = [each for each in own if plain_name(each) == plain_name(label)]
    return alike[0] if len(alike) == len(rivals) == 1 else None


def plain_name(label: str) -> str:
    """Return a class name without what differs between data sets: case, spaces, hyphens."""
    return re.sub(r"[\s_-]+", "", label).casefold()
