"""What rounding does to one value, gathered over batches of images."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from hemline.export.quantization.diagnosis.parts import channel_axis
from hemline.export.quantization.float_graph import FloatGraph

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]


def float_values(graph: FloatGraph, names: Iterable[str], images: Pixels) -> dict[str, Floats]:
    """Return values of the float graph by name; all of them are in memory together."""
    wanted = list(names)
    parts = list(graph.observe(images, wanted))
    return {name: np.concatenate([part[name] for part in parts]) for name in wanted}


class Observation:
    """Sums over a float value and its quantized counterpart, and the extremes of each channel.

    low, high: of each channel, float64 (channels,).
    image_low, image_high: of each image, in order.
    """

    def __init__(self, low: float, high: float) -> None:
        """Start with nothing seen; low and high are the ends of the grid."""
        self.ends = (low, high)
        self.count = self.clipped = 0
        self._other = self._both = self._error = 0.0
        self._signals: npt.NDArray[np.float64] = np.zeros(1)  # of each channel
        self._noises: npt.NDArray[np.float64] = np.zeros(1)
        self.low: npt.NDArray[np.float64] = np.zeros(0)
        self.high: npt.NDArray[np.float64] = np.zeros(0)
        self.image_low: list[float] = []
        self.image_high: list[float] = []

    def add(self, value: Floats, rounded: Floats | None = None) -> None:
        """Add the values of some images, (n, …), and what they are in the quantized model."""
        self._extremes(value)
        half_step = (self.ends[1] - self.ends[0]) / 510
        self.count += value.size
        self.clipped += int(np.count_nonzero(value < self.ends[0] - half_step))
        self.clipped += int(np.count_nonzero(value > self.ends[1] + half_step))
        if rounded is None:
            return
        x, y = value.astype(np.float64).reshape(-1), rounded.astype(np.float64).reshape(-1)
        self._other += float(y @ y)
        self._both += float(x @ y)
        self._error += float(y.sum() - x.sum())
        others = _all_but(channel_axis(value.ndim), value.ndim)
        self._signals = self._signals + np.square(value, dtype=np.float64).sum(axis=others)
        noise = np.square(rounded - value, dtype=np.float64)
        self._noises = self._noises + noise.sum(axis=others)

    def _extremes(self, value: Floats) -> None:
        others = _all_but(channel_axis(value.ndim), value.ndim)
        low, high = (f(value, axis=others).astype(np.float64) for f in (np.min, np.max))
        fresh = not self.low.size
        self.low = low if fresh else np.minimum(self.low, low)
        self.high = high if fresh else np.maximum(self.high, high)
        flat = value.reshape(len(value), -1)
        self.image_low += flat.min(axis=1).tolist()
        self.image_high += flat.max(axis=1).tolist()

    @property
    def sqnr_db(self) -> float | None:
        """Return the signal-to-quantization-noise ratio; None without noise or signal."""
        return decibels(self._signal, float(self._noises.sum()))

    @property
    def channel_sqnr_db(self) -> float | None:
        """Return the same for the median of the channels with noise and signal."""
        pairs = zip(self._signals.tolist(), self._noises.tolist(), strict=True)
        found = [each for pair in pairs if (each := decibels(*pair)) is not None]
        return float(np.median(found)) if found else None

    @property
    def _signal(self) -> float:
        return float(self._signals.sum())

    @property
    def cosine(self) -> float:
        """Return the cosine of float and quantized values; 1 where both are zero."""
        if not self._signal and not self._other:
            return 1.0
        length = math.sqrt(self._signal) * math.sqrt(self._other)
        return self._both / length if length else 0.0

    @property
    def bias(self) -> float:
        """Return the mean error relative to the root mean square of the float values."""
        rms = math.sqrt(self._signal / self.count)
        return self._error / self.count / rms if rms else 0.0

    @property
    def clipped_share(self) -> float:
        """Return the share of float values outside the grid."""
        return self.clipped / self.count

    @property
    def span(self) -> float:
        """Return the width of the range that the images need, which holds 0."""
        return float(max(self.high.max(), 0.0) - min(self.low.min(), 0.0))

    @property
    def range_ratio(self) -> float:
        """Return the width of the grid relative to what the images need; 1 where that is 0."""
        return (self.ends[1] - self.ends[0]) / self.span if self.span else 1.0

    @property
    def dead(self) -> npt.NDArray[np.bool_]:
        """Return which channels give one value everywhere."""
        return np.asarray(self.low == self.high)

    @property
    def channel_ratios(self) -> npt.NDArray[np.float64]:
        """Return the width of each channel relative to the median of those that are not dead."""
        return relative(np.maximum(self.high, 0.0) - np.minimum(self.low, 0.0), ~self.dead)


def _all_but(axis: int, rank: int) -> tuple[int, ...]:
    return tuple(each for each in range(rank) if each != axis)


def relative(
    widths: npt.NDArray[np.float64], live: npt.NDArray[np.bool_] | None = None
) -> npt.NDArray[np.float64]:
    """Return widths divided by the median of the live ones, by default those above 0."""
    chosen = widths[(widths > 0) if live is None else live & (widths > 0)]
    return widths / np.median(chosen) if chosen.size else np.zeros_like(widths)


def decibels(signal: float, noise: float) -> float | None:
    """Return ten times the logarithm of a ratio of powers; None where one of them is 0."""
    return 10 * math.log10(signal / noise) if signal > 0 and noise > 0 else None
