"""The pipeline: cached, seeded, augmented in batches, resumable, with splits kept apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hemline.data.datasets import Images
from hemline.data.fetch import FetchOptions, load_images
from hemline.data.image_rows import MappedImages
from hemline.data.splits import split_images
from hemline.errors import DataError
from hemline.train.tensorflow import quiet_keras

quiet_keras()

import tensorflow as tf  # noqa: E402 — after its noise was turned off

from hemline.train.fitting import pipeline  # noqa: E402
from hemline.train.fitting.augmentation import augment  # noqa: E402
from hemline.train.fitting.pipeline import steps_per_epoch, training_batches  # noqa: E402
from hemline.train.recipes.recipe import Recipe  # noqa: E402

PLAIN = Recipe(epochs=3, batch=50, shift=0, flip=False, cutout=0)


def collect(
    images: Images, recipe: Recipe, *, seed: int = 1, first_epoch: int = 0
) -> list[np.ndarray]:
    batches = training_batches(
        images.train_images,
        images.train_labels,
        recipe,
        seed=seed,
        epochs=range(first_epoch, recipe.epochs),
        classes=10,
    )
    return [pixels.numpy() for pixels, _ in batches]


def test_an_epoch_holds_every_image_once(images: Images) -> None:
    recipe = PLAIN
    steps = steps_per_epoch(len(images.train_images), recipe)
    first_epoch = np.concatenate(collect(images, recipe)[:steps])
    seen = sorted(image.tobytes() for image in first_epoch.astype(np.uint8))
    assert seen == sorted(image.tobytes() for image in images.train_images)


@pytest.mark.parametrize("largest", [0, 1 << 30])
def test_images_in_a_file_give_the_same_batches(
    images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, largest: int
) -> None:
    """Whether they are read batch by batch, as many are, or at once."""
    monkeypatch.setattr(pipeline, "_LARGEST_CACHED_BYTES", largest)
    recipe = replace(PLAIN, epochs=2, shift=2, flip=True, cutout=3)
    np.save(tmp_path / "images.npy", images.train_images)
    file = np.load(tmp_path / "images.npy", mmap_mode="r")
    order = np.random.default_rng(0).permutation(len(file))
    rows = MappedImages(file, order)
    plain = replace(images, train_images=np.asarray(images.train_images)[order])
    found = collect(replace(images, train_images=rows), recipe)
    np.testing.assert_array_equal(found, collect(plain, recipe))


def test_images_and_labels_stay_together(images: Images) -> None:
    batches = training_batches(
        images.train_images,
        images.train_labels,
        PLAIN,
        seed=1,
        epochs=range(PLAIN.epochs),
        classes=10,
    )
    label_of = {
        image.tobytes(): label
        for image, label in zip(images.train_images, images.train_labels, strict=True)
    }
    for pixels, one_hot in batches.take(3):
        for image, row in zip(pixels.numpy().astype(np.uint8), one_hot.numpy(), strict=True):
            assert label_of[image.tobytes()] == row.argmax()


@pytest.mark.medium
def test_the_same_seed_gives_the_same_batches_and_another_one_others(images: Images) -> None:
    recipe = Recipe(epochs=2, batch=50, shift=2, flip=True, cutout=6)
    first, again = collect(images, recipe), collect(images, recipe)
    other = collect(images, recipe, seed=2)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_epochs_differ_in_order_and_augmentation(images: Images) -> None:
    recipe = Recipe(epochs=2, batch=50)
    steps = steps_per_epoch(len(images.train_images), recipe)
    batches = collect(images, recipe)
    assert not np.array_equal(batches[0], batches[steps])


def test_a_resumed_run_sees_what_the_whole_one_saw(images: Images) -> None:
    recipe = Recipe(epochs=3, batch=50, shift=1)
    steps = steps_per_epoch(len(images.train_images), recipe)
    whole, rest = collect(images, recipe), collect(images, recipe, first_epoch=1)
    assert len(rest) == 2 * steps
    assert all(np.array_equal(a, b) for a, b in zip(whole[steps:], rest, strict=True))


@pytest.mark.parametrize(
    "recipe", [Recipe(shift=2, flip=True, cutout=6), Recipe(shift=3, cutout=0)]
)
def test_augmentation_equals_the_slow_way(images: Images, recipe: Recipe) -> None:
    """Recompute each image by itself, with numpy, from the same random numbers."""
    pixels, seed = images.train_images[:40], tf.constant([5, 7], tf.int64)
    random = tf.random.stateless_uniform((40, 5), seed).numpy()
    result = augment(tf.constant(pixels), recipe, seed=seed).numpy()
    for number, image in enumerate(pixels[..., 0]):
        span = 2 * recipe.shift + 1
        down, right = (int(random[number, at] * span) - recipe.shift for at in (0, 1))
        source = image[:, ::-1] if recipe.flip and random[number, 2] < 0.5 else image
        padded = np.pad(source, recipe.shift)
        top, left = recipe.shift + down, recipe.shift + right
        expected = padded[top : top + 28, left : left + 28].copy()
        centres = np.arange(28) + np.float32(0.5)
        rows = np.abs(centres - 28 * random[number, 3]) < recipe.cutout / 2
        columns = np.abs(centres - 28 * random[number, 4]) < recipe.cutout / 2
        expected[np.ix_(rows, columns)] = 0
        np.testing.assert_array_equal(result[number, ..., 0], expected)


def test_the_split_is_stratified_and_apart(images: Images) -> None:
    data = split_images(images, validation=100)
    assert np.bincount(data.validation_labels).tolist() == [10] * 10
    assert len(data.train_images) + len(data.validation_images) == len(images.train_images)
    kept = set(data.split.validation_indices)
    train = {image.tobytes() for image in data.train_images}
    assert len(kept) == 100
    assert not train & {image.tobytes() for image in data.validation_images}
    assert np.array_equal(
        images.train_images[list(data.split.validation_indices)], data.validation_images
    )


def test_the_split_does_not_depend_on_the_training_seed(images: Images) -> None:
    assert split_images(images, validation=100).split == split_images(images, validation=100).split


def test_a_limit_uses_the_first_images_only(images: Images) -> None:
    data = split_images(images, validation=50, limit=300)
    assert len(data.train_images) == 250
    assert max(data.split.validation_indices) < 300
    assert data.split.limit == 300


@pytest.mark.parametrize("validation", [5, 800, 10_000])
def test_an_impossible_split_is_refused(images: Images, validation: int) -> None:
    with pytest.raises(
        DataError, match=f"{validation} validation images cannot be held out of 800"
    ):
        split_images(images, validation=validation)


def test_a_class_without_images_is_told(images: Images) -> None:
    without = replace(
        images, train_labels=np.where(images.train_labels == 8, 3, images.train_labels)
    )
    with pytest.raises(DataError, match="no 'Bag' among the 800 training images"):
        split_images(without, validation=100)
    first = replace(images, train_labels=np.sort(images.train_labels))
    with pytest.raises(DataError, match="no 'Dress' among the 200 training images"):
        split_images(first, validation=50, limit=200)


def test_a_label_out_of_range_is_told(data_folder: Path, tmp_path: Path) -> None:
    for path in data_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    labels = tmp_path / "train-labels-idx1-ubyte"
    labels.write_bytes(labels.read_bytes()[:-1] + b"\x0a")
    with pytest.raises(DataError, match=r"the train files have labels outside 0 … 9"):
        load_images("fashion-mnist", FetchOptions(folder=tmp_path))


def test_nothing_is_left_to_a_tuner_that_closing_the_iterator_would_wait_for(
    images: Images,
) -> None:
    """Its thread sleeps for ever longer times; training ended up to a minute after its work."""
    batches = training_batches(
        images.train_images,
        images.train_labels,
        PLAIN,
        seed=1,
        epochs=range(1),
        classes=10,
    )
    assert batches.options().autotune.enabled is False
