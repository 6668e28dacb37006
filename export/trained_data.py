"""Find the data that a checkpoint was trained on, and know it again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hemline.contract.card import Card
from hemline.data.datasets import DATASETS, Images
from hemline.data.fetch import FetchOptions, load_images
from hemline.errors import DataError, UsageError


def trained_images(card: Card, options: FetchOptions, *, checkpoint: Path) -> Images:
    """Return the images that a checkpoint was trained on, read as they were then.

    A card does not say where a custom data set is, since checkpoints travel. Raises UsageError when
    none is named, and for options that are not the card's; DataError as load_images does.
    """
    custom = options.custom is not None
    if card.dataset not in DATASETS and not custom:
        raise UsageError(
            f"{checkpoint} was trained on a custom data set, {card.dataset}: name its folder or "
            "its .npz with --data"
        )
    if not custom:
        return load_images(card.dataset, options)
    size, channels = options.reading.size, options.reading.channels
    if size not in (None, card.shape[:2]) or channels not in (None, card.channels):
        raise UsageError(
            f"{checkpoint} takes images of {card.height}x{card.width} with {card.channels} "
            "channels: leave --image-size and --channels out"
        )
    # broken files that were skipped then are so again; others change the hash
    reading = replace(
        options.reading, size=card.shape[:2], channels=card.channels, skip_broken=True
    )
    images = load_images(card.dataset, replace(options, reading=reading))
    if len(images.dataset.labels) != len(card.labels):
        return images  # other data, which its hash tells
    return replace(images, dataset=replace(images.dataset, labels=card.labels))


def require_trained_on(card: Card, images: Images, *, checkpoint: Path) -> None:
    """Raise DataError when a checkpoint was trained on other images than these."""
    if card.data_sha256 != images.sha256:
        what = f"{card.dataset} files" if card.dataset in DATASETS else "images"
        raise DataError(
            f"{checkpoint} was trained on other {what} than those in {images.source}: name the "
            f"right {'folder' if card.dataset in DATASETS else card.dataset} with --data"
        )
