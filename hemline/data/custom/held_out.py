"""Labelled images of a model that was not trained on them: all of them, by the model's labels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from hemline.data.custom.reading import few
from hemline.data.datasets import Images
from hemline.errors import DataError, remedy


def held_out(images: Images) -> Images:
    """Return a custom data set with all of its images for test, unless it has a test part itself.

    The first 15 % of each class are for test where a model is trained on the others: one that was
    trained elsewhere has seen none of them.
    """
    if not images.test_indices:
        return images
    return replace(
        images,
        train_images=images.train_images[:0],
        train_labels=images.train_labels[:0],
        train_names=(),
        test_images=np.concatenate([images.test_images, images.train_images]),
        test_labels=np.concatenate([images.test_labels, images.train_labels]),
        test_names=(*images.test_names, *images.train_names),
        test_indices=(),
        validation_indices=(),
    )


def with_labels_of(images: Images, labels: tuple[str, ...]) -> Images:
    """Return images with their classes numbered as in `labels`, of a model: by name.

    The images may be of some of the classes only. Numbered classes, as those of an array without
    names, stand for the labels in their order. Raises DataError for a class that is not among the
    labels, or that stands for several.
    """
    own = images.dataset.labels
    if own == labels:
        return images
    named = replace(images, dataset=replace(images.dataset, labels=labels))
    if own == tuple(map(str, range(len(labels)))):
        return named
    if strange := [label for label in own if labels.count(label) != 1]:
        raise DataError(
            f"the classes in {images.source} are {few(own, 3)} ({len(own)} classes), those of the "
            f"model {few(labels, 3)} ({len(labels)} classes): {few(strange, 3)} cannot be matched",
            remedy=remedy("name other data"),
        )
    numbers = [labels.index(label) for label in own]
    order: npt.NDArray[Any] = np.array(numbers, np.uint8 if len(labels) <= 1 << 8 else np.uint16)
    return replace(
        named,
        train_labels=order[images.train_labels],
        test_labels=order[images.test_labels],
    )
