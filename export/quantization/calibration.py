"""Choose calibration images: from the training part only, provably apart from all evaluation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hemline.contract.card import Split
from hemline.data.datasets import Images, array_sha256, without_copies
from hemline.data.image_rows import selected
from hemline.errors import DataError
from hemline.export.quantization.plan import PixelStatistics

Pixels = npt.NDArray[np.uint8]
SEED = 20_170_831  # any fixed one: the day the data set got its final form
_NARROW = 16  # grey levels: photographs and drawings span 100 and more


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Calibration images.

    images: uint8 (n, h, w, c).
    sha256: of their bytes.
    seed: that they were drawn or made with.
    classes: how many classes they are of; None where that is not known.
    """

    images: Pixels
    sha256: str
    seed: int = SEED
    classes: int | None = None

    @property
    def doubts(self) -> tuple[str, ...]:
        """Return what lets these images look unlike those that a model will see, a line each."""
        found = []
        if self.classes == 1:
            found.append("all calibration images are of one class: other classes may be clipped")
        darkest, brightest = int(self.images.min()), int(self.images.max())
        if brightest - darkest < _NARROW:
            found.append(
                f"the pixels of all calibration images are {darkest} … {brightest} of 0 … 255: "
                "were they scaled before they were saved?"
            )
        return tuple(found)

    def require_fitting(self, shape: tuple[int, ...]) -> None:
        """Raise DataError unless these are images of (height, width, channels)."""
        if not len(self.images):
            raise DataError("calibration needs at least one image")
        if self.images.dtype != np.uint8 or self.images.shape[1:] != shape:
            raise DataError(
                f"calibration images are {self.images.dtype} of {self.images.shape[1:]}, the model "
                f"takes uint8 of {shape}"
            )


def calibration_images(
    images: Images, split: Split, *, count: int | None, seed: int = SEED, usual: int = 500
) -> Calibration:
    """Draw `count` training images that are neither by index nor by content in another split.

    None stands for `usual`, or all where there are fewer. Raises DataError when there are too few.
    """
    training = training_indices(len(images.train_images), split)
    wanted = usual if count is None else count
    drawn = np.random.default_rng(seed).permutation(training)[: 2 * wanted]
    validation = selected(images.train_images, list(split.validation_indices))
    if array_sha256(validation) != split.validation_sha256:
        raise DataError("the card's validation images are others than those here: train again")
    fresh = without_copies(selected(images.train_images, drawn), (validation, images.test_images))
    if len(fresh) < (count or 1):
        raise DataError(
            f"{wanted} calibration images asked for, {len(fresh)} are there: ask for less"
        )
    chosen = np.sort(drawn[fresh[:wanted]])
    pixels = images.train_images[chosen]
    classes = len(np.unique(images.train_labels[chosen])) if images.labelled else None
    if len(images.dataset.labels) < 2:
        classes = None
    return Calibration(images=pixels, sha256=array_sha256(pixels), seed=seed, classes=classes)


def pixel_statistics(images: Pixels) -> PixelStatistics:
    """Return what images (n, h, w, c) are like, channel by channel."""
    grey = np.arange(256)
    counts = [np.bincount(each.reshape(-1), minlength=256) for each in np.moveaxis(images, -1, 0)]
    means = [float(grey @ each / each.sum()) for each in counts]
    spreads = [
        float(np.sqrt((grey - mean) ** 2 @ each / each.sum()))
        for mean, each in zip(means, counts, strict=True)
    ]
    return PixelStatistics(
        means=tuple(means),
        deviations=tuple(spreads),
        darkest=int(images.min()),
        brightest=int(images.max()),
    )


def training_indices(total: int, split: Split) -> npt.NDArray[np.intp]:
    """Return the positions in the training file that were trained on, ascending."""
    used = total if split.limit is None else min(split.limit, total)
    if split.validation_indices and split.validation_indices[-1] >= used:
        raise DataError("the split does not fit these images: another data set was trained on")
    kept = np.ones(used, bool)
    kept[list(split.validation_indices)] = False
    return np.flatnonzero(kept)
