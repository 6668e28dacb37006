"""Put custom images into one order, split off a test part, and warn of duplicates.

The order is that of a hash of each image's content in its own size. It is as good as shuffled (the
first images are of every class), and the same for the same images, whatever their file names and
the size that a model reads them in: all models hold out the same ones. The test part is the
first share of each class in that order: its images stay in it when others are added, and copies of
one image are never in both parts.
"""

from __future__ import annotations

import bisect
import hashlib
import itertools
import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from hemline.data.custom.reading import CustomImages, ReadOptions, counted, few, shown
from hemline.data.datasets import Dataset, Images, Pixels, array_sha256, image_hashes
from hemline.data.image_rows import ImageRows, joined, selected
from hemline.errors import DataError

log = logging.getLogger(__name__)

_FEWEST_OTHERS, _OTHERS_SHARE = 100, 4  # images that are not for test, or one in four
TEST_SHARE = 0.15  # of each class, for data without a test part
_CROSSING = "in several classes"
_LEAKING = "in the training and in the test part, which overstates the test accuracy"
_VALIDATED = "in the validation and another part, which overstates the validation accuracy"
_REPEATED = "present several times"
_FEWEST_UNLABELLED = 8  # different images: some for calibration, validation and test each


def with_test_part(
    found: CustomImages, dataset: Dataset, *, source: str, reading: ReadOptions
) -> Images:
    """Return custom images in their order, with a test part.

    Raises DataError for a class of fewer different images than `reading` asks for. Warns of images
    in several classes or in both parts.
    """
    found = _hashed(found)
    _require_enough(found, found.digests[: found.ends[1]], source, reading.fewest)
    _warn_of_duplicates(found, found.digests, source)
    images = _in_order(found, _keys(found), dataset, source)
    if reading.known_sha256 not in (None, images.sha256):
        return _as_known(images, found, dataset, source, reading.known_sha256)
    return images


def _hashed(found: CustomImages) -> CustomImages:
    """Return images with the hash of each."""
    digests = found.digests or tuple(digest.hex() for digest in image_hashes(found.images))
    return replace(found, digests=digests)


def _as_known(
    images: Images, found: CustomImages, dataset: Dataset, source: str, known: dict[str, str] | None
) -> Images:
    """Return images in the order that an older version gave them, if they had `known` in it.

    It ordered them by another hash of their pixels in the model's size, and hashed a part whole.
    """
    keys = [hashlib.blake2b(image.tobytes(), digest_size=16).hexdigest() for image in found.images]
    older = _in_order(found, keys, dataset, source)
    parts = {
        "train": (older.train_images, older.train_labels),
        "test": (older.test_images, older.test_labels),
    }
    hashes = {
        name: array_sha256(*part, start=f"{part[0].shape}\n".encode())
        for name, part in parts.items()
    }
    return replace(older, sha256=hashes) if hashes == known else images


def _keys(found: CustomImages) -> list[str]:
    """Return what images are ordered by: copies, which may differ in other sizes, have one key."""
    least: dict[str, str] = {}
    for digest, content in zip(found.digests, found.contents or found.digests, strict=True):
        least[digest] = min(content, least.get(digest, content))
    return [least[digest] for digest in found.digests]


def _in_order(found: CustomImages, keys: Sequence[str], dataset: Dataset, source: str) -> Images:
    own, until = found.ends
    order = sorted(range(until), key=keys.__getitem__)
    split_off: list[int] = []
    if found.test_from is None:
        split_off = _test_positions(order, keys, found)
        tested = set(split_off)
        train = [each for at, each in enumerate(order) if at not in tested]
        test = [order[at] for at in split_off]
    else:
        train, test = order, sorted(range(until, len(keys)), key=keys.__getitem__)
    return replace(
        _parted(found, train, test, dataset, source),
        test_indices=tuple(split_off),
        validation_indices=tuple(at for at, each in enumerate(train) if each >= own),
    )


def _parted(
    found: CustomImages, train: list[int], test: list[int], dataset: Dataset, source: str
) -> Images:
    train_part, test_part = (
        (selected(found.images, part), found.classes[part]) for part in (train, test)
    )
    return Images(
        dataset=dataset,
        train_images=train_part[0],
        train_labels=train_part[1],
        test_images=test_part[0],
        test_labels=test_part[1],
        sha256={
            "train": _sha256(*train_part, [found.digests[at] for at in train]),
            "test": _sha256(*test_part, [found.digests[at] for at in test]),
        },
        verified=False,
        source=source,
        train_names=tuple(found.names[at] for at in train),
        test_names=tuple(found.names[at] for at in test),
    )


def with_large_test_part(images: Images) -> Images:
    """Return labelled images of a model that was trained elsewhere, most of them for test.

    Nothing is trained on them, so a quarter, or a hundred if these are more, are enough to
    calibrate on and to choose by: half each. Copies of an image stay in one part. Data with a test
    part of its own, and few images, stay as they are.
    """
    total = len(images.train_images) + len(images.test_images)
    others = max(_FEWEST_OTHERS, total // _OTHERS_SHARE)
    if not images.test_indices or images.validation_indices or others >= len(images.train_images):
        return images
    digests = np.array([digest.hex() for digest in image_hashes(images.train_images)])
    part, share = _parts(images.train_labels, digests), others / len(images.train_images)
    moved, kept = part >= share, part < share
    tested = [digest.hex() for digest in image_hashes(images.test_images)]
    pixels = joined(images.test_images, selected(images.train_images, moved))
    classes = np.concatenate([images.test_labels, images.train_labels[moved]])
    names = np.array(images.train_names, object)
    train = selected(images.train_images, kept), images.train_labels[kept]
    return replace(
        images,
        train_images=train[0],
        train_labels=train[1],
        test_images=pixels,
        test_labels=classes,
        sha256={
            "train": _sha256(*train, digests[kept].tolist()),
            "test": _sha256(pixels, classes, [*tested, *digests[moved]]),
        },
        train_names=tuple(names[kept]),
        test_names=(*images.test_names, *names[moved]),
        validation_indices=tuple(map(int, np.flatnonzero(part[kept] < share / 2))),
    )


def _parts(labels: Pixels, digests: npt.NDArray[np.str_]) -> npt.NDArray[np.float64]:
    """Return where each training image is among those of its class, 0 … 1, copies as the first."""
    part = np.empty(len(labels))
    for label in np.unique(labels):
        places = np.flatnonzero(labels == label)
        part[places] = np.arange(len(places)) / len(places)
    _, firsts, copies = np.unique(digests, return_index=True, return_inverse=True)
    return part[firsts][copies]


def with_test_share(found: CustomImages, dataset: Dataset, *, source: str) -> Images:
    """Return custom images without labels in their order, each once, with a test part."""
    found = _hashed(found)
    different = {key: at for at, key in enumerate(_keys(found))}
    if len(different) < _FEWEST_UNLABELLED:
        raise DataError(
            f"{source} has {counted(len(different), 'different image')}: at least "
            f"{_FEWEST_UNLABELLED} are needed"
        )
    order = [different[digest] for digest in sorted(different)]
    count = max(1, round(TEST_SHARE * len(order)))
    parted = _parted(found, order[count:], order[:count], dataset, source)
    return replace(parted, labelled=False)


def _require_enough(found: CustomImages, digests: Sequence[str], source: str, fewest: int) -> None:
    different: list[set[str]] = [set() for _ in found.labels]
    for label, digest in zip(found.classes.tolist(), digests, strict=False):
        different[label].add(digest)
    scarce = [
        f"{label} ({len(each)})"
        for label, each in zip(found.labels, different, strict=True)
        if len(each) < fewest
    ]
    if scarce:
        raise DataError(
            f"{source}: each class needs at least {fewest} different training images, these have "
            f"fewer: {few(scarce)}"
        )


def _test_positions(order: list[int], keys: Sequence[str], found: CustomImages) -> list[int]:
    """Return the positions in `order` of the test part, ascending; none is a validation image."""
    own, _ = found.ends
    counts = np.bincount(found.classes[:own], minlength=len(found.labels))
    wanted = [max(1, round(TEST_SHARE * n)) for n in counts]
    classes = found.classes.tolist()
    positions: list[int] = []
    for _, copies in itertools.groupby(range(len(order)), key=lambda at: keys[order[at]]):
        group = list(copies)
        if any(order[at] >= own for at in group):
            continue
        if wanted[classes[order[group[0]]]] > 0:
            positions += group
            for at in group:
                wanted[classes[order[at]]] -= 1
    return positions


def _warn_of_duplicates(found: CustomImages, digests: Sequence[str], source: str) -> None:
    """Warn of images that occur several times: they distort accuracy."""
    places: dict[str, list[int]] = defaultdict(list)
    for at, digest in enumerate(digests):
        places[digest].append(at)
    kinds: dict[str, list[list[int]]] = {
        kind: [] for kind in (_CROSSING, _LEAKING, _VALIDATED, _REPEATED)
    }
    for group in (each for each in places.values() if len(each) > 1):
        kinds[_kind_of(group, found)].append(group)
    for what, groups in kinds.items():
        if groups:
            names = " = ".join(shown(found.names[at]) for at in groups[0][:2])
            count = counted(len(groups), "image")
            log.warning("%s: %s: %s, such as %s", source, what, count, names)


def _kind_of(copies: list[int], found: CustomImages) -> str:
    """Return how the copies of one image distort accuracy most."""
    if len({int(found.classes[each]) for each in copies}) > 1:
        return _CROSSING
    parts = {bisect.bisect_right(found.ends, at) for at in copies}  # 0 to train on, 2 for test
    return _LEAKING if {0, 2} <= parts else _VALIDATED if len(parts) > 1 else _REPEATED


def _sha256(images: ImageRows, classes: Pixels, digests: Sequence[str]) -> str:
    """Return the SHA-256 of shape, hash of each image, and classes."""
    facts = "\n".join([str(images.shape), *digests, ""])
    return array_sha256(classes, start=facts.encode())
