"""The user's images for an admission, and the classes that they are known to have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hemline.contract.specs import InputSpec
from hemline.errors import DataError, UsageError, remedy
from hemline.pictures.npy import npy_errors


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
            f"{images} holds {pixels.dtype} {pixels.shape}: the model needs uint8 images of {size}"
        )
    if expected is None:
        return None
    known = _array(expected)
    if known.dtype.kind not in "iu" or known.shape != (len(pixels),):
        raise DataError(
            f"{expected} holds {known.dtype} {known.shape}: one integer for each of the "
            f"{len(pixels):,} images is needed"
        )
    if known.min() < 0 or known.max() >= classes:
        raise DataError(f"{expected} has classes from {known.min()} to {known.max()}, of {classes}")
    return known.astype(np.int64)


def _array(path: Path) -> npt.NDArray[Any]:
    errors: tuple[type[Exception], ...] = (OSError, *npy_errors())
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except errors as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise DataError(f"cannot read {path}: {reason[:1].lower()}{reason[1:]}") from error
    if not isinstance(array, np.ndarray) or array.ndim == 0:
        raise DataError(f"{path} is not an array of several images: save it with numpy.save")
    return array
