"""From 8-bit pixels to the input tensor, through a 256-entry table made from the InputSpec."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hemline.errors import DataError
from hemline.runtime.backends import Tensor
from hemline.specs import InputSpec

Pixels = npt.NDArray[np.uint8]


class PixelEncoder:
    """Turn uint8 images into one model's input tensor."""

    def __init__(self, spec: InputSpec) -> None:
        self.spec = spec
        self.table = pixel_table(spec)

    def encode(self, images: Pixels) -> Tensor:
        """Return the tensor of uint8 images (n, height, width, channels).

        Raises DataError for another dtype or shape.
        """
        images = self._checked(images)
        return self.table[images]

    def encode_one(self, image: Pixels) -> Tensor:
        """Return the tensor (1, height, width, channels) of one uint8 image.

        The channel axis may be left out of gray images. Raises DataError.
        """
        if isinstance(image, np.ndarray) and image.shape == self.spec.shape[:2]:
            image = image[..., np.newaxis]
        return self.encode(image[np.newaxis] if isinstance(image, np.ndarray) else image)

    def _checked(self, images: Pixels) -> Pixels:
        if not isinstance(images, np.ndarray):
            raise DataError(f"an image is a uint8 array, not {type(images).__name__}")
        if images.dtype != np.uint8:
            raise DataError(
                f"an image has dtype uint8 (0 … 255), not {images.dtype}: convert it first"
            )
        if images.ndim == 3 and self.spec.channels == 1:
            images = images[..., np.newaxis]
        if images.shape[1:] != self.spec.shape:
            size = " × ".join(map(str, self.spec.shape))
            raise DataError(f"images have {size} values here, not shape {images.shape[1:]}")
        return images


def pixel_table(spec: InputSpec) -> Tensor:
    """Return the stored tensor value of each of the 256 pixel values, in the spec's dtype."""
    real = (np.arange(256, dtype=np.float64) - spec.mean) / spec.std
    if spec.dtype == "float32":
        return real.astype(np.float32)
    limits = np.iinfo(spec.dtype)
    stored = np.round(real / spec.scale) + spec.zero_point
    table: Tensor = np.clip(stored, limits.min, limits.max).astype(spec.dtype)
    return table
