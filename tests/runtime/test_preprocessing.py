"""An image of another size becomes one like those that the model was trained on."""

from __future__ import annotations

import importlib.util
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hemline.contract.specs import InputSpec
from hemline.errors import DataError
from hemline.pictures.images import read_image, read_picture
from hemline.pictures.preprocessing import as_picture, model_pixels
from hemline.pictures.scaling import area, lanczos, scaled
from hemline.runtime.input.album import Album

GRAY = InputSpec(height=28, width=28, channels=1, dtype="uint8")
COLOUR = InputSpec(height=28, width=28, channels=3, dtype="uint8")
WIDE = InputSpec(height=20, width=60, channels=1, dtype="uint8")


@pytest.fixture(scope="module")
def photograph() -> np.ndarray:
    """Return a real photograph, (427, 640, 3), that scikit-learn brings with it."""
    package = importlib.util.find_spec("sklearn")
    assert package is not None
    assert package.origin is not None
    with Image.open(Path(package.origin).parent / "datasets" / "images" / "china.jpg") as image:
        return np.asarray(image)


def rounded(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(int)


def product(background: int, thing: int, *, size: tuple[int, int] = (300, 200)) -> np.ndarray:
    """Return a gray picture (height, width, 1) of a box of 120 × 60 pixels, off the middle."""
    picture = np.full((*size, 1), background, np.uint8)
    picture[40:160, 30:90] = thing
    return picture


@pytest.mark.parametrize(("height", "width"), [(28, 28), (96, 130), (427, 300), (600, 900)])
def test_scaling_is_that_of_pillow(photograph: np.ndarray, height: int, width: int) -> None:
    """Pillow rounds between its two passes (0.5, at most 1.3-fold for the negative lobes) and again
    at the end (0.5), we do there (0.5): less than 2 apart. It also cuts off what overshoots between
    the passes, hence a photograph of little contrast."""
    soft = photograph // 2 + np.uint8(64)
    rows, columns = lanczos(soft.shape[0], height), lanczos(soft.shape[1], width)
    ours = rounded(scaled(soft, rows, columns))
    theirs = Image.fromarray(soft).resize((width, height), Image.Resampling.LANCZOS)
    assert np.abs(ours - np.asarray(theirs, int)).max() <= 1


def test_averaging_is_that_of_pillow(photograph: np.ndarray) -> None:
    photograph = photograph[:420]
    ours = rounded(scaled(photograph, area(420, 42), area(640, 64)))
    theirs = np.asarray(Image.fromarray(photograph).reduce(10), int)
    assert np.abs(ours - theirs).max() <= 1


def test_averaging_counts_pixels_that_are_cut() -> None:
    np.testing.assert_allclose(area(3, 2), [[2 / 3, 1 / 3, 0], [0, 1 / 3, 2 / 3]], atol=1e-6)


def test_every_source_takes_the_same_path(photograph: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", photograph)
    Image.fromarray(photograph).save(tmp_path / "a.png")
    Image.fromarray(photograph).save(tmp_path / "a.ppm")
    for way in ("stretch", "product-photo"):
        seen = [read_image(tmp_path / f"a.{end}", GRAY, way) for end in ("npy", "png", "ppm")]
        for each in seen:
            np.testing.assert_array_equal(each, model_pixels(photograph, GRAY, way))


def test_the_order_of_memory_is_no_matter(photograph: np.ndarray) -> None:
    backwards = np.ascontiguousarray(photograph[:, :, ::-1])[:, :, ::-1]
    columns = np.asfortranarray(photograph)
    columns.flags.writeable = False
    for way in ("stretch", "product-photo"):
        expected = model_pixels(photograph, COLOUR, way)
        np.testing.assert_array_equal(model_pixels(backwards, COLOUR, way), expected)
        np.testing.assert_array_equal(model_pixels(columns, COLOUR, way), expected)


@pytest.mark.parametrize("way", ["none", "stretch", "product-photo"])
def test_the_models_own_size_goes_in_as_it_is(way) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8)
    np.testing.assert_array_equal(model_pixels(pixels, GRAY, way)[..., 0], pixels)
    np.testing.assert_array_equal(model_pixels(pixels, COLOUR, way), np.stack([pixels] * 3, -1))
    colour = np.random.default_rng(1).integers(0, 256, (28, 28, 3), np.uint8)
    np.testing.assert_array_equal(model_pixels(colour, COLOUR, way), colour)
    luma = np.asarray(Image.fromarray(colour).convert("L"), int)
    assert np.abs(model_pixels(colour, GRAY, way)[..., 0] - luma).max() <= 1


def test_another_size_is_an_error_where_none_is_asked_for() -> None:
    with pytest.raises(DataError, match="28 × 28 × 1 values here, not shape .30, 28.*none"):
        model_pixels(np.zeros((30, 28), np.uint8), GRAY, "none")


def test_stretching_fills_the_model_and_nothing_else() -> None:
    seen = model_pixels(product(200, 200), GRAY, "stretch")
    assert np.all(seen == 200)


def test_a_product_on_white_is_trimmed_fitted_and_negated() -> None:
    """120 × 60 become 28 × 14 in the middle; averages touch the background in one line at most."""
    seen = model_pixels(product(255, 55), GRAY, "product-photo")[..., 0]
    assert np.all(seen[2:-2, 9:19] == 200)
    assert not seen[:, :6].any()
    assert not seen[:, 22:].any()


def test_on_black_nothing_is_negated() -> None:
    seen = model_pixels(product(0, 200), GRAY, "product-photo")[..., 0]
    assert np.all(seen[2:-2, 9:19] == 200)
    assert not seen[:, :6].any()


@pytest.mark.parametrize("background", [40, 100, 128, 190, 253])
def test_the_background_becomes_black(background: int) -> None:
    thing = 0 if background > 127 else 255
    seen = model_pixels(product(background, thing), GRAY, "product-photo")[..., 0]
    assert np.all(seen[2:-2, 9:19] == 255)
    assert not seen[:, :6].any()


def test_noise_does_not_keep_the_background_from_being_trimmed() -> None:
    noise = np.random.default_rng(0).normal(0, 6, (600, 400, 1))
    picture = np.clip(product(240, 50, size=(600, 400)) + noise, 0, 255).astype(np.uint8)
    seen = model_pixels(picture, GRAY, "product-photo")[..., 0].astype(int)
    clean = model_pixels(product(240, 50, size=(600, 400)), GRAY, "product-photo")[..., 0]
    assert np.abs(seen - clean).mean() < 10


@pytest.mark.parametrize(("difference", "trimmed"), [(12, True), (14, False)])
def test_five_percent_are_close(difference: int, trimmed: bool) -> None:
    """5 % of 255 are 12.75."""
    picture = np.full((100, 100, 3), 255, np.uint8)
    picture[:, 70:80] = 255 - difference  # a faint band beside the thing
    picture[40:60, 20:40] = 0
    seen = model_pixels(picture, GRAY, "product-photo")[..., 0]
    # alone, the square of 20 fills the model; with the band it is 20 of 100 high
    assert (seen[0].max() > 100) == trimmed


@pytest.mark.parametrize(("size", "filled"), [((400, 4), (28, 1)), ((4, 400), (1, 28))])
def test_what_is_long_keeps_its_shape(size: tuple[int, int], filled: tuple[int, int]) -> None:
    picture = np.full((500, 500), 255, np.uint8)
    picture[50 : 50 + size[0], 50 : 50 + size[1]] = 0
    seen = model_pixels(picture, GRAY, "product-photo")[..., 0]
    lines = (int((seen.max(axis=1) > 40).sum()), int((seen.max(axis=0) > 40).sum()))
    assert lines == filled


def test_a_model_that_is_not_square_is_filled_as_far_as_it_goes() -> None:
    seen = model_pixels(product(255, 0), WIDE, "product-photo")[..., 0]  # 120 × 60 into 20 × 60
    assert np.all(seen[2:-2, 27:33] == 255)
    assert not seen[:, :24].any()
    assert not seen[:, 36:].any()


@pytest.mark.parametrize("gray", [0, 10, 128, 250, 255])
def test_a_picture_of_one_colour_is_black(gray: int) -> None:
    assert not model_pixels(np.full((90, 120, 3), gray, np.uint8), GRAY, "product-photo").any()


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (2, 3), (14, 14), (28, 27)])
def test_the_smallest_pictures_are_pictures(size: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    for way in ("stretch", "product-photo"):
        assert model_pixels(picture, GRAY, way).shape == (28, 28, 1)
        assert model_pixels(picture, COLOUR, way).shape == (28, 28, 3)


def test_sharpening_adds_what_a_gaussian_takes_away() -> None:
    """A picture that needs no trimming and no scaling but one line: only sharpening is left."""
    picture = np.zeros((28, 27), np.uint8)
    picture[0], picture[-1], picture[:, 0], picture[:, -1] = 90, 90, 90, 90
    picture[0, 0] = picture[0, -1] = picture[-1, 0] = picture[-1, -1] = 0
    picture[12:16, 11:16] = 100
    seen = model_pixels(picture, GRAY, "product-photo")[:, :27, 0].astype(float)
    edged = np.pad(picture.astype(float), 1, mode="edge")
    kernel = np.exp(-0.5 * np.array([1, 0, 1]))
    kernel /= kernel.sum()
    blurred = sum(
        kernel[i] * kernel[j] * edged[i : i + 28, j : j + 27] for i in range(3) for j in range(3)
    )
    np.testing.assert_allclose(seen, np.clip(2 * picture - blurred, 0, 255), atol=0.51)


def test_the_transparent_is_laid_on_white_for_a_product_and_else_on_black() -> None:
    clear = np.zeros((60, 60, 4), np.uint8)
    clear[10:50, 10:50] = (55, 55, 55, 255)
    seen = model_pixels(clear, GRAY, "product-photo")[..., 0]
    assert np.all(seen[4:-4, 4:-4] == 200)
    clear[10:50, 10:50] = (155, 155, 155, 255)
    stretched = model_pixels(clear, GRAY, "stretch")[..., 0]
    assert stretched[14, 14] == 155
    assert stretched[0, 0] == 0


def test_a_drawing_that_black_would_hide_is_laid_on_white() -> None:
    drawing = np.zeros((60, 60, 4), np.uint8)
    drawing[10:50, 10:50] = (55, 55, 55, 255)
    seen = model_pixels(drawing, GRAY, "stretch")[..., 0]
    assert seen[14, 14] == 55
    assert seen[0, 0] == 255


def test_colour_stays_where_the_model_takes_colour() -> None:
    picture = np.full((100, 100, 3), 255, np.uint8)
    picture[20:80, 20:80] = (200, 0, 0)
    seen = model_pixels(picture, COLOUR, "product-photo")
    assert seen[14, 14].tolist() == [55, 255, 255]
    vivid = np.full((100, 100, 3), (255, 255, 0), np.uint8)  # a background without any blue
    vivid[20:80, 20:80] = (0, 0, 255)
    assert np.isfinite(model_pixels(vivid, COLOUR, "product-photo")).all()


def test_a_gray_picture_goes_into_a_colour_model_and_the_other_way_round() -> None:
    gray = product(255, 55)
    colour = np.repeat(gray, 3, axis=2)
    for way in ("stretch", "product-photo"):
        expected = model_pixels(gray, GRAY, way)
        np.testing.assert_array_equal(model_pixels(colour, GRAY, way), expected)
        np.testing.assert_array_equal(
            model_pixels(gray, COLOUR, way), np.repeat(expected, 3, axis=2)
        )


@pytest.mark.parametrize("shape", [(3, 480, 640), (1, 28, 28), (4, 30, 30)])
def test_channels_that_come_first_are_told(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"must come last.*numpy.moveaxis\(image, 0, -1\)"):
        as_picture(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("shape", [(), (5,), (0, 5), (5, 0, 3), (9, 5, 2), (2, 28, 28, 1)])
def test_what_is_no_picture_is_told(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="must have shape .height, width."):
        as_picture(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint16, np.int8, np.bool_])
def test_other_numbers_than_bytes_are_told(dtype: type) -> None:
    with pytest.raises(DataError, match=r"dtype uint8 \(0 … 255\), not .*: convert it first"):
        model_pixels(np.zeros((28, 28), dtype), GRAY, "stretch")


def test_a_large_photograph_is_reduced_on_its_way(
    photograph: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(photograph[:426]).save(tmp_path / "a.png")
    whole = read_image(tmp_path / "a.png", GRAY)
    monkeypatch.setattr("hemline.pictures.images._KEPT_PIXELS", 70_000)
    assert read_picture(tmp_path / "a.png").shape == (213, 320, 3)
    # the filter is as wide as 15 pixels of one side: averages of 2 × 2 change it little
    assert np.abs(read_image(tmp_path / "a.png", GRAY).astype(int) - whole).max() <= 3


MEMORY = """
import resource, sys
from pathlib import Path
from hemline.pictures.images import read_image
from hemline.contract.specs import InputSpec
import PIL.Image
spec = InputSpec(height=28, width=28, channels=1, dtype="uint8")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
read_image(Path(sys.argv[1]), spec, "product-photo")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "most_megabytes"),
    [
        ("a.jpg", 60),  # unpacked to a quarter of each side
        ("a.png", 240),  # pillow's own 4 bytes a pixel are 196
        ("a.npy", 210),  # the file itself is 147
        ("a.ppm", 210),
    ],
)
def test_the_largest_photograph_needs_bounded_memory(
    tmp_path: Path, name: str, most_megabytes: int
) -> None:
    """49 megapixels of colour; as float32 they would be 590 MB."""
    tile = np.random.default_rng(0).integers(0, 256, (70, 70, 3), np.uint8)
    pixels = np.tile(tile, (100, 100, 1))
    if name == "a.npy":
        np.save(tmp_path / name, pixels)
    else:
        Image.fromarray(pixels).save(tmp_path / name)
    del pixels
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path / name)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) <= most_megabytes


def test_an_album_shows_the_picture_beside_what_the_model_saw(tmp_path: Path) -> None:
    album = Album(tmp_path / "shown")
    red = np.full((40, 20, 3), (200, 0, 0), np.uint8)
    seen = np.zeros((28, 28, 1), np.uint8)
    seen[14:] = 255
    paths = [
        album.add(name, red, seen, "Shirt 99.0 %\nCoat 1.0 %") for name in ("shirt", "shirt", "1")
    ]
    assert [path.name for path in paths[:2]] == ["000000-shirt.png", "000001-shirt.png"]
    assert paths[2].read_bytes() == paths[0].read_bytes()  # no caption repeats the name
    with Image.open(paths[0]) as picture:
        pixels = np.asarray(picture)
    assert pixels[150, 150].tolist() == [200, 0, 0]
    assert pixels[100, 440].tolist() == [0, 0, 0]
    assert pixels[200, 440].tolist() == [255, 255, 255]
    assert pixels[300:].min() < 100  # the caption


@pytest.mark.parametrize("name", ["ひ" * 200, "x" * 240, "", "日\udcff\n本"])
def test_any_name_and_answer_can_be_drawn(tmp_path: Path, name: str) -> None:
    stream = io.BytesIO()
    album = Album(tmp_path)
    path = album.add(name, np.zeros((1, 900, 4), np.uint8), np.zeros((5, 60, 3), np.uint8), name)
    with Image.open(path) as picture:
        picture.save(stream, "PNG")
    assert stream.tell() > 0
