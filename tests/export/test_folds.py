"""Cross-validation: every image is judged once, by files that were not made from it."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from hemline.cli import cli
from hemline.contract.checkpoint import read_card
from hemline.data.datasets import DATASETS, Images
from hemline.data.splits import fold_images
from hemline.errors import DataError
from hemline.export.folds import _figures

COUNTS = (30, 20, 10)  # images of each class


def small_images() -> Images:
    """Return 60 images of three classes; the first two of each class are copies."""
    random = np.random.default_rng(1)
    labels = np.repeat(np.arange(3), COUNTS).astype(np.uint8)
    pixels = random.integers(0, 256, (60, 4, 4, 1), np.uint8)
    for first in (0, 30, 50):
        pixels[first + 1] = pixels[first]
    return Images(
        dataset=replace(DATASETS["mnist"], labels=("a", "b", "c"), files=()),
        train_images=pixels,
        train_labels=labels,
        test_images=pixels[:1],
        test_labels=labels[:1],
        sha256={"train": "t", "test": "u"},
        verified=False,
        source="here",
        validation_indices=(3, 4),
    )


def test_each_image_is_held_out_once_and_never_trained_on_then() -> None:
    images = small_images()
    held_out = Counter[int]()
    for part in fold_images(images, 5):
        held_out.update(part.test_indices)
        assert len(part.train_images) + len(part.test_images) == 60
        seen = {each.tobytes() for each in part.train_images}
        assert not seen & {each.tobytes() for each in part.test_images}, "copies stay together"
        np.testing.assert_array_equal(part.test_images, images.train_images[[*part.test_indices]])
        assert part.validation_indices == ()
        shares = np.bincount(part.test_labels, minlength=3) / COUNTS
        assert abs(shares - 0.2).max() <= 0.1 + 1e-9, "one of ten images"
    assert held_out == Counter(range(60))


def test_the_folds_are_the_same_again_and_have_hashes_of_their_own() -> None:
    first, again = ([part.sha256 for part in fold_images(small_images(), 3)] for _ in range(2))
    assert first == again
    assert len({part["test"] for part in first}) == 3


def test_a_class_needs_a_different_image_for_each_fold() -> None:
    with pytest.raises(DataError, match="10 folds need as many images of each class: c has 9"):
        list(fold_images(small_images(), 10))


def test_a_row_has_the_intervals_of_what_is_pooled() -> None:
    counts = Counter(images=150, correct=144, lost=3, changed=6)
    assert _figures(counts) == (
        "150", "96.00 %", "91.5–98.2", "-2.00", "6 (95 %: under 7.7 %)",
    )  # fmt: skip


@pytest.mark.slow  # four trainings, and three exports that are verified
def test_train_cross_validates_and_then_trains_on_all_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    CliRunner().invoke(cli, ["data", "sample"], catch_exceptions=False)
    words = ("train", "mlp", "--data", "photos", "--image-size", "16", "--epochs", "8")
    result = CliRunner().invoke(cli, [*words, "--folds", "3"], catch_exceptions=False)
    assert result.exit_code == 0
    card = read_card(tmp_path / "checkpoints" / "mlp-photos")
    assert card.trained.score("test").images == 27, "the model itself is an ordinary one"
    path = tmp_path / "checkpoints" / "mlp-photos" / "folds.csv"
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert {row["images"] for row in rows} == {"153"}
    assert {"fp32.onnx", "int8.tflite"} <= {row["artifact"] for row in rows}
    by_name = {row["artifact"]: row for row in rows}
    assert by_name["fp32.onnx"]["accuracy change (points)"] == "0.0"
    assert "fold 3 of 3" in result.stderr
    assert "0 (95 %: under 1.9 %)" in result.stdout
