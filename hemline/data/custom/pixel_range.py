"""Bring arrays of any dtype to uint8 pixels, block by block, if that loses nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from hemline.data.custom.npz_archive import Array
from hemline.data.datasets import Pixels
from hemline.errors import DataError

log = logging.getLogger(__name__)

# highest values of 1, 2, 3 and 4 bits, and of scikit-learn's digits
LEVELS = (1, 3, 7, 15, 16)


def byte_blocks(blocks: Callable[[], Iterable[Array]], *, where: str) -> Iterator[Pixels]:
    """Yield an array's blocks, which `blocks` yields each time, as uint8 pixels without loss.

    That holds for whole numbers 0 … 255 of any dtype, and for multiples of 1/255 from 0 to 1.
    Whole numbers of few bits (masks of 0 and 1, gray levels of 0 … 15 or 0 … 16) are scaled to
    0 … 255, with a warning. Raises DataError for other values, whose scaling is unknown.
    """
    low, high = _range(blocks(), where)
    real = next(iter(blocks())).dtype.kind == "f"
    factor = 255.0 if real and high <= 1 else 1.0
    levels = None if factor == 255 else _level_table(high, where)
    for block in blocks():
        pixels = _whole(block, low, high, factor, where)
        yield pixels if levels is None else levels[pixels]


def _range(blocks: Iterable[Array], where: str) -> tuple[float, float]:
    """Return the lowest and highest value, of uint8 only as far as they matter."""
    low, high = np.inf, -np.inf
    for block in blocks:
        if block.dtype.kind not in "iuf":
            raise DataError(f"{where} has dtype {block.dtype}: save pixels as uint8, 0 … 255")
        low, high = np.minimum(low, block.min()), np.maximum(high, block.max())  # NaN stays
        if block.dtype == np.uint8 and high > LEVELS[-1]:
            break
    return float(low), float(high)


def _whole(values: Array, low: float, high: float, factor: float, where: str) -> Pixels:
    if values.dtype == np.uint8:
        return values
    # in pixels: a step of float16 below 1; others lose far less, and half a pixel is far more
    slack = 255 / 2048 if values.dtype == np.float16 else 0.001
    if low >= 0 and high <= 255:  # false for NaN
        real = values.astype(np.float64) * factor
        whole = np.rint(real)
        if np.abs(real - whole).max() <= slack:
            pixels: Pixels = whole.astype(np.uint8)
            return pixels
    if values.dtype.kind in "iu" and low >= 0 and high < 1 << 16:
        raise DataError(
            f"{where} has {values.dtype} values from {low:g} to {high:g}: devices need 0 … 255; "
            "save pixels of 16 bits as (x >> 8).astype('uint8'), others scaled to 0 … 255"
        )
    scaled = "(x * 255).round().astype('uint8')" if low >= 0 and high <= 1 else "uint8"
    raise DataError(
        f"{where} has {values.dtype} values from {low:g} to {high:g} that are not 8-bit pixels: "
        f"save the images as 0 … 255, for example as {scaled}"
    )


def _level_table(high: float, where: str) -> Pixels | None:
    """Return gray level to pixel for levels of few bits; None for others."""
    highest = round(high) if 0 < high <= LEVELS[-1] else 0
    if not highest:
        return None
    top = next(each for each in LEVELS if highest <= each)
    log.warning("%s has whole numbers from 0 to %d: scaled so that %d is 255", where, highest, top)
    table: Pixels = np.rint(np.arange(256) * (255 / top)).clip(0, 255).astype(np.uint8)
    return table
