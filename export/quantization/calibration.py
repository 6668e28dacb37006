"""Choose calibration images: from the training part only, provably apart from all evaluation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hemline.contract.card import Split
from hemline.data.datasets import Images, array_sha256, without_copies
from hemline.errors import DataError

Pixels = npt.NDArray[np.uint8]
SEED = 20_170_831  # any fixed one: the day the data set got its final form
_USUAL = 500  # images, or fewer where there are not so many


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Calibration images uint8 (n, h, w, c) and the SHA-256 of their bytes."""

    images: Pixels
    sha256: str


def calibration_images(images: Images, split: Split, *, count: int | None) -> Calibration:
    """Draw `count` training images that are neither by index nor by content in another split.

    None stands for 500, or all where there are fewer. Raises DataError when there are too few.
    """
    training = training_indices(len(images.train_images), split)
    wanted = _USUAL if count is None else count
    drawn = np.random.default_rng(SEED).permutation(training)[: 2 * wanted]
    validation = images.train_images[list(split.validation_indices)]
    if array_sha256(validation) != split.validation_sha256:
        raise DataError("the card's validation images are others than those here: train again")
    fresh = without_copies(images.train_images[drawn], (validation, images.test_images))
    if len(fresh) < (count or 1):
        raise DataError(
            f"{wanted} calibration images asked for, {len(fresh)} are there: ask for less"
        )
    chosen = np.sort(drawn[fresh[:wanted]])
    pixels = images.train_images[chosen]
    return Calibration(images=pixels, sha256=array_sha256(pixels))


def training_indices(total: int, split: Split) -> npt.NDArray[np.intp]:
    """Return the positions in the training file that were trained on, ascending."""
    used = total if split.limit is None else min(split.limit, total)
    if split.validation_indices and split.validation_indices[-1] >= used:
        raise DataError("the split does not fit these images: another data set was trained on")
    kept = np.ones(used, bool)
    kept[list(split.validation_indices)] = False
    return np.flatnonzero(kept)
