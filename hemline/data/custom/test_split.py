"""Bring the user's images into one order, draw a test part, and tell of copies.

The order is that of a hash of each image's content. So it is as good as shuffled (the first so many
are of every class), and the same for the same images, whatever their files are called. The test
part is the first share of each class in that order: the same images stay in it when others are
added, and copies of one image never lie on both sides.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from hemline.data.custom.reading import Found, counted, few, shown
from hemline.data.datasets import Dataset, Images, Pixels, image_hashes
from hemline.errors import DataError

log = logging.getLogger(__name__)

TEST_SHARE = 0.15  # of each class, where the data has no test part of its own
_CROSSING = "in several classes"
_STRADDLING = "in the training and in the test part, which flatters the test accuracy"
_REPEATED = "there several times"
_FEWEST = 3  # different images of a class: one for training, validation and test each


def as_images(found: Found, dataset: Dataset, *, source: str) -> Images:
    """Return the user's images in their order, with a test part.

    Raises DataError for a class of too few different images. Images that lie in several classes or
    in both parts are told of.
    """
    digests = list(image_hashes(found.images))
    until = len(digests) if found.test_from is None else found.test_from
    _require_enough(found, digests[:until], source)
    _tell_of_copies(found, digests, until, source)
    order = sorted(range(until), key=digests.__getitem__)
    drawn: list[int] = []
    if found.test_from is None:
        drawn = _drawn(order, digests, found.classes, len(found.labels))
        taken = set(drawn)
        train = [each for at, each in enumerate(order) if at not in taken]
        test = [order[at] for at in drawn]
    else:
        train, test = order, sorted(range(until, len(digests)), key=digests.__getitem__)
    parts = {"train": train, "test": test}
    images = {name: found.images[at] for name, at in parts.items()}
    classes = {name: found.classes[at] for name, at in parts.items()}
    return Images(
        dataset=dataset,
        train_images=images["train"],
        train_labels=classes["train"],
        test_images=images["test"],
        test_labels=classes["test"],
        sha256={name: _sha256(images[name], classes[name]) for name in parts},
        verified=False,
        source=source,
        test_indices=tuple(drawn),
        train_names=tuple(found.names[at] for at in train),
        test_names=tuple(found.names[at] for at in test),
    )


def _require_enough(found: Found, digests: Sequence[bytes], source: str) -> None:
    different: list[set[bytes]] = [set() for _ in found.labels]
    for label, digest in zip(found.classes, digests, strict=False):
        different[label].add(digest)
    scarce = [
        f"{label} ({len(each)})"
        for label, each in zip(found.labels, different, strict=True)
        if len(each) < _FEWEST
    ]
    if scarce:
        raise DataError(
            f"{source}: each class needs at least {_FEWEST} different images to train on, and of "
            f"these there are fewer: {few(scarce)}"
        )


def _drawn(order: list[int], digests: list[bytes], classes: Pixels, count: int) -> list[int]:
    """Return positions in `order` that make the test part, ascending."""
    wanted = [max(1, round(TEST_SHARE * n)) for n in np.bincount(classes, minlength=count)]
    drawn: list[int] = []
    for _, copies in itertools.groupby(range(len(order)), key=lambda at: digests[order[at]]):
        group = list(copies)
        if wanted[classes[order[group[0]]]] > 0:
            drawn += group
            for at in group:
                wanted[classes[order[at]]] -= 1
    return drawn


def _tell_of_copies(found: Found, digests: list[bytes], until: int, source: str) -> None:
    """Warn of images that are there several times: they spoil what training is judged by."""
    places: dict[bytes, list[int]] = defaultdict(list)
    for at, digest in enumerate(digests):
        places[digest].append(at)
    kinds: dict[str, list[list[int]]] = {_CROSSING: [], _STRADDLING: [], _REPEATED: []}
    for group in (each for each in places.values() if len(each) > 1):
        crosses = len({int(found.classes[each]) for each in group}) > 1
        straddles = group[0] < until <= group[-1]
        kinds[_CROSSING if crosses else _STRADDLING if straddles else _REPEATED].append(group)
    for what, groups in kinds.items():
        if groups:
            names = " = ".join(shown(found.names[at]) for at in groups[0][:2])
            count = counted(len(groups), "image")
            log.warning("%s: %s: %s, such as %s", source, what, count, names)


def _sha256(images: Pixels, classes: Pixels) -> str:
    """Return the SHA-256 of shape, pixels and classes."""
    digest = hashlib.sha256(f"{images.shape}\n".encode())
    digest.update(np.ascontiguousarray(images).data)
    digest.update(np.ascontiguousarray(classes).data)
    return digest.hexdigest()
