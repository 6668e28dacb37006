"""Layouts of folders that public data sets come in: parts are never classes."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hemline.data.custom.loading import load_custom
from hemline.data.custom.reading import ReadOptions
from hemline.data.datasets import Images
from hemline.data.splits import split_images
from hemline.errors import DataError, UsageError
from hemline.remedies import described
from hemline.train.custom_data import parts_line, suited
from hemline.train.recipes.recipe import Recipe

EACH = 5


def write(root: Path, *places: str, each: int = EACH) -> Path:
    """Write different images of 6 x 6 into folders."""
    for place in places:
        folder = root / place
        folder.mkdir(parents=True)
        seed = sum(map(ord, place))
        for at in range(each):
            pixels = np.random.default_rng((seed, at)).integers(0, 256, (6, 6), np.uint8)
            Image.fromarray(pixels).save(folder / f"{at}.png")
    return root


def load(root: Path, cache: Path | None = None) -> Images:
    return load_custom(root, ReadOptions(), cache=cache)


def parts(images: Images) -> tuple[int, int, int]:
    """Return how many images are for training, validation and test."""
    own = len(images.validation_indices)
    return len(images.train_images) - own, own, len(images.test_images)


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        (("train/{}", "valid/{}", "test/{}"), (10, 10, 10)),
        (("train/{}", "val/{}", "test/{}"), (10, 10, 10)),
        (("Training/{}", "Testing/{}"), (10, 0, 10)),
        (("Training/{}", "Validation/{}"), (8, 10, 2)),
        (("TRAIN/{}", "TEST/{}"), (10, 0, 10)),
        (("seg_train/seg_train/{}", "seg_test/seg_test/{}"), (10, 0, 10)),
        (("shapes-training-set/{}", "shapes-test-set/{}"), (10, 0, 10)),
        (("archive/data/train/{}", "archive/data/test/{}"), (10, 0, 10)),
        (("archive/{}",), (8, 0, 2)),
        (("train/{}",), (8, 0, 2)),
    ],
)
def test_parts_are_recognized_by_their_names(
    tmp_path: Path, places: tuple[str, ...], expected: tuple[int, int, int]
) -> None:
    root = write(tmp_path / "a", *(place.format(each) for place in places for each in "xy"))
    for _ in ("decoded", "from the cache"):
        images = load(root, tmp_path / "cache")
        assert images.dataset.labels == ("x", "y")
        assert parts(images) == expected


def test_the_validation_part_is_the_validation_split(tmp_path: Path) -> None:
    root = write(tmp_path / "a", "train/x", "train/y", "valid/x", "valid/y", each=20)
    images = load(root)
    recipe = suited(Recipe(), images)
    assert recipe.validation == 40
    assert "34 training images, 40 validation (the data's own), 6 test" in parts_line(
        images, recipe
    )
    data = split_images(images, validation=recipe.validation)
    names = [images.train_names[at] for at in data.split.validation_indices]
    assert len(names) == 40
    assert all(name.startswith("valid/") for name in names)
    assert not any(name.startswith("valid/") for name in images.test_names)
    with pytest.raises(UsageError) as caught:
        suited(Recipe(), images, given={"validation"})
    assert described(caught.value).endswith("has a validation part; omit --validation")


def test_images_in_two_parts_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write(tmp_path / "a", "train/x", "train/y", "valid/x", "test/y")
    (root / "valid/x/copy.png").write_bytes((root / "train/x/0.png").read_bytes())
    (root / "test/y/copy.png").write_bytes((root / "train/y/0.png").read_bytes())
    load(root)
    assert "in the validation and another part" in caplog.text
    assert "train/x/0.png = valid/x/copy.png" in caplog.text
    assert "train/y/0.png = test/y/copy.png" in caplog.text


@pytest.mark.parametrize("extra", ["test", "seg_pred", "pred"])
def test_a_part_without_classes_is_ignored_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, extra: str
) -> None:
    stem = "seg_" if extra.startswith("seg") else ""
    root = write(tmp_path / "a", f"{stem}train/x", f"{stem}train/y", extra)
    assert parts(load(root)) == (8, 0, 2)
    assert f"{extra} has no class folders: its images are ignored" in caplog.text


@pytest.mark.parametrize(
    ("places", "message"),
    [
        (("Training", "Testing"), "has Testing/, Training/, but no class folders in them"),
        (("test/x", "test/y", "val/x", "val/y"), "has test/, val/, but no training part"),
        (("train/x", "train/y", "Training/x"), "has several training parts: Training/, train/"),
        (("train/x", "train/y", "extra/x"), "has train/ with folders in it, and extra/"),
        (("x", "y", "test/x", "test/y"), "has test/ next to the class folders"),
        (("train/x", "train/y", "valid/z"), "valid has classes that .*train does not have: z"),
    ],
)
def test_an_unclear_layout_is_refused_by_name(
    tmp_path: Path, places: tuple[str, ...], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        load(write(tmp_path / "a", *places))


@pytest.mark.parametrize("names", [("test tube", "train station"), ("cat", "test"), ("run", "val")])
def test_classes_may_have_such_words_in_their_names(tmp_path: Path, names: tuple[str, ...]) -> None:
    assert load(write(tmp_path / "a", *names)).dataset.labels == names


def test_heic_and_raw_files_are_reported_with_the_remedy(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = write(tmp_path / "a", "x", "y")
    (root / "x/IMG_1.HEIC").write_bytes(b"....")
    (root / "y/IMG_2.CR2").write_bytes(b"....")
    (root / "y/0.NEF").write_bytes(b"....")  # the same photograph as 0.png
    heif = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
    (root / "y/telephone.jpg").write_bytes(heif)
    with pytest.raises(DataError) as caught:
        load(root)
    message = described(caught.value)
    assert "3 of 13 files cannot be read" in message
    assert "x/IMG_1.HEIC (is HEIC, which is not supported: convert it to JPEG or PNG)" in message
    assert "y/telephone.jpg (is HEIC, which is not supported" in message
    assert "y/IMG_2.CR2 (is a camera's raw file, which is not supported" in message
    assert message.endswith("skip them with --skip-broken")
    with caplog.at_level(logging.WARNING):
        images = load_custom(root, ReadOptions(skip_broken=True), cache=None)
    assert len(images.train_images) + len(images.test_images) == 10
    assert "3 of 13 files cannot be read and are skipped" in caplog.text
