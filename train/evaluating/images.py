"""The images that something is evaluated on, and where they come from."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hemline.data.datasets import DATASETS, Images, array_sha256
from hemline.data.fetch import FetchOptions, load_images
from hemline.errors import UsageError

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitImages:
    """One split in memory: pixels uint8 (n, height, width, channels), labels uint8 (n,).

    name: validation or test.
    dataset: name of the data set; title is the same as it is written in texts.
    source: where it was read, for texts.
    path: of the pixels as .npy; None where there is no such file.
    keras_logits: of the Keras model, float32 (n, classes); None where they are not known.
    counts: name of a part of the data to its images of each class.
    notes: what a reader must know, one line each.
    """

    name: str
    dataset: str
    title: str
    source: str
    pixels: Pixels
    labels: Pixels
    path: Path | None = None
    keras_logits: npt.NDArray[np.float32] | None = None
    counts: dict[str, tuple[int, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def sha256(self) -> str:
        """Return the hash of the pixels."""
        return array_sha256(self.pixels)


def counted(labels: Pixels, classes: int) -> tuple[int, ...]:
    """Return the images of each class."""
    return tuple(int(count) for count in np.bincount(labels, minlength=classes))


class DataSource:
    """The data sets as the user wants them read, each of them once."""

    def __init__(self, options: FetchOptions) -> None:
        self.options = options
        self.load = functools.cache(self._load)

    def _load(self, name: str, shape: tuple[int, int, int], labels: tuple[str, ...]) -> Images:
        """Return a data set's arrays, own images as they were read for training.

        They are brought to `shape` (height, width, channels); an array's numbered classes have the
        names `labels`, and broken files that were left out then are so again. Raises DataError when
        they are not to be had.
        """
        if self.options.folder is None and name not in DATASETS:
            raise UsageError(
                f"{name!r} is no data set that Hemline can fetch: name its folder or .npz file "
                "with --data"
            )
        asked = self.options.reading
        reading = replace(
            asked,
            size=asked.size or shape[:2],
            channels=asked.channels or shape[2],
            skip_broken=True,  # others than those then are another hash, which is told
        )
        # where the user's folder holds own images, the name does not matter
        known = name if name in DATASETS else next(iter(DATASETS))
        images = load_images(known, replace(self.options, reading=reading))
        numbers = tuple(map(str, range(len(labels))))
        if images.dataset.is_custom and asked.labels is None and images.dataset.labels == numbers:
            return replace(images, dataset=replace(images.dataset, labels=labels))
        return images
