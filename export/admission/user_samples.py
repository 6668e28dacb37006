"""The user's images for a file, and the classes that they are known to have."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hemline.contract.specs import InputSpec
from hemline.contract.stamp import Stamp
from hemline.data.custom.held_out import labelled_images
from hemline.data.datasets import array_sha256
from hemline.data.image_rows import ImageRows
from hemline.errors import DataError, UsageError, remedy
from hemline.pictures.npy import npy_errors


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleFiles:
    """The images that the user names for a file; every field is None unless specified.

    data: folder with a folder for each class, .npz, or folder with IDX files.
    images: .npy file of uint8 images (n, height, width, channels).
    expected: .npy file of their integer classes (n,).
    """

    data: Path | None = None
    images: Path | None = None
    expected: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Images to measure a file on.

    name: of the data set.
    images: uint8 (n, height, width, channels).
    labels: class indices (n,); None where they are not known.
    """

    name: str
    images: ImageRows
    labels: npt.NDArray[np.uint8] | None = None

    @property
    def sha256(self) -> dict[str, str]:
        """Return the hashes of pixels and labels."""
        labels = {} if self.labels is None else {"labels": array_sha256(self.labels)}
        return {"images": array_sha256(self.images), **labels}


def read_samples(files: SampleFiles, stamp: Stamp) -> Samples:
    """Read the images for a stamped file; raises UsageError or DataError that names the file."""
    if files.data is not None:
        if files.images is not None or files.expected is not None:
            raise UsageError("give either a data set or arrays of images, not both")
        found = labelled_images(files.data, stamp.input.shape, stamp.labels)
        return Samples(name=found.dataset.name, images=found.test_images, labels=found.test_labels)
    expected = read_user_classes(files.images, files.expected, stamp.input, len(stamp.labels))
    pixels = np.load(str(files.images), mmap_mode="r").reshape(-1, *stamp.input.shape)
    labels: Any = expected
    if expected is not None and len(stamp.labels) <= 1 << 8:
        labels = expected.astype(np.uint8)
    return Samples(name="images", images=pixels, labels=labels)


def read_user_classes(
    images: Path | None, expected: Path | None, spec: InputSpec, classes: int
) -> npt.NDArray[np.int64] | None:
    """Check .npy files of images and of their classes; return the classes (n,), None without any.

    Raises UsageError or DataError that names the file.
    """
    if images is None:
        if expected is not None:
            raise UsageError("classes without images", remedy=remedy("images and classes"))
        return None
    pixels = _array(images)
    shapes = (spec.shape, spec.shape[:2]) if spec.channels == 1 else (spec.shape,)
    if pixels.dtype != np.uint8 or pixels.shape[1:] not in shapes or len(pixels) == 0:
        size = " × ".join(map(str, spec.shape))
        raise DataError(
            f"{images} has {pixels.dtype} {pixels.shape}: the model needs uint8 images of {size}"
        )
    if expected is None:
        return None
    known = _array(expected)
    if known.dtype.kind not in "iu" or known.shape != (len(pixels),):
        raise DataError(
            f"{expected} has {known.dtype} {known.shape}: one integer for each of the "
            f"{len(pixels):,} images is needed"
        )
    if known.min() < 0 or known.max() >= classes:
        raise DataError(
            f"{expected} has classes from {known.min()} to {known.max()}; the model has {classes}"
        )
    return known.astype(np.int64)


def image_size(images: Path | None) -> tuple[int, int] | None:
    """Return (height, width) of the user's images, None without any. Raises DataError."""
    if images is None:
        return None
    shape = _array(images).shape
    return (shape[1], shape[2]) if len(shape) > 2 else None


def _array(path: Path) -> npt.NDArray[Any]:
    errors: tuple[type[Exception], ...] = (OSError, *npy_errors())
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except errors as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise DataError(f"cannot read {path}: {reason[:1].lower()}{reason[1:]}") from error
    if not isinstance(array, np.ndarray) or array.ndim == 0:
        raise DataError(f"{path} is not an array of images: save it with numpy.save")
    return array
