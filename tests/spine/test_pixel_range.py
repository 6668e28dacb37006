"""Pixels in few of the bits of their type, or in many: scaled, or refused with the remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from hemline.data.custom.loading import load_custom
from hemline.data.custom.pixel_range import byte_blocks
from hemline.data.custom.reading import ReadOptions
from hemline.errors import DataError


def as_bytes(values: npt.NDArray[Any], *, where: str) -> npt.NDArray[np.uint8]:
    """Return an array as pixels, read image by image."""
    return np.concatenate([*byte_blocks(lambda: np.split(values, len(values)), where=where)])


@pytest.mark.parametrize(
    ("highest", "top"), [(1, 1), (2, 3), (3, 3), (7, 7), (14, 15), (15, 15), (16, 16)]
)
@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32])
def test_gray_levels_in_few_bits_are_scaled_and_told(
    caplog: pytest.LogCaptureFixture, highest: int, top: int, dtype: type
) -> None:
    values = np.arange(highest + 1).reshape(1, 1, -1)
    scaled = as_bytes(values.astype(dtype), where="x")
    np.testing.assert_array_equal(scaled, np.rint(values * 255 / top))
    if highest > 1 or dtype is not np.float32:  # 0.0 … 1.0 are scaled as ever
        assert f"x has whole numbers from 0 to {highest}: scaled so that {top} is 255" in (
            caplog.text
        )


@pytest.mark.parametrize("highest", [0, 17, 255])
def test_other_pixels_stay_as_they_are(highest: int) -> None:
    values = np.array([[[0, highest]]], np.uint8)
    np.testing.assert_array_equal(as_bytes(values, where="x"), values)


def test_arrays_of_sixteen_bits_are_refused_with_the_remedy() -> None:
    values = np.array([[[0, 40000]]], np.uint16)
    with pytest.raises(
        DataError, match=r"uint16 values from 0 to 40000: .*\(x >> 8\)\.astype\('uint8'\)"
    ):
        as_bytes(values, where="x")


def test_arrays_of_zero_and_one_train_as_scaled_ones(tmp_path: Path) -> None:
    x = np.random.default_rng(1).integers(0, 2, (60, 8, 8)).astype(np.uint8)
    y = np.arange(60) % 2
    for name, array in (("bits", x), ("floats", x.astype(np.float32)), ("bytes", x * 255)):
        np.savez(tmp_path / f"{name}.npz", x=array, y=y)
    loaded = [load_custom(path, ReadOptions(), cache=None) for path in tmp_path.iterdir()]
    assert len({each.sha256["train"] for each in loaded}) == 1


@pytest.mark.parametrize("depth", ["masks of 0 and 1", "12 bits in 16"])
def test_files_that_look_black_are_refused_with_the_remedy(tmp_path: Path, depth: str) -> None:
    random = np.random.default_rng(1)
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for at in range(4):
            mask = random.integers(0, 2, (8, 8), np.uint8)
            wide = random.integers(0, 4096, (8, 8)).astype(np.uint16)
            pixels = mask if depth.startswith("masks") else wide
            Image.fromarray(pixels).save(tmp_path / label / f"{at}.png")
    with pytest.raises(DataError, match="16-bit files; save them scaled to 0 … 255"):
        load_custom(tmp_path, ReadOptions(), cache=None)
