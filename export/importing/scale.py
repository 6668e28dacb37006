"""How pixels 0 … 255 become what a source was trained on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_MOST_CHANNELS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelScale:
    """(pixel − mean) ÷ std, each one value or one for each channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of_range(cls, low: float, high: float) -> PixelScale:
        """Return the scale that makes 0 … 255 into low … high."""
        std = 255 / (high - low)
        return cls(mean=(0.0 - low * std,), std=(std,))

    @property
    def ends(self) -> tuple[float, float]:
        """Return the least and the largest value that a black or a white pixel becomes."""
        pairs = [
            (end - mean) / std
            for end in (0, 255)
            for mean, std in zip(
                *(each.tolist() for each in self.arrays(_MOST_CHANNELS)), strict=True
            )
        ]
        return min(pairs), max(pairs)

    def arrays(self, channels: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return mean and std for each channel."""
        mean, std = (
            np.broadcast_to(np.asarray(each), (channels,)) for each in (self.mean, self.std)
        )
        return mean, std

    @property
    def text(self) -> str:
        """Return the range of an image's values, or mean and std where channels differ."""
        if len(self.mean) == len(self.std) == 1:
            low, high = ((end - self.mean[0]) / self.std[0] for end in (0, 255))
            return f"{low:.4g} … {high:.4g}"
        shown = (", ".join(f"{value:g}" for value in each) for each in (self.mean, self.std))
        return "mean {}, std {}".format(*shown)
