"""Image files become the model's pixels, whatever they are stored as."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hemline.errors import DataError
from hemline.runtime import images as images_module
from hemline.runtime.images import read_image
from hemline.specs import InputSpec

GRAY = InputSpec(height=28, width=28, channels=1, dtype="uint8")
COLOUR = InputSpec(height=28, width=28, channels=3, dtype="uint8")


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8)


def test_a_gray_png_is_read_as_it_is(tmp_path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", GRAY)[..., 0], pixels)


def test_a_gray_png_fills_three_channels(tmp_path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png", COLOUR), np.stack([pixels] * 3, -1))


def test_sixteen_bits_keep_the_high_byte(tmp_path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels.astype(np.uint16) << 8).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", GRAY)[..., 0], pixels)


def test_transparency_is_laid_on_black(tmp_path: Path) -> None:
    clear = np.full((28, 28, 4), 255, np.uint8)
    clear[..., 3] = 0
    Image.fromarray(clear).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", GRAY).max() == 0


def test_a_palette_is_resolved(tmp_path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).convert("P").save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", GRAY)[..., 0], pixels)


def test_cmyk_is_converted(tmp_path: Path) -> None:
    Image.new("CMYK", (28, 28), (0, 0, 0, 0)).save(tmp_path / "a.jpg")
    assert read_image(tmp_path / "a.jpg", GRAY).min() >= 250  # no ink is white; JPEG rounds


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    image = Image.fromarray(np.repeat(np.arange(28, dtype=np.uint8)[:, None] * 9, 28, axis=1))
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    image.save(tmp_path / "a.png", exif=exif)
    assert read_image(tmp_path / "a.png", GRAY)[0, 0, 0] == 27 * 9


def test_a_large_image_is_scaled(tmp_path: Path) -> None:
    Image.new("L", (300, 200), 77).save(tmp_path / "a.png")
    assert np.all(read_image(tmp_path / "a.png", GRAY) == 77)


def test_an_array_file_is_read(tmp_path: Path, pixels: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", pixels)
    np.testing.assert_array_equal(read_image(tmp_path / "a.npy", GRAY)[..., 0], pixels)


@pytest.mark.parametrize("name", ["a.png", "a.npy", "a.jpg"])
@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"])
def test_what_is_no_image_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=name):
        read_image(tmp_path / name, GRAY)


def test_a_truncated_image_is_named(tmp_path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"a\.png"):
        read_image(tmp_path / "a.png", GRAY)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.png: no such file"):
        read_image(tmp_path / "a.png", GRAY)


def test_a_huge_image_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images_module, "_LARGEST_PIXELS", 500)
    Image.new("1", (100, 100)).save(tmp_path / "bomb.png")
    with pytest.raises(DataError, match="100 × 100 pixels: scale it down"):
        read_image(tmp_path / "bomb.png", GRAY)


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"a\.npy"):
        read_image(tmp_path / "a.npy", GRAY)
