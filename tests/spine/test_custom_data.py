"""Custom data sets: read as a device reads them, split by content, refused in one line."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner
from PIL import Image

from hemline.cli import cli
from hemline.contract.specs import InputSpec
from hemline.data.custom import reading as reading_module
from hemline.data.custom.loading import load_custom, name_of
from hemline.data.custom.pixel_range import byte_blocks
from hemline.data.custom.reading import CustomImages, ReadOptions
from hemline.data.custom.test_split import with_large_test_part, with_test_part
from hemline.data.datasets import DATASETS, Images
from hemline.data.fetch import FetchOptions, load_images
from hemline.data.figures import contact_sheet
from hemline.data.splits import split_images
from hemline.errors import DataError, HemlineError, UsageError
from hemline.files import sha256_of
from hemline.host import free_bytes
from hemline.pictures.images import read_image, read_picture, read_size
from hemline.progress import Say, report_to
from hemline.remedies import described

Pixels = npt.NDArray[np.uint8]
COLOURS = {"blue": (40, 60, 200), "green": (50, 180, 60), "red": (200, 50, 40)}


def picture(colour: tuple[int, int, int], seed: int, size: tuple[int, int] = (12, 10)) -> Pixels:
    """Return uint8 (height, width, 3): a colour with noise, so that all pictures differ."""
    noise = np.random.default_rng(seed).integers(-30, 30, (*size, 3))
    return np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)


def as_bytes(values: npt.NDArray[Any], *, where: str) -> Pixels:
    """Return an array as pixels, read image by image."""
    return np.concatenate([*byte_blocks(lambda: np.split(values, len(values)), where=where)])


def write_classes(folder: Path, *, each: int = 10, seed: int = 0) -> Path:
    """Write a folder for each colour, with `each` PNG files in it."""
    for at, (name, colour) in enumerate(COLOURS.items()):
        (folder / name).mkdir(parents=True)
        for number in range(each):
            pixels = picture(colour, seed + 1000 * at + number)
            Image.fromarray(pixels).save(folder / name / f"{number:03d}.png")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of 30 images in three classes."""
    return write_classes(tmp_path / "colours")


def load(
    path: Path, cache: Path | None = None, report: Say = lambda _: None, **reading: Any
) -> Images:
    with report_to(report):
        return load_custom(path, ReadOptions(**reading), cache=cache)


def arrays_of(folder: Path) -> dict[str, npt.NDArray[Any]]:
    """Return x and y of the files of a folder."""
    files = sorted(folder.glob("*/*.png"))
    return {
        "x": np.stack([read_picture(path) for path in files]),
        "y": np.array([sorted(COLOURS).index(path.parent.name) for path in files]),
    }


def test_a_folder_becomes_a_data_set_named_after_it(folder: Path) -> None:
    images = load(folder)
    assert images.dataset.is_custom
    assert (images.dataset.name, images.dataset.labels) == ("colours", ("blue", "green", "red"))
    assert images.dataset.preprocessing == "stretch"
    assert images.train_images.shape == (24, 12, 10, 3)
    assert images.test_images.shape == (6, 12, 10, 3)
    assert not images.verified


def test_training_sees_what_a_device_sees(tmp_path: Path) -> None:
    """Every kind of file, in a size that is not the model's, against the runtime's own reader."""
    folder = write_classes(tmp_path / "kinds")
    pixels = picture(COLOURS["red"], 99, (40, 30))
    colour, gray = Image.fromarray(pixels), Image.fromarray(pixels[..., 0])
    turned = Image.Exif()
    turned[0x0112] = 6
    clear = Image.merge("RGBA", (*colour.split(), gray))
    place = folder / "red"
    gray.save(place / "gray.png")
    clear.save(place / "clear.png")
    colour.convert("P").save(place / "palette.gif")
    Image.fromarray(pixels[..., 1].astype(np.uint16) << 8).save(place / "bits16.png")
    colour.convert("CMYK").save(place / "cmyk.jpg", quality=95)
    colour.save(place / "turned.jpg", exif=turned)
    np.save(place / "array.npy", pixels)
    for channels in (1, 3):
        images = load(folder, size=(16, 20), channels=channels)
        spec = InputSpec(height=16, width=20, channels=channels, dtype="float32")
        parts = ((images.train_names, images.train_images), (images.test_names, images.test_images))
        seen = {n: image for names, part in parts for n, image in zip(names, part, strict=True)}
        assert len(seen) == 37
        for name, image in seen.items():
            np.testing.assert_array_equal(image, read_image(folder / name, spec, "stretch"), name)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_in_a_header_is_the_size_that_is_read(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = picture(COLOURS["blue"], 1, (20, 30))
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif)
    Image.fromarray(pixels).save(tmp_path / "a.ppm")
    np.save(tmp_path / "a.npy", pixels)
    for path in tmp_path.iterdir():
        assert read_size(path) == read_picture(path).shape[:2]


def test_images_are_gray_when_every_one_is(folder: Path) -> None:
    for path in folder.glob("*/*.png"):  # stored in colour, but gray to look at
        gray = Image.open(path).convert("L")
        gray.convert("RGB").save(path)
    images = load(folder)
    assert images.train_images.shape[3] == 1
    np.testing.assert_array_equal(images.train_images, load(folder, channels=1).train_images)
    assert load(folder, channels=3).train_images.shape[3] == 3
    Image.fromarray(picture(COLOURS["red"], 5)).save(folder / "red" / "one.png")
    assert load(folder).train_images.shape[3] == 3


def test_the_test_part_has_its_share_of_each_class(tmp_path: Path) -> None:
    images = load(write_classes(tmp_path / "many", each=20))
    assert np.bincount(images.test_labels).tolist() == [3, 3, 3]
    assert np.bincount(images.train_labels).tolist() == [17, 17, 17]
    assert len(images.test_indices) == 9
    assert not set(images.train_names) & set(images.test_names)


def test_the_same_images_are_the_same_data_wherever_they_lie(folder: Path, tmp_path: Path) -> None:
    images = load(folder)
    other = tmp_path / "moved"
    for at, path in enumerate(sorted(folder.glob("*/*.png"), reverse=True)):
        target = other / path.parent.name / "deep" / f"other-{at}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    moved = load(other)
    np.savez(tmp_path / "arrays.npz", **arrays_of_deep(other))
    for same in (moved, load(tmp_path / "arrays.npz")):
        assert same.sha256 == images.sha256
        assert same.test_indices == images.test_indices
        np.testing.assert_array_equal(same.train_images, images.train_images)


def test_most_images_of_a_model_trained_elsewhere_are_for_test() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (230, 6, 6, 3), np.uint8)
    pixels = np.concatenate([pixels, pixels[:10]])  # ten copies
    classes = np.concatenate([np.arange(230) % 2, np.arange(10) % 2]).astype(np.uint8)
    found = with_test_part(
        CustomImages(
            labels=("a", "b"),
            images=pixels,
            classes=classes,
            names=tuple(map(str, range(240))),
            test_from=None,
        ),
        replace(DATASETS["fashion-mnist"], labels=("a", "b")),
        source="photos",
        reading=ReadOptions(),
    )
    images = with_large_test_part(found)
    held_out = list(images.validation_indices)
    validation = images.train_images[held_out]
    calibration = np.delete(images.train_images, held_out, axis=0)
    parts = [{each.tobytes() for each in part} for part in (calibration, validation)]
    parts.append({each.tobytes() for each in images.test_images})
    assert len(set.union(*parts)) == sum(map(len, parts)) == 230  # no image is in two parts
    assert 96 <= len(images.train_images) <= 104
    assert 46 <= len(held_out) <= 54
    assert len(images.test_images) + len(images.train_images) == 240
    assert sorted((*images.train_names, *images.test_names)) == sorted(map(str, range(240)))
    assert set(found.test_names) < set(images.test_names)
    assert images.sha256 != found.sha256
    own = replace(found, test_indices=())
    assert with_large_test_part(own) is own  # the user's own test part
    assert with_large_test_part(images).test_names == images.test_names


def photographs(folder: Path) -> Path:
    """Write 60 photographs of three sizes, as JPEG, each with a copy in another format."""
    for at, (name, colour) in enumerate(COLOURS.items()):
        (folder / name).mkdir(parents=True)
        for number in range(20):
            size = ((48, 64), (60, 40), (50, 50))[number % 3]
            Image.fromarray(picture(colour, 100 * at + number, size)).save(
                folder / name / f"{number:03d}.jpg", quality=95
            )
    Image.open(folder / "red" / "000.jpg").save(folder / "red" / "copy.png")
    return folder


@pytest.mark.parametrize("other", [{"size": (64, 48)}, {"size": (16, 16), "channels": 1}])
def test_every_size_holds_out_the_same_photographs(tmp_path: Path, other: dict[str, Any]) -> None:
    folder = photographs(tmp_path / "photos")
    small, large = load(folder, size=(16, 16)), load(folder, tmp_path / "cache", **other)
    again = load(folder, tmp_path / "cache", **other)
    assert small.sha256 != large.sha256, "their pixels differ"
    for found in (large, again):
        assert _files(found.test_names, folder) == _files(small.test_names, folder)
        assert _files(found.train_names, folder) == _files(small.train_names, folder)
    assert {"red/000.jpg", "red/copy.png"} <= {*small.train_names} or {
        "red/000.jpg",
        "red/copy.png",
    } <= {*small.test_names}, "copies stay together"
    splits = [split_images(images, validation=12).split for images in (small, large)]
    assert splits[0].validation_indices == splits[1].validation_indices
    assert splits[0].test_indices == splits[1].test_indices


def _files(names: tuple[str, ...], folder: Path) -> list[str]:
    """Return the hashes of files, in their order."""
    return [sha256_of(folder / name) for name in names]


def test_images_that_an_older_version_ordered_by_another_hash_keep_that_order(
    tmp_path: Path,
) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (60, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "x.npz", x=pixels, y=np.arange(60) % 3)
    older = {  # what it wrote into the card of a model
        "train": "467bca2df2ff6978a71a489144cc0aff3398884c4f4a9ea2533b692978dbec2b",
        "test": "530a35e07e18d54a8071cf77219be8f57d4586f97dc79d07242b79294ff21c7f",
    }
    known, new = load(tmp_path / "x.npz", known_sha256=older), load(tmp_path / "x.npz")
    assert known.sha256 == older
    tested = (50, 17, 6, 58, 13, 21, 34, 30, 11)
    assert known.test_names == tuple(f"x[{at}]" for at in tested) != new.test_names
    np.testing.assert_array_equal(known.test_images, pixels[[*tested]])
    strange = load(tmp_path / "x.npz", known_sha256={"train": "other", "test": "other"})
    assert strange.sha256 == new.sha256


def arrays_of_deep(folder: Path) -> dict[str, npt.NDArray[Any]]:
    files = sorted(folder.glob("*/deep/*.png"))
    return {
        "x": np.stack([read_picture(path) for path in files]),
        "y": np.array([sorted(COLOURS).index(path.parts[-3]) for path in files]),
    }


def test_one_changed_pixel_makes_other_data(folder: Path) -> None:
    before = load(folder).sha256
    path = folder / "red" / "003.png"
    pixels = np.array(Image.open(path))
    pixels[0, 0, 0] ^= 1
    Image.fromarray(pixels).save(path)
    assert load(folder).sha256 != before


def test_images_that_come_later_leave_nearly_all_of_the_test_part(tmp_path: Path) -> None:
    folder = write_classes(tmp_path / "growing", each=40)
    before = set(load(folder).test_names)
    write_classes(tmp_path / "more", each=4, seed=500)
    for path in (tmp_path / "more").glob("*/*.png"):
        path.rename(folder / path.parent.name / f"more-{path.name}")
    after = load(folder)
    # of 18, as many leave as come in front of them: a tenth more images, so about two
    assert len(before & set(after.test_names)) >= 14


def test_the_first_images_are_of_every_class(tmp_path: Path) -> None:
    images = load(write_classes(tmp_path / "many", each=40))
    assert set(images.train_labels[:20].tolist()) == {0, 1, 2}


def test_a_test_part_in_the_data_is_kept(tmp_path: Path) -> None:
    write_classes(tmp_path / "parted" / "train")
    write_classes(tmp_path / "parted" / "test", each=2, seed=77)
    shutil.rmtree(tmp_path / "parted" / "test" / "green")  # a class may lack test images
    images = load(tmp_path / "parted")
    assert (len(images.train_images), len(images.test_images)) == (30, 4)
    assert images.test_indices == ()
    assert sorted(set(images.test_labels.tolist())) == [0, 2]
    assert all(name.startswith("test/") for name in images.test_names)


def test_a_class_may_be_called_train(folder: Path) -> None:
    (folder / "red").rename(folder / "train")
    assert load(folder).dataset.labels == ("blue", "green", "train")


def test_an_npz_is_read_as_keras_writes_it(folder: Path, tmp_path: Path) -> None:
    arrays = arrays_of(folder)
    x, y = arrays["x"], arrays["y"].reshape(-1, 1)
    path = tmp_path / "keras.npz"
    np.savez_compressed(path, x_train=x[::2], y_train=y[::2], x_test=x[1::2], y_test=y[1::2])
    images = load(path, labels=("b", "g", "r"))
    assert (len(images.train_images), len(images.test_images)) == (15, 15)
    assert images.dataset.labels == ("b", "g", "r")
    assert images.dataset.name == "keras"
    assert load(path).dataset.labels == ("0", "1", "2")


def test_an_npz_may_name_its_classes(folder: Path, tmp_path: Path) -> None:
    arrays = arrays_of(folder)
    labels = np.array(sorted(COLOURS))
    np.savez(tmp_path / "beside.npz", **arrays, labels=labels)
    np.savez(tmp_path / "inside.npz", x=arrays["x"], y=labels[arrays["y"]])
    for name in ("beside", "inside"):
        images = load(tmp_path / f"{name}.npz")
        assert images.dataset.labels == ("blue", "green", "red")
        assert images.sha256 == load(folder).sha256


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_float_array_is_taken_when_nothing_is_lost(dtype: type) -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(4, 8, 8)
    np.testing.assert_array_equal(as_bytes(pixels.astype(dtype) / dtype(255), where="x"), pixels)
    np.testing.assert_array_equal(as_bytes(pixels.astype(dtype), where="x"), pixels)
    np.testing.assert_array_equal(as_bytes(pixels.astype(np.int64), where="x"), pixels)
    widened = (pixels.astype(dtype) * dtype(1 / 255)).astype(np.float64)
    if dtype != np.float16:
        np.testing.assert_array_equal(as_bytes(widened, where="x"), pixels)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            np.linspace(0, 1, 999).reshape(1, 27, 37),
            r"float64 values from 0 to 1 .*\* 255\)\.round",
        ),
        (
            np.linspace(-1, 1, 999).reshape(1, 27, 37),
            "float64 values from -1 to 1 that are not 8-bit",
        ),
        (np.full((1, 2, 2), np.nan), "float64 values from nan to nan"),
        (np.full((1, 2, 2), 256), "int64 values from 256 to 256"),
        (np.ones((1, 2, 2), bool), "has dtype bool: save pixels as uint8"),
        (np.ones((1, 2, 2), complex), "has dtype complex128: save pixels as uint8"),
    ],
)
def test_other_numbers_are_refused(values: npt.NDArray[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        as_bytes(values, where="x")


X, Y = np.zeros((9, 8, 8, 3), np.uint8), np.arange(9) % 3
BAD_ARRAYS: dict[str, tuple[dict[str, Any], str]] = {
    "no y": ({"x": X}, "bad.npz has x: it needs x and y"),
    "nothing": ({}, "has no arrays: it needs x and y"),
    "half a test part": ({"x_train": X, "y_train": Y, "x_test": X}, "it needs x and y"),
    "both ways": ({"x": X, "y": Y, "x_test": X, "y_test": Y}, "it needs x and y"),
    "flat": ({"x": X.reshape(9, -1), "y": Y}, "images must be (n, height, width)"),
    "channels first": ({"x": np.moveaxis(X, -1, 1), "y": Y}, "numpy.moveaxis(x, 1, -1)"),
    "many channels": ({"x": np.zeros((9, 8, 8, 7), np.uint8), "y": Y}, "1, 3 or 4 channels on"),
    "empty": ({"x": X[:0], "y": Y[:0]}, "contains no images"),
    "lengths": ({"x": X, "y": Y[:5]}, "there must be one class for each image"),
    "one-hot": ({"x": X, "y": np.eye(3)[Y]}, "y.argmax(axis=1)"),
    "negative": ({"x": X, "y": Y - 1}, "classes from -1 to 1"),
    "large": ({"x": X, "y": Y + 1000}, "classes from 1000 to 1002"),
    "from one": ({"x": X, "y": Y + 1}, "no image of class 0"),
    "gap": ({"x": X, "y": Y * 2}, "no image of class 1, 3"),
    "real classes": (
        {"x": X, "y": Y.astype(float)},
        "y has dtype float64: classes must be whole numbers",
    ),
    "objects": (
        {"x": X, "y": Y.astype(object)},
        "y contains Python objects, which are never loaded",
    ),
    "one class": ({"x": X, "y": Y * 0}, "a classifier needs at least 2 classes"),
    "few labels": ({"x": X, "y": Y, "labels": np.array(["a", "b"])}, "there are 2 labels"),
    "twice": ({"x": X, "y": Y, "labels": np.array(["a", "b", "a"])}, "unique texts"),
    "large images": ({"x": np.zeros((9, 300, 8), np.uint8), "y": Y}, "300x8 (height x width)"),
    "another test size": (
        {"x_train": X, "y_train": Y, "x_test": X[:, 1:], "y_test": Y},
        "images of 2 sizes (height x width)",
    ),
    "another test class": (
        {"x_train": X, "y_train": Y, "x_test": X, "y_test": Y + 1},
        "y_test has class 3",
    ),
    "another name": ({"x\nx": X, "y": Y}, "'x\\nx', y: it needs x and y"),
    "copies only": ({"x": X, "y": Y}, "at least 3 different training images"),
}


@pytest.mark.parametrize("arrays", BAD_ARRAYS.values(), ids=BAD_ARRAYS)
def test_arrays_that_are_no_data_are_refused_in_one_line(
    tmp_path: Path, arrays: tuple[dict[str, Any], str]
) -> None:
    content, message = arrays
    np.savez(tmp_path / "bad.npz", **content)
    with pytest.raises(DataError) as caught:
        load(tmp_path / "bad.npz")
    assert message in str(caught.value)
    assert "bad.npz" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 cut", b"\x93NUMPY\x01\x00"])
def test_a_file_that_is_no_npz_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"bad\.npz is not a numpy \.npz file"):
        load(tmp_path / "bad.npz")


def test_a_missing_npz_is_not_called_a_damaged_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.npz does not exist"):
        load(tmp_path / "none.npz")


def test_a_damaged_npz_is_refused(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "bad.npz"
    np.savez(path, **arrays_of(folder))
    content = bytearray(path.read_bytes())
    content[2000] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"cannot read x in .*bad\.npz"):
        load(path)


def test_an_array_that_promises_more_than_the_memory_is_not_read(tmp_path: Path) -> None:
    import zipfile

    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for name, shape in (("x", (1 << 40, 8, 8)), ("y", (1 << 40,))):
            with archive.open(f"{name}.npy", "w") as stream:
                header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(stream, header)
    with pytest.raises(DataError, match="of memory are free"):
        load(path)


def spoil(folder: Path) -> None:
    """Break three files of a folder, each in another way."""
    path = folder / "blue" / "002.png"
    path.write_bytes(path.read_bytes()[:60])
    (folder / "green" / "001.png").write_text("no image")
    (folder / "red" / "link.png").symlink_to("link.png")


def test_broken_files_are_listed_together(folder: Path) -> None:
    spoil(folder)
    with pytest.raises(DataError) as caught:
        load(folder)
    message = described(caught.value)
    assert "3 of 31 files cannot be read" in message
    for name in (
        "blue/002.png (",
        "green/001.png (is not a readable image",
        "red/link.png (too many",
    ):
        assert name in message
    assert message.endswith("; repair or remove them, or skip them with --skip-broken")


@pytest.mark.parametrize("size", [None, (6, 6)])
def test_broken_files_are_skipped_on_request(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, size: tuple[int, int] | None
) -> None:
    spoil(folder)
    for _ in ("decoded", "from the cache"):
        caplog.clear()
        images = load(folder, tmp_path / "cache", skip_broken=True, size=size)
        assert len(images.train_images) + len(images.test_images) == 28
        assert "blue/002.png" not in {*images.train_names, *images.test_names}
        assert "skipped" in caplog.text


def test_names_stay_in_one_line(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "red" / "a\nb.png").write_text("no image")
    (folder / "red" / "a\nb.txt").write_text("no image either")
    with pytest.raises(DataError, match=r"red/a\\nb\.png' \(is not a readable image") as caught:
        load(folder)
    assert "\n" not in str(caught.value)
    assert "\n" not in caplog.records[0].message


def test_a_pipe_among_the_images_is_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "red" / "pipe.png")
    with pytest.raises(DataError, match=r"1 of 31 files .*red/pipe\.png \(not a file\)"):
        load(folder)


def test_when_no_file_can_be_read_they_are_listed_even_on_request(folder: Path) -> None:
    for path in folder.glob("*/*.png"):
        path.write_text("no image")
    with pytest.raises(DataError, match="30 of 30 files cannot be read.* and 27 more"):
        load(folder, skip_broken=True)


def test_mixed_sizes_are_listed_and_the_option_is_named(folder: Path) -> None:
    for number, size in enumerate([(20, 30), (20, 30), (7, 9)]):
        pixels = picture(COLOURS["red"], number, size)
        Image.fromarray(pixels).save(folder / "red" / f"large-{number}.png")
    with pytest.raises(DataError) as caught:
        load(folder)
    assert (
        "3 sizes (height x width), most often 12x10 (30 images), 20x30 (2 images), 7x9 (1 image)"
        in str(caught.value)
    )
    advice = f"choose the model's input size (in Python images('{folder}', size=64))"
    assert str(caught.value).endswith(f": {advice}"), "who uses Python sees no command"
    assert described(caught.value).endswith(f"{advice}; for example --image-size 64")
    assert load(folder, size=(12, 10)).train_images.shape[1:] == (12, 10, 3)


def test_photographs_are_not_taken_in_their_own_size(tmp_path: Path) -> None:
    for name in COLOURS:
        (tmp_path / "photos" / name).mkdir(parents=True)
        for at in range(3):
            pixels = picture(COLOURS[name], at, (400, 300))
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{at}.jpg")
    with pytest.raises(DataError, match="400x300 .height x width., which is large") as caught:
        load(tmp_path / "photos")
    assert "--image-size 64" in described(caught.value)
    assert load(tmp_path / "photos", size=(40, 30)).train_images.shape == (6, 40, 30, 3)


def no_classes(folder: Path) -> None:
    for path in folder.glob("*/*.png"):
        path.rename(folder / f"{path.parent.name}-{path.name}")
    for name in COLOURS:
        (folder / name).rmdir()


def one_class(folder: Path) -> None:
    shutil.rmtree(folder / "blue")
    shutil.rmtree(folder / "red")


def empty_class(folder: Path) -> None:
    (folder / "yellow").mkdir()
    (folder / "yellow" / "notes.txt").write_text("to do")


def few_images(folder: Path) -> None:
    for path in sorted((folder / "red").iterdir())[2:]:
        path.unlink()


def few_different_images(folder: Path) -> None:
    paths = sorted((folder / "red").iterdir())
    for path in paths[2:]:
        path.write_bytes(paths[0].read_bytes())


def control_name(folder: Path) -> None:
    (folder / "red").rename(folder / "re\x1b[31md")


def undecodable_name(folder: Path) -> None:
    (folder / "red").rename(os.fsdecode(os.fsencode(folder) + b"/r\xff"))


def many_classes(folder: Path) -> None:
    for at in range(254):
        (folder / f"class {at}").mkdir()


def validation_folder(folder: Path) -> None:
    (folder / "train").mkdir()
    for name in COLOURS:
        (folder / name).rename(folder / "train" / name)
    (folder / "val").mkdir()


def foreign_test_class(folder: Path) -> None:
    validation_folder(folder)
    (folder / "val").rename(folder / "test")
    (folder / "test" / "pink").mkdir()


def empty_test_part(folder: Path) -> None:
    validation_folder(folder)
    (folder / "val").rename(folder / "test")


BAD_FOLDERS: dict[Callable[[Path], None], str] = {
    no_classes: "has no class folders",
    one_class: "needs at least 2 classes, but there is only one, 'green'",
    empty_class: "has no images in yellow",
    few_images: "each class needs at least 3 different training images .* red (2)",
    few_different_images: "each class needs at least 3 different training images .* red (2)",
    control_name: r"the name of class 're\x1b[31md' cannot be printed",
    undecodable_name: r"the name of class 'r\udcff' cannot be printed",
    many_classes: "has 257 classes, but at most 256 are supported",
    validation_folder: "val has no images: add some, or remove it",
    foreign_test_class: "has classes that",
    empty_test_part: "test has no images",
}


@pytest.mark.parametrize("spoil", BAD_FOLDERS, ids=lambda spoil: spoil.__name__)
def test_a_folder_that_is_no_data_is_refused_in_one_line(
    folder: Path, spoil: Callable[[Path], None]
) -> None:
    spoil(folder)
    with pytest.raises(DataError) as caught:
        load(folder)
    for part in BAD_FOLDERS[spoil].split(" .* "):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_too_many_images_for_the_memory_are_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = 30 * 12 * 10 * 3
    monkeypatch.setattr(reading_module, "free_bytes", lambda: 4 * needed - 1)
    with pytest.raises(DataError, match="30 images of 12 × 10 × 3 values .* are free") as caught:
        load(folder)
    assert described(caught.value).endswith("; choose a smaller --image-size, or fewer images")
    monkeypatch.setattr(reading_module, "free_bytes", lambda: 4 * needed)
    load(folder)


def test_the_free_memory_is_what_the_machine_tells() -> None:
    free = free_bytes()
    assert free is not None
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < free <= total


def test_links_that_lead_back_end(folder: Path) -> None:
    (folder / "red" / "again").symlink_to(folder / "red")
    (folder / "red" / "all").symlink_to(folder)
    assert len(load(folder).train_names) == 24


def test_images_are_found_through_links(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").mkdir()
    for name in COLOURS:
        (tmp_path / "linked" / name).symlink_to(folder / name)
    assert load(tmp_path / "linked").sha256 == load(folder).sha256


def test_what_is_no_image_by_its_name_is_left_out_and_told(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = load(folder).sha256
    assert not caplog.text
    (folder / "red" / "notes.txt").write_text("to do")
    for name in (".DS_Store", "Thumbs.db"):
        (folder / "red" / name).write_text("of no interest")
    (folder / ".git").mkdir()
    assert load(folder).sha256 == before
    assert [record.message for record in caplog.records] == [
        f"{folder}: ignored because of their file names: 1 file, such as red/notes.txt"
    ]


def test_copies_are_told(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.copy(folder / "red" / "001.png", folder / "blue" / "copy.png")
    shutil.copy(folder / "green" / "001.png", folder / "green" / "copy.png")
    images = load(folder)
    assert "in several classes: 1 image, such as blue/copy.png = red/001.png" in caplog.text
    assert "present several times: 1 image, such as green/001.png = green/copy" in caplog.text
    for names in (images.train_names, images.test_names):
        assert len({"blue/copy.png", "red/001.png"} & set(names)) != 1
        assert len({"green/copy.png", "green/001.png"} & set(names)) != 1


def test_test_images_that_were_trained_on_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_classes(tmp_path / "train")
    write_classes(tmp_path / "test", each=3)
    load(tmp_path)
    assert "in the training and in the test part, which overstates" in caplog.text
    assert ": 9 images, such as train/blue/000.png = test/blue/000.png" in caplog.text


def test_the_second_training_decodes_nothing(folder: Path, tmp_path: Path) -> None:
    said: list[str] = []
    cache = tmp_path / "cache"
    first = load(folder, cache, report=said.append)
    assert said == ["reading 30 images"]
    moved = folder.rename(tmp_path / "moved")
    for reading in ({}, {"size": (12, 10)}, {"channels": 3}, {"skip_broken": True}):
        again = load(moved, cache, report=said.append, **reading)
        assert again.sha256 == first.sha256
        assert again.train_names == first.train_names
    assert said == ["reading 30 images"]
    assert load(moved, cache, report=said.append, size=(6, 5)).train_images.shape[1:] == (6, 5, 3)
    assert said == 2 * ["reading 30 images"]


def change_a_file(folder: Path, cache: Path) -> None:
    path = folder / "red" / "000.png"
    Image.fromarray(picture(COLOURS["red"], 12345)).save(path)


def change_pixels_only(folder: Path, cache: Path) -> None:
    """Write other pixels of the same size at the same time, as archives and build systems do."""
    np.save(folder / "red" / "array.npy", picture(COLOURS["red"], 12345))
    os.utime(folder / "red" / "array.npy", (1_000_000_000, 1_000_000_000))


def add_a_file(folder: Path, cache: Path) -> None:
    Image.fromarray(picture(COLOURS["red"], 12345)).save(folder / "red" / "new.png")


def harm_the_cache(folder: Path, cache: Path) -> None:
    (path,) = cache.glob("*/images.npy")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def cut_the_cache(folder: Path, cache: Path) -> None:
    (path,) = cache.glob("*/facts.json")
    path.write_text(path.read_text()[:50])


@pytest.mark.parametrize(
    "change", [change_a_file, change_pixels_only, add_a_file, harm_the_cache, cut_the_cache]
)
def test_what_changed_is_decoded_again(
    folder: Path, tmp_path: Path, change: Callable[[Path, Path], None]
) -> None:
    said: list[str] = []
    np.save(folder / "red" / "array.npy", picture(COLOURS["red"], 1234))
    os.utime(folder / "red" / "array.npy", (1_000_000_000, 1_000_000_000))
    load(folder, tmp_path / "cache")
    change(folder, tmp_path / "cache")
    images = load(folder, tmp_path / "cache", report=said.append)
    assert len(said) == 1
    assert images.sha256 == load(folder).sha256
    load(folder, tmp_path / "cache", report=said.append)
    assert len(said) == 1


def test_the_cache_keeps_four(folder: Path, tmp_path: Path) -> None:
    for side in range(4, 11):
        load(folder, tmp_path / "cache", size=(side, side))
    assert len([path for path in (tmp_path / "cache").iterdir() if path.is_dir()]) == 4
    said: list[str] = []
    load(folder, tmp_path / "cache", size=(10, 10), report=said.append)
    assert not said


def test_a_cache_that_cannot_be_written_costs_only_the_cache(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert len(load(folder, tmp_path / "cache").train_images) == 24
    assert "decoded images are not cached: " in caplog.text


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("flowers 2024", "flowers-2024"),
        ("Blüten/", "Bl-ten"),
        ("mnist", "custom-mnist"),
        ("....", "images"),
        ("x" * 99, "x" * 60),
    ],
)
def test_a_data_set_gets_a_name_that_is_safe_in_a_path(
    tmp_path: Path, given: str, name: str
) -> None:
    (tmp_path / given).mkdir(exist_ok=True)
    assert name_of(tmp_path / given) == name
    assert name not in DATASETS


def test_a_folder_with_idx_files_is_what_it_was(data_folder: Path, tmp_path: Path) -> None:
    assert FetchOptions(folder=data_folder).custom is None
    assert load_images("fashion-mnist", FetchOptions(folder=data_folder)).dataset.files
    with pytest.raises(DataError, match="no train-images-idx3-ubyte"):
        load_images("fashion-mnist", FetchOptions(folder=tmp_path))


def test_custom_images_are_found_by_any_name(folder: Path, tmp_path: Path) -> None:
    options = FetchOptions(folder=folder, cache=tmp_path / "cache")
    for name in ("fashion-mnist", "what a card says"):
        assert load_images(name, options).dataset.name == "colours"
    assert options.custom == folder
    assert replace(options, folder=None).custom is None


def invoke(*words: object) -> tuple[str, HemlineError | None]:
    result = CliRunner().invoke(cli, [str(word) for word in words])
    if not isinstance(result.exception, HemlineError):
        assert result.exception is None or result.exit_code == 2, result.output
        return result.output, None
    return result.output, result.exception


def test_data_check_describes_custom_images(folder: Path) -> None:
    output, _ = invoke("data", "check", "--data", folder, "--channels", "1")
    assert "reading 30 images\n" in output
    assert "colours: 24 + 6 images, 3 classes, 12 × 10 gray, test part split off, from " in output
    output, _ = invoke("data", "check", "--data", folder, "--channels", "1")
    assert "reading" not in output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("mnist", "--data", "{folder}"), "is not MNIST but a custom data set"),
        (("--image-size", "8"), "are for a custom data set: name it with --data"),
        (
            ("--data", "{folder}", "--labels", "a,b,c"),
            ".npz only; folders are named after their classes; omit --labels",
        ),
    ],
)
def test_options_that_do_not_fit_the_data_are_wrong_usage(
    folder: Path, words: tuple[str, ...], message: str
) -> None:
    _, error = invoke("data", "check", *(word.format(folder=folder) for word in words))
    assert isinstance(error, UsageError)
    assert message in described(error)


@pytest.mark.parametrize("size", ["0", "axb", "1x2x3", "-4", "4x", "9999", ""])
def test_a_size_that_is_none_is_wrong_usage(folder: Path, size: str) -> None:
    output, _ = invoke("data", "check", "--data", folder, "--image-size", size)
    assert "Invalid value for '--image-size'" in output


@pytest.mark.parametrize("size", ["6x8", "6X8", "6×8"])
def test_a_size_is_height_and_width(folder: Path, size: str) -> None:
    output, _ = invoke("data", "check", "--data", folder, "--image-size", size)
    assert "6 × 8 colour" in output


def test_a_contact_sheet_has_full_rows_whatever_a_class_is_called(folder: Path) -> None:
    """Long names get a margin of their own: they leave the size of the images alone."""
    named, sheet = folder / "red", folder.parent / "sheet.png"
    widths = []
    for name in ("red", "a red that has a very long name, longer than any picture"):
        named = named.rename(folder / name)
        options = FetchOptions(folder=folder)
        contact_sheet(load_images("fashion-mnist", options), sheet)
        with Image.open(sheet) as drawing:
            pixels = np.asarray(drawing.convert("RGB")).astype(int)
        green = (pixels[..., 1] - pixels[..., 0] > 60).any(axis=0)
        widths.append(np.flatnonzero(green)[[0, -1]] @ [-1, 1])
    assert widths[0] > 500
    assert abs(widths[1] - widths[0]) <= 3  # pixels, from rounding
