"""Augmentation: what happens to each image is what scipy and numpy do with the same numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage, stats

from hemline.data.splits import TrainingData
from hemline.train.recipes.recipe import Recipe
from hemline.train.tensorflow import quiet_keras

quiet_keras()

import tensorflow as tf  # noqa: E402 — after its noise was turned off

from hemline.train.fitting.augmentation import augment, mix  # noqa: E402
from hemline.train.fitting.pipeline import training_batches  # noqa: E402

SEED = tf.constant([5, 7], tf.int64)
NONE = Recipe(shift=0, flip=False)
EVERYTHING = Recipe(
    epochs=2, batch=24, shift=2, rotation=20, zoom=0.2, cutout=4, erasing=0.5, mixup=0.4
)
Array = np.ndarray


def pixels(count: int, *shape: int) -> Array:
    """Return smooth random images, on which interpolation is well defined."""
    noise = np.random.default_rng(4).uniform(0, 255, (count, *shape))
    smooth = ndimage.gaussian_filter(noise, (0, 1.5, 1.5, 0)) - 127
    return np.clip(4 * smooth + 127, 0, 255).astype(np.uint8)


def uniform(count: int, columns: int, purpose: int | None = None) -> Array:
    """Return the random numbers that augmentation draws."""
    folded = tf.random.experimental.stateless_fold_in
    seed = SEED if purpose is None else folded(SEED, purpose)
    return np.asarray(tf.random.stateless_uniform((count, columns), seed), np.float64)


def warped(image: Array, angle: float, size: float) -> Array:
    """Turn (radians) and enlarge one image (h, w, c) about its middle, with scipy."""
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) / size
    middle = (np.array(image.shape[:2]) - 1) / 2
    planes = [
        ndimage.affine_transform(
            image[..., channel].astype(np.float64),
            turn,
            offset=middle - turn @ middle,
            order=1,
            mode="grid-constant",
        )
        for channel in range(image.shape[2])
    ]
    return np.stack(planes, axis=-1)


@pytest.mark.parametrize("shape", [(12, 12, 1), (9, 14, 3), (15, 8, 3)], ids=str)
@pytest.mark.parametrize(("rotation", "zoom"), [(180.0, 0.0), (0.0, 0.5), (30.0, 0.3)])
def test_rotation_and_zoom_are_those_of_scipy(
    shape: tuple[int, int, int], rotation: float, zoom: float
) -> None:
    images, random = pixels(20, *shape), uniform(20, 2, purpose=1)
    result = augment(tf.constant(images), replace(NONE, rotation=rotation, zoom=zoom), seed=SEED)
    for image, moved, (turn, grow) in zip(images, result.numpy(), random, strict=True):
        angle, size = np.radians(rotation) * (2 * turn - 1), 1 + zoom * (2 * grow - 1)
        # rounded to whole pixels; positions in float32 add 255 × 1e-5
        np.testing.assert_allclose(moved, warped(image, angle, size), atol=0.51)


def test_a_quarter_turn_is_a_quarter_turn() -> None:
    """The angles are even between −180° and 180°: some are near 90°, of which one is picked."""
    random = uniform(4000, 2, purpose=1)[:, 0]
    at = int(np.abs(360 * random - 180 - 90).argmin())
    image = np.zeros((21, 21, 1), np.uint8)
    image[10, 2:6] = 200  # left of the middle
    turned = augment(
        tf.constant(np.repeat(image[None], 4000, axis=0)), replace(NONE, rotation=180.0), seed=SEED
    ).numpy()[at]
    quarter = np.rot90(image, axes=(0, 1))
    assert (
        min(
            np.abs(turned.astype(int) - each.astype(int)).max()
            for each in (quarter, np.rot90(quarter, 2, axes=(0, 1)))
        )
        <= 20
    ), "90° to within a tenth of a degree"


def test_everything_at_once_is_each_after_the_other() -> None:
    """Turned, then shifted, flipped and cut out, in colour and not square."""
    recipe = Recipe(shift=3, flip=True, rotation=25, zoom=0.2, cutout=5)
    images, (turn, grow), random = pixels(30, 11, 16, 3), uniform(30, 2, 1).T, uniform(30, 5)
    result = augment(tf.constant(images), recipe, seed=SEED).numpy().astype(np.float64)
    for number, image in enumerate(images):
        source = warped(
            image, np.radians(25) * (2 * turn[number] - 1), 1 + 0.2 * (2 * grow[number] - 1)
        )
        source = source[:, ::-1] if random[number, 2] < 0.5 else source
        padded = np.pad(source, ((3, 3), (3, 3), (0, 0)))
        top, left = (int(random[number, at] * 7) for at in (0, 1))
        expected = padded[top : top + 11, left : left + 16].copy()
        rows = np.abs(np.arange(11) + 0.5 - 11 * random[number, 3]) < 2.5
        columns = np.abs(np.arange(16) + 0.5 - 16 * random[number, 4]) < 2.5
        expected[np.ix_(rows, columns)] = 0
        np.testing.assert_allclose(result[number], expected, atol=0.51)


def test_half_of_the_images_are_flipped_and_shifts_are_even() -> None:
    ramp = np.tile(np.arange(1, 13, dtype=np.uint8)[None, None, :, None], (2000, 12, 1, 1))
    flipped = augment(tf.constant(ramp), replace(NONE, flip=True), seed=SEED).numpy()
    share = (flipped[:, 0, 0, 0] == 12).mean()
    assert share == pytest.approx(0.5, abs=0.05), "four standard errors of 2,000 draws"
    moved = augment(tf.constant(ramp), replace(NONE, shift=2), seed=SEED).numpy()
    shifts = moved[:, 6, 6, 0].astype(int) - 7
    counts = np.bincount(shifts + 2, minlength=5)
    assert counts.shape == (5,)
    assert stats.chisquare(counts).pvalue > 0.001


def test_a_rectangle_inside_the_image_becomes_noise_in_a_share_of_them() -> None:
    height, width, count = 40, 60, 600
    images = np.full((count, height, width, 3), 7, np.uint8)
    result = augment(tf.constant(images), replace(NONE, erasing=0.4), seed=SEED).numpy()
    erased = (result != 7).any(axis=-1)
    touched = erased.any(axis=(1, 2))
    assert touched.mean() == pytest.approx(0.4, abs=0.08), "four standard errors"
    areas = []
    for mask in erased[touched]:
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        tall, wide = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
        assert mask.sum() == tall * wide, "all of one rectangle"
        assert (tall - 1) * (wide - 1) <= 0.4 * height * width, "whole pixels: one a side"
        assert (tall + 1) * (wide + 1) >= 0.02 * height * width
        assert (tall + 1) / (wide - 1) >= 0.3
        assert (tall - 1) / (wide + 1) <= 1 / 0.3
        areas.append(tall * wide / height / width)
    # even between 0.02 and 0.4; the sides of few are cut to those of the image
    assert np.mean(areas) == pytest.approx(0.21, abs=0.04)
    noise = result[erased].ravel()
    assert stats.chisquare(np.bincount(noise, minlength=256)).pvalue > 0.001


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_mixup_blends_images_and_targets_by_the_same_beta_share(alpha: float) -> None:
    count = 3000
    images = np.arange(count, dtype=np.float32)[:, None, None, None] * np.ones((1, 2, 3, 1), "f4")
    own = (np.arange(count) < count // 2).astype(int)  # that of the partner is always the other
    targets = np.eye(2, dtype=np.float32)[own]
    mixed, blended = (each.numpy() for each in mix(images, targets, alpha, seed=SEED))
    np.testing.assert_allclose(blended.sum(axis=1), 1, atol=1e-6)
    share = blended[np.arange(count), own]
    expected = share * np.arange(count) + (1 - share) * np.arange(count)[::-1]
    np.testing.assert_allclose(mixed[:, 1, 2, 0], expected, atol=1e-3)  # 3,000 in float32
    assert (mixed == mixed[:, :1, :1]).all(), "one share for a whole image"
    assert stats.kstest(share, stats.beta(alpha, alpha).cdf).pvalue > 0.001


def batches(data: TrainingData, recipe: Recipe, seed: int = 1) -> list[tuple[Array, ...]]:
    found = training_batches(
        data.train_images,
        data.train_labels,
        recipe,
        seed=seed,
        epochs=range(recipe.epochs),
        classes=4,
    )
    return [tuple(part.numpy() for part in batch) for batch in found]


@pytest.mark.medium
def test_the_same_seed_gives_the_same_of_everything(small_data: TrainingData) -> None:
    first, again, other = (batches(small_data, EVERYTHING, seed) for seed in (3, 3, 4))
    for one, two, three in zip(first, again, other, strict=True):
        for part in (0, 1):
            np.testing.assert_array_equal(one[part], two[part])
            assert not np.array_equal(one[part], three[part])


def test_nothing_is_changed_before_the_cache(small_data: TrainingData) -> None:
    """What was cached changed would be changed alike in every epoch."""
    recipe = replace(NONE, epochs=3, batch=24, flip=True)
    originals = [image.tobytes() for image in small_data.train_images]
    mirrored = [image[:, ::-1].tobytes() for image in small_data.train_images]
    epochs: list[dict[int, bool]] = [{}, {}, {}]
    for step, (images, _) in enumerate(batches(small_data, recipe)):
        for image in images.astype(np.uint8):
            flipped = image.tobytes() in mirrored
            at = (mirrored if flipped else originals).index(image.tobytes())
            epochs[step // 4][at] = flipped
    assert all(len(seen) == 96 for seen in epochs), "every image once in every epoch"
    changed = sum(epochs[0][at] != epochs[1][at] for at in range(96))
    assert 24 < changed < 72, "about half"


def test_mixed_images_weigh_what_their_targets_weigh(small_data: TrainingData) -> None:
    recipe = replace(EVERYTHING, class_weights="balanced")
    few = small_data.train_labels != 0
    few[:30] = True  # class 0 has fewer images
    data = replace(
        small_data,
        train_images=small_data.train_images[few],
        train_labels=small_data.train_labels[few],
    )
    counts = np.bincount(data.train_labels)
    weights = few.sum() / (4 * counts)
    for _, targets, weight in batches(data, recipe):
        np.testing.assert_allclose(weight, targets @ weights, rtol=1e-5)
