"""Scale images to another size in numpy alone: each side is one product with a matrix of weights.

What pillow decodes, raw frames and arrays all come through here, so that a device without pillow
sees the same pixels.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hemline.pictures.pixels import Pixels

Weights = npt.NDArray[np.float32]
Values = npt.NDArray[np.float32]
LARGEST_SIDE = 32_768  # pixels of a source: each has a weight for every pixel of the target
_LOBES = 3  # of Lanczos' window, as in pillow
_BLOCK = 1 << 18  # values turned into float32 at a time: 1 MB, however large the photograph is


def lanczos(source: int, target: int) -> Weights:
    """Return the weights (target, source) of a Lanczos filter, as wide as its step if that is > 1.

    Each row sums to 1.
    """
    step = source / target
    width = max(step, 1.0)
    centres = (np.arange(target) + 0.5) * step
    distance = (np.arange(source) + 0.5 - centres[:, np.newaxis]) / width
    window = np.where(np.abs(distance) < _LOBES, np.sinc(distance / _LOBES), 0.0)
    weights = np.sinc(distance) * window
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


def area(source: int, target: int) -> Weights:
    """Return the weights (target, source) that average the pixels under each new one."""
    step = source / target
    starts = np.arange(target)[:, np.newaxis] * step
    pixels = np.arange(source)
    covered = np.minimum(pixels + 1, starts + step) - np.maximum(pixels, starts)
    return np.asarray(np.clip(covered, 0.0, None) / step, np.float32)


def scaled(image: Pixels, rows: Weights, columns: Weights) -> Values:
    """Return float32 (new height, new width, channels) of an image (height, width, channels).

    Values may overshoot 0 … 255 where a filter sharpens.
    """
    height, width, channels = image.shape
    lines = np.zeros((len(rows), width * channels), np.float32)
    step = max(1, _BLOCK // (width * channels))
    for at in range(0, height, step):
        block = image[at : at + step].reshape(-1, width * channels).astype(np.float32)
        lines += rows[:, at : at + step] @ block
    return np.asarray(columns @ lines.reshape(len(rows), width, channels), np.float32)
