"""The images that a model made elsewhere is calibrated and evaluated on."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from hemline.contract.card import ModelCard
from hemline.data.custom.held_out import plain_name, with_labels_of
from hemline.data.custom.loading import is_unlabelled, load_unlabelled
from hemline.data.custom.test_split import with_large_test_part
from hemline.data.datasets import DATASETS, Dataset, Images, array_sha256
from hemline.data.fetch import FetchOptions, load_images
from hemline.errors import DataError, UsageError, remedy
from hemline.pictures.generated import varied_images

GENERATED = "generated"  # name of the data set
_GENERATED_IMAGES = 64  # for validation, and as many for test


def user_images(model: ModelCard, options: FetchOptions) -> Images:
    """Return the images that a user names, at the model's size, with classes in its order.

    Images without labels have none here either; without data they are generated. Raises UsageError
    for another size or number of channels than the model's, DataError for classes that the model
    does not have.
    """
    if options.folder is None:
        return _generated(model)
    images = read_images(model.shape, options)
    if not images.labelled:
        _require_several_classes(options.folder, model)
        return replace(images, dataset=replace(images.dataset, labels=model.labels))
    return with_labels_of(images, model.labels)


def _require_several_classes(folder: Path, model: ModelCard) -> None:
    """Raise UsageError for the folder of one class of the model, beside those of others."""
    classes, whole = {plain_name(label) for label in model.labels}, folder.resolve()
    if not folder.is_dir() or plain_name(whole.name) not in classes:
        return
    beside = [each for each in whole.parent.iterdir() if plain_name(each.name) in classes]
    if len(beside) > 1:
        what = f"{folder} has the images of one class, {whole.name}"
        raise UsageError(what, remedy=remedy("all classes", folder=str(folder.parent)))


def read_images(shape: tuple[int, int, int], options: FetchOptions) -> Images:
    """Return the images that a user names at (height, width, channels), with their own labels.

    Raises UsageError for another size or number of channels, DataError for images that cannot be
    read.
    """
    options = options.for_model(shape)
    if options.custom is None:
        return _published(shape, options)
    if is_unlabelled(options.custom):
        return load_unlabelled(options.custom, options.reading, cache=options.decoded)
    return with_large_test_part(load_images("", options))


def _published(shape: tuple[int, int, int], options: FetchOptions) -> Images:
    """Return the IDX files in a folder: of a published data set, or with numbered classes."""
    images = _of_any_dataset(options)
    if images.train_images.shape[1:] != shape:
        raise DataError(
            f"{options.folder} has images of {images.train_images.shape[1:]}, the model takes "
            f"{shape}"
        )
    official = {file.sha256 for file in images.dataset.files}
    if official & set(images.sha256.values()):
        return images
    numbered = tuple(map(str, range(len(images.dataset.labels))))
    return replace(images, dataset=replace(images.dataset, labels=numbered))


def _of_any_dataset(options: FetchOptions) -> Images:
    for name in tuple(DATASETS)[:-1]:
        with contextlib.suppress(DataError):  # it holds the files of another one
            return load_images(name, options)
    return load_images(tuple(DATASETS)[-1], options)


def _generated(model: ModelCard) -> Images:
    drawn = varied_images(model.shape, 2 * _GENERATED_IMAGES)
    train, test = drawn[:_GENERATED_IMAGES], drawn[_GENERATED_IMAGES:]
    none = np.zeros(_GENERATED_IMAGES, np.uint8)
    return Images(
        dataset=Dataset(name=GENERATED, title="generated images", labels=model.labels),
        train_images=train,
        train_labels=none,
        test_images=test,
        test_labels=none,
        sha256={"train": array_sha256(train), "test": array_sha256(test)},
        verified=False,
        source="generated images",
        labelled=False,
    )
