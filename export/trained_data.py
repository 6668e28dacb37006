"""Find the images that a model is calibrated and evaluated on, and how they are split."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hemline.contract.card import Card, Split
from hemline.data.datasets import DATASETS, Images
from hemline.data.fetch import FetchOptions, load_images
from hemline.data.splits import held_out_split, validation_size
from hemline.errors import DataError, UsageError, remedy
from hemline.export.user_images import GENERATED, user_images


def trained_images(card: Card, options: FetchOptions, *, checkpoint: Path) -> Images:
    """Return the images that a checkpoint was trained on, read as they were then.

    A model that was not trained here has none of its own: it takes those that `options` name, else
    generated ones. A card does not say where a custom data set is, since checkpoints travel. Raises
    UsageError when none is named, and for options that are not the card's; DataError as load_images
    does.
    """
    if card.training is None:
        return user_images(card.model, options)
    model, dataset = card.model, card.training.dataset
    if dataset not in DATASETS:
        options = options.with_class_names(model.labels)
    if options.custom is None:
        if dataset in DATASETS:
            return load_images(dataset, options)
        what = f"trained on a custom data set, {dataset}"
        raise UsageError(f"{checkpoint} was {what}", remedy=remedy("name the images"))
    options = options.for_model(model.shape, str(checkpoint), card.training.data_sha256)
    images = load_images(dataset, options)
    if len(images.dataset.labels) != len(model.labels):
        return images  # other data, which its hash tells
    return replace(images, dataset=replace(images.dataset, labels=model.labels))


def require_trained_on(card: Card, images: Images, *, checkpoint: Path) -> None:
    """Raise DataError when a checkpoint was trained on other images than these.

    Of a model that was not trained here only the labels can be compared.
    """
    if card.training is None:
        if images.dataset.labels != card.model.labels:
            raise DataError(f"{images.source} has other classes than the model {checkpoint}")
        return
    if card.training.data_sha256 != images.sha256:
        dataset = card.training.dataset
        known = dataset in DATASETS
        raise DataError(
            f"{checkpoint} was trained on other {f'{dataset} files' if known else 'images'} than "
            f"those in {images.source}",
            remedy=remedy("name the right images", what="folder" if known else dataset),
        )


def parts_line(card: Card, images: Images) -> str:
    """Return how many images of a model that was not trained here each part has."""
    held_out = len(split_of(card, images).validation_indices)
    train, test = len(images.train_images), len(images.test_images)
    classes = "" if images.labelled else "; without classes, only agreement is checked"
    return (
        f"{images.source}: {train + test:,} images: {train - held_out:,} for calibration, "
        f"{held_out:,} for validation, {test:,} for test{classes}"
    )


def split_of(card: Card, images: Images) -> Split:
    """Return the split that a model was trained with; else one that holds out a fifth at most.

    Of generated images, which nothing is calibrated on, all are for validation.
    """
    if card.training is not None:
        return card.training.split
    count = len(images.train_images)
    if images.dataset.name != GENERATED:
        count = validation_size(count)
    return held_out_split(images, validation=count)
