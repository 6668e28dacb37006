"""How pixels 0 … 255 become what a model was trained on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hemline.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelScale:
    """(pixel − mean) ÷ std, and the order of the channels.

    mean, std: in pixel units; one number, or one for each channel of the model's input.
    bgr: whether the model expects blue, green and red in this order.
    """

    mean: float | tuple[float, ...]
    std: float | tuple[float, ...]
    bgr: bool = False

    @classmethod
    def of_range(cls, low: float, high: float) -> PixelScale:
        """Return the scale that makes 0 … 255 into low … high."""
        std = 255 / (high - low)
        return cls(mean=0.0 - low * std, std=std)

    @classmethod
    def of(cls, pixels: PixelScale | str | Sequence[float]) -> PixelScale:
        """Return the scale of a text such as "0..1" or of (low, high); raises UsageError."""
        if isinstance(pixels, PixelScale):
            return pixels
        try:
            low, high = map(float, pixels.split("..") if isinstance(pixels, str) else pixels)
        except (TypeError, ValueError) as error:
            text = f"a pixel range is LOW..HIGH, such as 0..1, not {pixels!r}"
            raise UsageError(text) from error
        if not (low < high and math.isfinite(high - low)):
            raise UsageError(f"a pixel range must increase, {pixels!r} does not")
        return cls.of_range(low, high)

    @property
    def means(self) -> tuple[float, ...]:
        """Return the mean as one number, or one for each channel."""
        return self.mean if isinstance(self.mean, tuple) else (self.mean,)

    @property
    def stds(self) -> tuple[float, ...]:
        """Return the deviation likewise."""
        return self.std if isinstance(self.std, tuple) else (self.std,)

    @property
    def range(self) -> tuple[float, float]:
        """Return the least and the largest that a pixel becomes, in any channel."""
        means, stds = np.asarray(self.means), np.asarray(self.stds)
        return float(((0 - means) / stds).min()), float(((255 - means) / stds).max())

    @property
    def text(self) -> str:
        """Return the range of an image's values, or mean and std where channels differ."""
        order = " of blue, green and red" if self.bgr else ""
        if len(self.means) == len(self.stds) == 1:
            low, high = self.range
            return f"{low:.4g} … {high:.4g}{order}"
        shown = (", ".join(f"{value:g}" for value in each) for each in (self.means, self.stds))
        return "mean {}, std {}".format(*shown) + order

    def values(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return what uint8 images (n, height, width, channels) become, float32."""
        pixels = images[..., ::-1] if self.bgr else images
        return np.asarray((pixels - np.asarray(self.mean)) / np.asarray(self.std), np.float32)

    def pixels(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the images of which values (n, height, width, channels) came, float32."""
        images = values * np.asarray(self.std) + np.asarray(self.mean)
        return np.asarray(images[..., ::-1] if self.bgr else images, np.float32)
