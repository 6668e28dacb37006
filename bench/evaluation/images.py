"""The images that a target is evaluated on, and where they are from."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hemline.bench.evaluation.target import EvaluationTarget
from hemline.contract.card import Split
from hemline.contract.evaluation_set import SPLITS, load_split
from hemline.contract.manifest import Manifest
from hemline.data.custom.held_out import held_out, require_size, with_labels_of
from hemline.data.custom.reading import shown
from hemline.data.datasets import DATASETS, Images, array_sha256
from hemline.data.fetch import FetchOptions, load_images
from hemline.data.image_rows import ImageRows, selected
from hemline.errors import DataError, UsageError, remedy

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitImages:
    """One split: pixels uint8 (n, height, width, channels), labels uint8 (n,).

    name: validation or test.
    dataset: name of the data set; title is the same as it is written in texts.
    source: where it was read, for texts.
    path: of the pixels as .npy; None where there is no such file.
    keras_logits: of the Keras model, float32 (n, classes); None where they are not known.
    counts: name of a part of the data to its images of each class.
    notes: what a reader must know, one line each.
    files: of each image, as a path inside the data set; empty where they are not known.
    """

    name: str
    dataset: str
    title: str
    source: str
    pixels: ImageRows
    labels: Pixels
    path: Path | None = None
    keras_logits: npt.NDArray[np.float32] | None = None
    counts: dict[str, tuple[int, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    @property
    def image_names(self) -> tuple[str, ...]:
        """Return the file of each image, or its position."""
        return tuple(map(shown, self.files)) or tuple(
            f"{self.name}[{at}]" for at in range(len(self.labels))
        )

    @property
    def sha256(self) -> str:
        """Return the hash of the pixels."""
        return array_sha256(self.pixels)


Hashes = tuple[tuple[str, str], ...]  # of a data set, by file


class DataSource:
    """The data sets as the user wants them read, each of them once."""

    def __init__(self, options: FetchOptions) -> None:
        self.options = options
        self.load = functools.cache(self._load)

    def _load(
        self, name: str, shape: tuple[int, int, int], labels: tuple[str, ...], known: Hashes = ()
    ) -> Images:
        """Return a data set's arrays, custom images as they were read for training.

        They are brought to `shape` (height, width, channels), their classes to the order of
        `labels`; broken files that were left out then are left out again. Raises DataError when
        they cannot be found, or have other classes.
        """
        if self.options.folder is None and name not in DATASETS:
            raise UsageError(
                f"{name!r} is not a data set that Hemline can fetch", remedy=remedy("name the data")
            )
        asked = self.options.reading
        reading = replace(
            asked,
            size=asked.size or shape[:2],
            channels=asked.channels or shape[2],
            skip_broken=True,  # another selection than then has another hash, which is noted
            fewest=1,
            known_sha256=dict(known) or None,
        )
        # where the user's folder holds a custom data set, the name does not matter
        any_name = name if name in DATASETS else next(iter(DATASETS))
        options = replace(self.options, reading=reading)
        if name not in DATASETS:
            options = options.with_class_names(labels)
        return with_labels_of(load_images(any_name, options), labels)


def split_of(target: EvaluationTarget, name: str, data: DataSource) -> SplitImages:
    """Return the validation or test images of a target.

    Those of its bundle, unless the user names other data; else of the data set that it was trained
    on or, for a file alone, of one with its classes. Of a custom data set that it was not trained
    on, all images are test images; of an imported model, validation images as well. Raises
    DataError when the classes or sizes differ, and when the validation images of the training are
    not in the data.
    """
    manifest = target.manifest
    if manifest is not None and data.options.folder is None:
        return _split_of_bundle(target, manifest, name)
    training = None if target.card is None else target.card.training
    known = training or manifest
    dataset = _dataset(target, data) if known is None else known.dataset
    hashes = tuple(sorted(known.data_sha256.items())) if known else ()
    images = data.load(dataset, target.spec.input.shape, target.spec.labels, hashes)
    origin = manifest if target.card is None else target.card.model
    imported = training is None and origin is not None and origin.source == "onnx"
    if manifest is not None and not imported and images.sha256 == manifest.data_sha256:
        split = _split_of_bundle(target, manifest, name)
        return replace(split, files=_files_of(split.pixels, images))
    require_size(images, target.spec.input.shape, name=target.name)
    notes = []
    if known is not None and not imported and images.sha256 != known.data_sha256:
        verb = "trained on" if training else "exported from"
        other = f"other {dataset} files than those in {images.source}"
        notes.append(f"{target.name} was {verb} {other}")
    if (known is None or imported or notes) and images.test_indices:
        images = held_out(images)
        notes.append(
            f"all images in {images.source} are evaluated: the accuracy is too high if "
            f"{target.name} was trained on any of them"
        )
    validation = None if training is None else _validation(images, training.split)
    pixels, labels, names = images.test_images, images.test_labels, images.test_names
    if name == "validation" and not imported:
        if validation is None:
            raise DataError(
                f"the validation images of {target.name} are unknown in {images.source}",
                remedy=remedy("name the data or take test"),
            )
        pixels = selected(images.train_images, validation)
        labels = images.train_labels[validation]
        names = tuple(images.train_names[at] for at in validation if images.train_names)
    return SplitImages(
        name=name,
        dataset=images.dataset.name,
        title=images.dataset.title,
        source=images.source,
        pixels=pixels,
        labels=labels,
        counts=_counts(images, None if training is None else training.split.limit, validation),
        notes=tuple(notes),
        files=names,
    )


def _split_of_bundle(target: EvaluationTarget, manifest: Manifest, name: str) -> SplitImages:
    bundle = target.path.parent
    parts = {each: load_split(bundle, each, manifest.evaluation_sha256) for each in SPLITS}
    chosen, known = parts[name], DATASETS.get(manifest.dataset)
    if chosen.labels is None:
        raise DataError(
            f"the {name} images in {bundle} have no labels", remedy=remedy("name the data")
        )
    return SplitImages(
        name=name,
        dataset=manifest.dataset,
        title=known.title if known else manifest.dataset,
        source=str(chosen.images_path.parent),
        pixels=np.asarray(chosen.images),
        labels=chosen.labels,
        path=chosen.images_path,
        keras_logits=chosen.logits,
        counts={
            each: _counted(part.labels, manifest.labels)
            for each, part in parts.items()
            if part.labels is not None
        },
    )


def _dataset(target: EvaluationTarget, data: DataSource) -> str:
    """Return the data set for a file alone: one with its classes."""
    fitting = [each.name for each in DATASETS.values() if each.labels == target.spec.labels]
    if not fitting and data.options.folder is None:
        raise UsageError(
            f"{target.name} is not in a bundle, and no data set that Hemline can fetch has its "
            "classes",
            remedy=remedy("name the data"),
        )
    return (fitting or ["custom data"])[0]


def _validation(images: Images, split: Split) -> npt.NDArray[np.intp] | None:
    """Return the indices of the validation images; None when these are not in the data."""
    indices = np.asarray(split.validation_indices, np.intp)
    if not len(indices) or indices[-1] >= len(images.train_images):
        return None
    same = array_sha256(selected(images.train_images, indices)) == split.validation_sha256
    return indices if same else None


def _files_of(pixels: ImageRows, images: Images) -> tuple[str, ...]:
    """Return the file of each image of a bundle, which keeps no names: by its pixels."""
    parts = (images.train_images, images.train_names), (images.test_images, images.test_names)
    pairs = (pair for part in parts for pair in zip(*part, strict=False))  # there may be no names
    known = {array_sha256(image): name for image, name in pairs}
    found = [known.get(array_sha256(image), "") for image in pixels] if known else []
    return tuple(found) if all(found) else ()


def _counts(
    images: Images, limit: int | None, validation: npt.NDArray[np.intp] | None
) -> dict[str, tuple[int, ...]]:
    """Return the images of each class in each part of the data that is known."""
    classes = images.dataset.labels
    test = {"test": _counted(images.test_labels, classes)}
    if validation is None:
        return test
    training = np.delete(images.train_labels[:limit], validation)
    known = {"training": training, "validation": images.train_labels[validation]}
    return {name: _counted(labels, classes) for name, labels in known.items()} | test


def _counted(labels: Pixels, classes: tuple[str, ...]) -> tuple[int, ...]:
    return tuple(int(count) for count in np.bincount(labels, minlength=len(classes)))
