"""Count the images of each class, and warn where they are too few or too unequal."""

from __future__ import annotations

import logging

import numpy as np

from hemline.data.custom.reading import counted, few, shown
from hemline.data.datasets import Images

log = logging.getLogger(__name__)

_LISTED = 12  # classes that a line counts each
_FEW = 20  # images: of fewer, a test part of 15 % has 2 or less
_UNEQUAL = 10  # the largest class has so many times the images of the smallest


def class_counts(images: Images) -> dict[str, int]:
    """Return label to the number of its training, validation and test images together."""
    labels = images.dataset.labels
    together = np.concatenate([images.train_labels, images.test_labels])
    counts = np.bincount(together, minlength=len(labels))
    return dict(zip(labels, map(int, counts), strict=True))


def counts_line(images: Images) -> str:
    """Return one line with the images of each class, or of the smallest and largest of many."""
    counts = class_counts(images)
    if len(counts) <= _LISTED:
        return "images per class: " + ", ".join(f"{shown(k)} {v:,}" for k, v in counts.items())
    least, most = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
    return (
        f"images per class: {counts[least]:,} ({shown(least)}) to {counts[most]:,} ({shown(most)})"
    )


def warn_of_counts(images: Images) -> None:
    """Warn of classes with few images, of unequal classes and of those that are not tested."""
    counts = class_counts(images)
    source, labels = images.source, images.dataset.labels
    if scarce := [f"{label} ({count})" for label, count in counts.items() if count < _FEW]:
        log.warning(
            "%s: classes with under %d images: %s: a model learns little about them, and their "
            "accuracy is uncertain; collect more images",
            source, _FEW, few(scarce),
        )  # fmt: skip
    least, most = min(counts.values()), max(counts.values())
    if most >= _UNEQUAL * least:
        log.warning(
            "%s: the largest class has %s, the smallest %s: a model may neglect small classes and "
            "still have a high accuracy; check the accuracy of each class, or train with balanced "
            "weights",
            source, counted(most, "image"), counted(least, "image"),
        )  # fmt: skip
    tested = np.bincount(images.test_labels, minlength=len(labels))
    if untested := [label for label, n in zip(labels, tested, strict=True) if not n]:
        log.warning("%s: the test part has no images of %s", source, few(untested))
