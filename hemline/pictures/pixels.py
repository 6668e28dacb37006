"""8-bit pixels: what every image is here, from a file to the input tensor."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from hemline.errors import DataError

if TYPE_CHECKING:
    import numpy.typing as npt

Pixels: TypeAlias = "npt.NDArray[np.uint8]"
NO_MEMORY = "needs more memory than there is"  # what is said of an image
_UINT8 = np.dtype(np.uint8)


def not_an_image(given: object, wanted: str) -> str:
    """Return what is wrong with something that is not an image."""
    of_pillow = type(given).__module__.startswith("PIL.")
    advice = ': convert it by numpy.asarray(image.convert("RGB"))' if of_pillow else ""
    kind = None if given is None else type(given).__name__
    return f"an image must be {wanted}, not {kind}{advice}"


def require_uint8(image: Pixels) -> None:
    """Raise DataError for what is no array of 8-bit pixels."""
    if not isinstance(image, np.ndarray):
        raise DataError(not_an_image(image, "a uint8 array"))
    if image.dtype != _UINT8:
        raise DataError(
            f"an image must have dtype uint8 (0 … 255), not {image.dtype}: convert it first"
        )
