"""IDX files of another data set under the published names, as KMNIST and EMNIST have them."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from hemline.cli import cli
from hemline.data.custom.reading import ReadOptions
from hemline.data.fetch import FetchOptions, load_images
from hemline.errors import DataError
from hemline.remedies import described

NAMES = tuple("abcdefghijkl")


def write_idx(folder: Path, *, classes: int, side: int = 28) -> Path:
    """Write four files: 20 training and 5 test images of each class, which has its own gray."""
    folder.mkdir()
    random = np.random.default_rng(classes)
    for part, each in (("train", 20), ("t10k", 5)):
        y = (np.arange(each * classes) % classes).astype(np.uint8)
        x = (random.integers(0, 9, (len(y), side, side)) + 10 * y[:, None, None]).astype(np.uint8)
        header = struct.pack(">IIII", 2051, *x.shape)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(header + x.tobytes())
        header = struct.pack(">II", 2049, len(y))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(header + y.tobytes())
    return folder


@pytest.mark.parametrize(("classes", "side"), [(10, 28), (12, 28), (4, 20)])
def test_class_names_make_a_custom_data_set_of_them(
    tmp_path: Path, classes: int, side: int
) -> None:
    folder = write_idx(tmp_path / "kana", classes=classes, side=side)
    reading = ReadOptions(labels=NAMES[:classes])
    images = load_images("fashion-mnist", FetchOptions(folder=folder, reading=reading))
    assert images.dataset.is_custom
    assert (images.dataset.name, images.dataset.labels) == ("kana", NAMES[:classes])
    assert images.train_images.shape == (20 * classes, side, side, 1)
    assert images.test_images.shape == (5 * classes, side, side, 1)
    assert images.test_indices == ()
    for pixels, label in zip(images.test_images, images.test_labels, strict=True):
        assert pixels.min() // 10 == label
    resized = ReadOptions(labels=NAMES[:classes], size=(14, 14), channels=3)
    small = load_images("mnist", FetchOptions(folder=folder, reading=resized))
    assert small.train_images.shape == (20 * classes, 14, 14, 3)


def test_a_trained_model_finds_them_again_by_its_labels(tmp_path: Path) -> None:
    folder = write_idx(tmp_path / "kana", classes=10)
    options = FetchOptions(folder=folder)
    assert options.custom is None
    again = options.with_class_names(NAMES[:10])
    assert again.custom == folder
    assert load_images("fashion-mnist", again).dataset.labels == NAMES[:10]


@pytest.mark.parametrize(("classes", "side"), [(12, 28), (4, 28), (10, 20)])
def test_files_that_cannot_be_fashion_are_refused(tmp_path: Path, classes: int, side: int) -> None:
    folder = write_idx(tmp_path / "kana", classes=classes, side=side)
    with pytest.raises(DataError) as caught:
        load_images("fashion-mnist", FetchOptions(folder=folder))
    assert described(caught.value).endswith(
        "; name its classes with --labels if it is another data set"
    )


def test_files_that_may_be_fashion_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_idx(tmp_path / "kana", classes=10)
    assert not load_images("fashion-mnist", FetchOptions(folder=folder)).verified
    assert "not the official Fashion-MNIST; its class names are used: T-shirt/top" in (caplog.text)


def test_labels_are_accepted_on_the_command_line(tmp_path: Path) -> None:
    folder = write_idx(tmp_path / "kana", classes=10)
    arguments = ["data", "check", "--data", str(folder), "--labels", ",".join(NAMES[:10])]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    assert "kana: 200 + 50 images, 10 classes, 28 × 28 gray, from" in result.output
    assert "images per class: a 25, b 25" in result.output
