"""Labelled images of a model that was not trained on them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hemline.data.custom.held_out import held_out, labelled_images, with_labels_of
from hemline.data.custom.loading import load_custom
from hemline.data.custom.reading import ReadOptions
from hemline.data.datasets import Images
from hemline.errors import DataError

PIXELS = np.arange(12 * 4, dtype=np.uint8).reshape(12, 2, 2, 1)  # of 3 classes, 4 each
CLASSES = np.arange(12, dtype=np.uint8) % 3


@pytest.fixture
def images(tmp_path: Path) -> Images:
    np.savez(tmp_path / "a.npz", x=PIXELS, y=CLASSES, labels=np.array(["ant", "bee", "cat"]))
    return load_custom(tmp_path / "a.npz", ReadOptions(), cache=None)


def class_of_each(images: Images) -> dict[bytes, str]:
    """Return the label of each test image, by its pixels."""
    labels = images.dataset.labels
    pairs = zip(images.test_images, images.test_labels, strict=True)
    return {image.tobytes(): labels[label] for image, label in pairs}


def test_all_images_are_test_images_where_no_test_part_was_given(images: Images) -> None:
    assert len(images.test_images) == 3
    whole = held_out(images)
    assert (len(whole.train_images), len(whole.test_images)) == (0, 12)
    pairs = zip(PIXELS, CLASSES, strict=True)
    expected = {image.tobytes(): ("ant", "bee", "cat")[at] for image, at in pairs}
    assert class_of_each(whole) == expected
    assert whole.test_names == tuple(sorted(f"x[{at}]" for at in range(12)))


def test_the_order_of_all_images_is_the_same_at_every_size(tmp_path: Path) -> None:
    """Which images are split off for test is decided by their pixels, which differ."""
    path = tmp_path / "a.npz"
    pixels = np.random.default_rng(0).integers(0, 256, (30, 4, 4), np.uint8)
    np.savez(path, x=pixels, y=np.arange(30) % 2, labels=np.array(["ant", "bee"]))
    found = [labelled_images(path, (side, side, 1), ("bee", "ant")) for side in (4, 8, 12)]
    assert len({images.test_names for images in found}) == 1
    assert len({images.test_labels.tobytes() for images in found}) == 1


def test_a_test_part_of_the_data_stays_the_test_part(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, x_train=PIXELS, y_train=CLASSES, x_test=PIXELS[:3] + 100, y_test=CLASSES[:3])
    images = load_custom(path, ReadOptions(), cache=None)
    assert held_out(images) is images


def test_one_image_of_a_class_is_enough_to_be_evaluated(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, x=PIXELS[:4], y=CLASSES[:4])
    with pytest.raises(DataError, match="each class needs at least 3 different training images"):
        load_custom(path, ReadOptions(), cache=None)
    images = held_out(load_custom(path, ReadOptions(fewest=1), cache=None))
    assert len(images.test_images) == 4


@pytest.mark.parametrize("labels", [("cat", "ant", "bee"), ("dog", "bee", "cat", "ant")])
def test_classes_are_numbered_in_the_order_of_the_model(
    images: Images, labels: tuple[str, ...]
) -> None:
    mapped = with_labels_of(images, labels)
    assert mapped.dataset.labels == labels
    assert class_of_each(held_out(mapped)) == class_of_each(held_out(images))
    assert with_labels_of(images, images.dataset.labels) is images


def test_a_class_above_255_is_itself(images: Images) -> None:
    labels = (*map(str, range(300)), "bee", "ant", "cat")
    assert set(with_labels_of(images, labels).test_labels.tolist()) == {300, 301, 302}


def test_numbered_classes_have_the_names_of_the_model(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=PIXELS, y=CLASSES)
    images = load_custom(tmp_path / "a.npz", ReadOptions(), cache=None)
    assert with_labels_of(images, ("x", "y", "z")).dataset.labels == ("x", "y", "z")
    with pytest.raises(DataError, match="0, 1, 2 cannot be matched"):
        with_labels_of(images, ("x", "y"))


@pytest.mark.parametrize("labels", [("ant", "bee", "dog"), ("ant", "bee", "cat", "cat")])
def test_a_class_that_the_model_does_not_have_once_is_refused(
    images: Images, labels: tuple[str, ...]
) -> None:
    with pytest.raises(DataError, match="cat cannot be matched"):
        with_labels_of(images, labels)


def test_names_that_differ_in_case_and_spaces_are_matched(images: Images) -> None:
    labels = ("C-A T", "bee", "ANT ")
    mapped = with_labels_of(images, labels)
    assert mapped.dataset.labels == labels
    spelled = {key: {"ant": "ANT ", "cat": "C-A T"}.get(name, name)
               for key, name in class_of_each(images).items()}  # fmt: skip
    assert class_of_each(mapped) == spelled


def test_names_that_fit_several_labels_are_not_matched(images: Images) -> None:
    with pytest.raises(DataError, match="ant cannot be matched"):
        with_labels_of(images, ("Ant", "ANT", "bee", "cat"))


def test_numbers_of_some_classes_stand_for_the_first_labels(images: Images) -> None:
    numbered = replace(images, dataset=replace(images.dataset, labels=("0", "1", "2")))
    mapped = with_labels_of(numbered, ("ant", "bee", "cat", "dog"))
    assert mapped.dataset.labels == ("ant", "bee", "cat", "dog")
    assert mapped.test_labels.tolist() == images.test_labels.tolist()
    by_name = with_labels_of(numbered, ("2", "1", "0"))
    assert by_name.test_labels.tolist() == (2 - images.test_labels).tolist()
