"""Image files become the model's pixels, whatever they are stored as."""

from __future__ import annotations

import json
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from hemline.contract.specs import InputSpec
from hemline.data.datasets import Images
from hemline.errors import BackendError, DataError, UnknownNameError
from hemline.export.admission.user_samples import read_user_classes
from hemline.pictures import images as images_module
from hemline.pictures import preprocessing
from hemline.pictures.images import read_image, read_picture, read_size
from hemline.pictures.jpeg import _decoder, plain_jpeg
from hemline.pictures.preprocessing import model_pixels
from hemline.runtime import Classifier
from hemline.runtime.command_line import main
from hemline.runtime.input.frames import image_frames
from hemline.runtime.pixels import PixelEncoder

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


@pytest.mark.parametrize("luma", [0, 40, 200, 255])
@pytest.mark.parametrize("side", [28, 40])
@pytest.mark.parametrize("way", ["stretch", "product-photo"])
def test_a_drawing_on_a_transparent_ground_can_be_seen(luma: int, side: int, way) -> None:
    drawing = np.zeros((side, side, 4), np.uint8)
    drawing[4:24, 4:24] = (luma, luma, luma, 255)
    drawing[8:20, 8:20, 3] = 0
    seen = model_pixels(drawing, GRAY, way)
    assert int(seen.max()) - int(seen.min()) >= 190
    if side == 28 and way == "stretch":  # on black, unless it is dark itself
        assert seen[0, 0, 0] == (255 if luma < 64 else 0)


def test_tiff_orientation_is_applied_once(tmp_path: Path) -> None:
    """Pillow turns a TIFF itself, and nothing else."""
    upright = np.arange(12 * 20, dtype=np.uint8).reshape(12, 20)
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.T, 6: upright.T[::-1], 7: upright.T[::-1, ::-1], 8: upright.T[:, ::-1],
    }  # fmt: skip
    for orientation, pixels in stored.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        for depth, scale in ((np.uint8, 1), (np.uint16, 256)):
            turned = Image.fromarray(np.ascontiguousarray(pixels).astype(depth) * depth(scale))
            for name in ("a.tif", "a.png"):
                turned.save(tmp_path / name, exif=exif)
                assert read_size(tmp_path / name) == (12, 20), (name, orientation)
                seen = read_picture(tmp_path / name)[..., 0]
                np.testing.assert_array_equal(seen, upright, f"{name} {orientation} {depth}")


def test_a_palette_is_resolved(tmp_path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).convert("P").save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", GRAY)[..., 0], pixels)


def test_cmyk_is_converted(tmp_path: Path) -> None:
    Image.new("CMYK", (28, 28), (0, 0, 0, 0)).save(tmp_path / "a.jpg")
    assert read_image(tmp_path / "a.jpg", GRAY).min() >= 250  # no ink is white; JPEG rounds


@pytest.mark.parametrize("turned", range(1, 9))
def test_exif_rotation_is_applied(tmp_path: Path, turned: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (28, 19, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = turned
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as image:
        upright = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png"), upright)


def test_a_rotation_that_is_none_is_none(tmp_path: Path, pixels: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = 77
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", GRAY)[..., 0], pixels)


def test_a_large_jpeg_is_unpacked_small_and_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    side = np.linspace(0, 255, 4200, dtype=np.uint8)
    Image.fromarray(np.repeat(side[:, None], 4096, axis=1)).save(tmp_path / "a.jpg", exif=exif)
    picture = read_picture(tmp_path / "a.jpg")
    assert picture.shape == (1024, 1050, 1)
    assert picture[500, 0, 0] > 240  # what was below is left
    assert picture[500, -1, 0] < 15


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "I;16"]
)
@pytest.mark.parametrize("way", ["stretch", "product-photo"])
def test_every_mode_of_pillow_becomes_pixels(tmp_path: Path, mode: str, way) -> None:
    gray = Image.fromarray(np.full((40, 50), 255, np.uint8))
    image = gray if mode == "I;16" else gray.convert(mode)
    if mode == "I;16":
        image = Image.fromarray(np.full((40, 50), 65535, np.uint16))
    image.save(tmp_path / "a.tif")
    expected = 0 if way == "product-photo" else 255  # white becomes the black background
    seen = read_image(tmp_path / "a.tif", GRAY, way)
    assert np.abs(seen.astype(int) - expected).max() <= 1


def test_a_transparent_colour_of_a_palette_is_transparent(tmp_path: Path) -> None:
    image = Image.new("P", (28, 28), 1)
    image.putpalette([0, 0, 0, 255, 255, 255])
    image.save(tmp_path / "a.png", transparency=1)
    assert read_image(tmp_path / "a.png", GRAY).max() == 0


def test_of_an_animation_the_first_picture_is_taken_and_told(
    tmp_path: Path, pixels: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    more = [Image.new("L", (28, 28), 255)]
    for name in ("a.gif", "a.png", "a.webp", "a.tif"):
        caplog.clear()
        lossless = {"lossless": True} if name == "a.webp" else {}
        path = tmp_path / name
        Image.fromarray(pixels).save(path, save_all=True, append_images=more, **lossless)
        np.testing.assert_allclose(read_image(path, GRAY)[..., 0], pixels, atol=1)
        assert caplog.messages == [f"{path} is animated: its first picture is used"]


def test_a_second_picture_of_a_telephone_needs_no_mention(
    tmp_path: Path, pixels: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    more = [Image.new("L", (28, 28), 255)]
    Image.fromarray(pixels).save(tmp_path / "a.mpo", save_all=True, append_images=more)
    read_image(tmp_path / "a.mpo", GRAY)
    assert caplog.messages == []


def test_pgm_and_ppm_need_no_pillow(
    tmp_path: Path, pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(pixels).save(tmp_path / "a.pgm")
    Image.fromarray(np.stack([pixels] * 3, -1)).save(tmp_path / "a.ppm")
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.save(tmp_path / "a.npy", pixels)
    monkeypatch.setitem(sys.modules, "PIL", None)
    for name in ("a.pgm", "a.ppm", "a.npy"):
        np.testing.assert_array_equal(read_image(tmp_path / name, GRAY)[..., 0], pixels)
    with pytest.raises(BackendError, match=r"reading \.png needs pillow: pip install pillow"):
        read_image(tmp_path / "a.png", GRAY)


def test_arrays_in_any_order_of_memory_get_the_right_label(bundle: Path, images: Images) -> None:
    wide = np.zeros((28, 56), np.uint8)
    with Classifier.load(bundle / "int8.tflite") as classifier:
        for pixels, label in zip(images.test_images[:5, :, :, 0], images.test_labels, strict=False):
            wide[:, ::2] = pixels
            locked = pixels.copy()
            locked.flags.writeable = False
            turned = np.ascontiguousarray(pixels[::-1, ::-1])[::-1, ::-1]
            for each in (wide[:, ::2], locked, turned, np.asfortranarray(pixels)):
                assert classifier.classify(each).index == label
                assert classifier.classify_batch(each[np.newaxis])[0].index == label


def test_an_array_with_its_channels_first_is_told() -> None:
    encoder = PixelEncoder(COLOUR)
    with pytest.raises(DataError, match=r"28 × 28 × 3 values.*numpy.moveaxis\(image, 0, -1\)"):
        encoder.encode_one(np.zeros((3, 28, 28), np.uint8))


def test_a_classifier_prepares_what_it_classifies(
    bundle: Path, images: Images, tmp_path: Path
) -> None:
    pixels, label = images.test_images[0, :, :, 0], int(images.test_labels[0])
    large = np.repeat(np.repeat(pixels, 10, axis=0), 10, axis=1)
    Image.fromarray(large).save(tmp_path / "a.png")
    with Classifier.load(bundle / "int8.tflite", preprocess="stretch") as classifier:
        seen = classifier.prepare(large)
        np.testing.assert_array_equal(classifier.prepare(tmp_path / "a.png"), seen)
        assert classifier.classify(seen).index == label
        assert classifier.classify(tmp_path / "a.png").index == label
        other_size = (
            r"not shape \(280, 280\): resize it, or use classifier.prepare\(image\), .* RGB"
        )
        with pytest.raises(DataError, match=other_size):
            classifier.classify(large)
        colour = np.stack([large[::10, ::10]] * 3, axis=-1)
        with pytest.raises(DataError, match=r": convert its channels, or use classifier.prepare"):
            classifier.classify(colour)
        with pytest.raises(DataError, match=r": a batch of one is image\[0\]$"):
            classifier.classify(colour[None])
        of_pillow = r"not Image: convert it by numpy.asarray\(image.convert\(\"RGB\"\)\)"
        for work in (classifier.classify, classifier.prepare):
            with pytest.raises(DataError, match=of_pillow):
                work(Image.fromarray(large))
    with pytest.raises(UnknownNameError, match="did you mean 'stretch'"):
        Classifier.load(bundle / "int8.tflite", preprocess="strech")


def test_the_way_to_preprocess_is_that_of_the_stamp(bundle: Path, tmp_path: Path) -> None:
    """Fashion-MNIST's is product-photo: white paper becomes black."""
    Image.new("L", (50, 40), 255).save(tmp_path / "a.png")
    with Classifier.load(bundle / "int8.tflite") as classifier:
        assert classifier.stamp.preprocessing == "product-photo"
        assert classifier.prepare(tmp_path / "a.png").max() == 0
    with Classifier.load(bundle / "int8.tflite", preprocess="stretch") as classifier:
        assert classifier.prepare(tmp_path / "a.png").min() == 255


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


@pytest.mark.parametrize("size", [(40_000, 1), (1, 40_000)])
def test_a_side_that_is_out_of_all_proportion_is_refused(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    Image.new("1", size).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png has .* pixels: scale it down"):
        read_image(tmp_path / "a.png", GRAY)
    np.save(tmp_path / "a.npy", np.zeros(size, np.uint8))
    with pytest.raises(
        DataError, match=r"a\.npy: an image can have at most 32768 pixels on a side"
    ):
        read_image(tmp_path / "a.npy", GRAY)


def crafted(header: bytes) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


CRAFTED = [
    b"{'descr': '|u1', 'fortran_order': False, 'shape': (%d, 28)}" % 10**30,
    b"{1: 2, 'a': 3}",
    b"-" * 9000,
    b"(" * 9000,
    b"{'descr': (), 'fortran_order': False, 'shape': (28, 28)}",
]


@pytest.mark.parametrize("header", CRAFTED, ids=range(len(CRAFTED)))
def test_a_crafted_header_is_an_error_of_its_file(tmp_path: Path, header: bytes) -> None:
    (tmp_path / "a.npy").write_bytes(crafted(header))
    with pytest.raises(DataError, match=r"a\.npy"):
        read_image(tmp_path / "a.npy", GRAY)
    with pytest.raises(DataError, match=r"a\.npy"):
        read_user_classes(tmp_path / "a.npy", None, GRAY, 10)
    frames = list(image_frames(BytesIO(crafted(header)).read))
    assert isinstance(frames[0], DataError)


def jpeg(mode: str = "RGB", size: tuple[int, int] = (53, 37), **options: object) -> bytes:
    """Return a JPEG of blocks and noise."""
    random, stream = np.random.default_rng(1), BytesIO()
    blocks = Image.fromarray(random.integers(0, 256, (5, 7, 3), np.uint8)).resize(size)
    noisy = np.asarray(blocks).astype(int) + random.integers(-20, 20, (*size[::-1], 3))
    picture = Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).convert(mode)
    picture.save(stream, "JPEG", **options)
    return stream.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize(
    "options",
    [
        {"subsampling": "4:4:4"},
        {"subsampling": "4:2:2", "quality": 30},
        {"subsampling": "4:2:0", "quality": 95},
        {"progressive": True},
        {"optimize": True, "restart_marker_rows": 1},
        {"size": (1, 1)},
        {"size": (300, 7), "icc_profile": b"of a camera" * 9000},
    ],
    ids=str,
)
def test_a_plain_jpeg_is_unpacked_to_the_pixels_of_pillow(
    tmp_path: Path, mode: str, options: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg(mode, **options))
    direct = plain_jpeg(path.read_bytes(), 1 << 20, 2048)
    np.testing.assert_array_equal(read_picture(path), direct)
    assert direct is not None
    place, other = np.zeros_like(direct), np.zeros((9, *direct.shape[1:]), np.uint8)
    assert read_picture(path, 0, place) is place
    np.testing.assert_array_equal(place, direct)
    np.testing.assert_array_equal(read_picture(path, 0, other), direct)
    assert not other.any()
    monkeypatch.setattr(images_module, "plain_jpeg", lambda *_: None)
    np.testing.assert_array_equal(read_picture(path), direct)


def with_orientation() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return jpeg(exif=exif)


@pytest.mark.parametrize(
    "content",
    [
        with_orientation(),
        jpeg(xmp=b'<x tiff:Orientation="6"/>'),
        jpeg("CMYK"),
        jpeg(keep_rgb=True),
        jpeg(size=(1025, 1025)),
        jpeg()[:-600],
        jpeg()[:20],
        b"\xff\xd8\xff",
    ],
    ids=["exif", "xmp", "CMYK", "RGB", "large", "cut", "header", "signature"],
)
def test_another_jpeg_is_left_to_pillow(content: bytes) -> None:
    assert plain_jpeg(content, 1 << 20, 2048) is None


def test_photographs_are_read_without_the_faster_decoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg())
    expected = read_picture(tmp_path / "a.jpg")
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    _decoder.cache_clear()
    try:
        assert plain_jpeg(jpeg(), 1 << 20, 2048) is None
        np.testing.assert_array_equal(read_picture(tmp_path / "a.jpg"), expected)
    finally:
        _decoder.cache_clear()


def test_a_jpeg_of_the_size_of_a_large_model_is_taken_as_it_is(tmp_path: Path) -> None:
    spec = InputSpec(height=2100, width=2400, channels=1, dtype="uint8")
    pixels = np.zeros((2100, 2400), np.uint8)
    pixels[::2] = 255  # what is lost when it is reduced
    Image.fromarray(pixels).save(tmp_path / "a.jpg", quality=95)
    assert np.abs(read_image(tmp_path / "a.jpg", spec)[..., 0].astype(int) - pixels).max() < 40
    assert read_picture(tmp_path / "a.jpg").shape == (1050, 1200, 1)


def test_the_ending_of_an_array_may_be_in_capitals(tmp_path: Path, pixels: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", pixels)
    (tmp_path / "a.npy").rename(tmp_path / "a.NPY")
    np.testing.assert_array_equal(read_image(tmp_path / "a.NPY", GRAY)[..., 0], pixels)


def test_a_list_of_arrays_is_a_batch(bundle: Path, images: Images, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", images.test_images[2])
    with Classifier.load(bundle / "int8.tflite") as classifier:
        mixed = [images.test_images[0], images.test_images[1, :, :, 0], tmp_path / "a.npy"]
        found = [prediction.index for prediction in classifier.classify_batch(mixed)]
    assert found == images.test_labels[:3].tolist()


def test_too_little_memory_is_an_error_of_its_image(
    bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def too_large(*_: object) -> None:
        raise MemoryError

    np.save(tmp_path / "a.npy", np.zeros((40, 40), np.uint8))
    np.save(tmp_path / "b.npy", np.zeros((28, 28), np.uint8))
    monkeypatch.setattr(preprocessing, "_product_photo", too_large)
    names = [str(tmp_path / name) for name in ("a.npy", "b.npy")]
    assert main(["classify", str(bundle / "int8.tflite"), *names]) == 1
    told = capsys.readouterr()
    assert told.err == f"error: {names[0]} needs more memory than there is\n"
    assert told.out.startswith(names[1])
    assert main(["classify", str(bundle / "int8.tflite"), "--watch", str(tmp_path), "--count", "2"])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert sorted("error" in line for line in lines) == [False, True]
