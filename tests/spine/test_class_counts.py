"""Classes with few images, unequal classes and untested ones are told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from hemline.cli import cli
from hemline.data.class_counts import counts_line, warn_of_counts
from hemline.data.custom.loading import load_custom
from hemline.data.custom.reading import ReadOptions
from hemline.data.datasets import Images


def images_of(path: Path, *counts: int) -> Images:
    y = np.repeat(np.arange(len(counts)), counts)
    x = np.random.default_rng(1).integers(0, 256, (len(y), 4, 4), np.uint8)
    names = np.array([f"class {at}" for at in range(len(counts))])
    np.savez(path, x=x, y=y, labels=names)
    return load_custom(path, ReadOptions(), cache=None)


def test_few_and_unequal_images_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images = images_of(tmp_path / "a.npz", 1500, 4, 3)
    assert counts_line(images) == "images per class: class 0 1,500, class 1 4, class 2 3"
    warn_of_counts(images)
    assert "classes with under 20 images: class 1 (4), class 2 (3): " in caplog.text
    assert "the largest class has 1,500 images, the smallest 3 images: " in caplog.text


def test_balanced_classes_need_no_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    warn_of_counts(images_of(tmp_path / "a.npz", 25, 60))
    assert not caplog.records


def test_of_many_classes_the_smallest_and_the_largest_are_told(tmp_path: Path) -> None:
    images = images_of(tmp_path / "a.npz", *range(20, 40))
    assert counts_line(images) == "images per class: 20 (class 0) to 39 (class 19)"


def test_a_class_without_test_images_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    x = np.random.default_rng(1).integers(0, 256, (90, 4, 4), np.uint8)
    path = tmp_path / "a.npz"
    np.savez(
        path, x_train=x[:60], y_train=np.arange(60) % 3, x_test=x[60:], y_test=np.arange(30) % 2
    )
    warn_of_counts(load_custom(path, ReadOptions(), cache=None))
    assert "the test part has no images of 2" in caplog.text


def test_data_check_counts_classes_and_warns(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images_of(tmp_path / "a.npz", 300, 5)
    result = CliRunner().invoke(cli, ["data", "check", "--data", str(tmp_path / "a.npz")])
    assert result.exit_code == 0
    assert "images per class: class 0 300, class 1 5" in result.output
    assert "the largest class has 300 images, the smallest 5 images" in caplog.text
