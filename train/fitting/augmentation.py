"""Augment a whole batch at once, the same for the same seed, after the cache.

Shifts and flips copy whole rows of pixels, erasing is one mask; rotation and zoom are one warp
more, and only where a recipe asks for them.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from hemline.data.datasets import Pixels
from hemline.train.recipes.recipe import Recipe

# Zhong et al., Random Erasing Data Augmentation (2020), table 1: share of the area, aspect ratio
_ERASED_AREA = (0.02, 0.4)
_ERASED_ASPECT = (0.3, 1 / 0.3)


def augment(images: tf.Tensor, recipe: Recipe, *, seed: tf.Tensor) -> tf.Tensor:
    """Shift, flip and erase uint8 images (batch, h, w, c); `seed` is int64 (2,).

    Every image is rotated and zoomed about its middle (bilinear), shifted by up to `recipe.shift`
    pixels with black in the gap, flipped left to right with probability one half, and loses a
    square of side `recipe.cutout` (DeVries & Taylor 2017) to black, centred anywhere so that part
    of it may lie outside. In a share `recipe.erasing` of them a rectangle, all of it inside,
    becomes noise (Zhong et al., 2020).
    """
    batch, (height, width) = tf.shape(images)[0], images.shape[1:3]
    if recipe.rotation or recipe.zoom:
        images = _warped(images, recipe, tf.random.stateless_uniform((batch, 2), _seed(seed, 1)))
    random = tf.random.stateless_uniform((batch, 5), seed)
    changed = _moved(images, recipe, random) if recipe.shift or recipe.flip else images
    if recipe.cutout:
        cut = (
            _near(random[:, 3:4], height, recipe.cutout)[:, :, None]
            & _near(random[:, 4:5], width, recipe.cutout)[:, None, :]
        )
        changed *= tf.cast(~cut, tf.uint8)[..., None]
    return _erased(changed, recipe.erasing, seed=_seed(seed, 2)) if recipe.erasing else changed


class Variant(NamedTuple):
    """An image that `augment` makes of one: the pixel at (rows, columns) of it comes first."""

    rows: int
    columns: int
    mirrored: bool

    def of(self, images: Pixels) -> Pixels:
        """Return this variant of uint8 images (n, h, w, c)."""
        most, (_, height, width, _) = max(abs(self.rows), abs(self.columns)), images.shape
        mirrored = images[:, :, ::-1] if self.mirrored else images
        padded = np.pad(mirrored, ((0, 0), (most, most), (most, most), (0, 0)))
        top, left = most + self.rows, most + self.columns
        return padded[:, top : top + height, left : left + width]


def variants(recipe: Recipe) -> tuple[Variant, ...] | None:
    """Return all variants by their numbers; None where there are more than shifts and flips."""
    if recipe.rotation or recipe.zoom or recipe.cutout or recipe.erasing or recipe.mixup:
        return None
    shifts = range(-recipe.shift, recipe.shift + 1)
    flips = (False, True) if recipe.flip else (False,)
    return tuple(Variant(*each) for each in itertools.product(shifts, shifts, flips))


def variant_numbers(batch: int, recipe: Recipe, *, seed: tf.Tensor) -> tf.Tensor:
    """Return which variant `augment` makes of each image of a batch with that seed: int32."""
    random, side = tf.random.stateless_uniform((batch, 5), seed), 2 * recipe.shift + 1
    number = _steps(random[:, 0], recipe.shift) * side + _steps(random[:, 1], recipe.shift)
    return 2 * number + tf.cast(random[:, 2] < 0.5, tf.int32) if recipe.flip else number


def mix(
    images: tf.Tensor, targets: tf.Tensor, alpha: float, *, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Blend float images (batch, h, w, c) and targets (batch, classes) with those of other images.

    Shares are drawn from Beta(alpha, alpha) for each image (Zhang et al., mixup, 2018).
    """
    count = tf.shape(images)[0]
    # a beta variable is one gamma variable as a share of two
    one, other = tf.unstack(
        tf.random.stateless_gamma((2, count), _seed(seed, 3), alpha=alpha, dtype=tf.float32)
    )
    share = tf.math.divide_no_nan(one, one + other)
    # the order is random already: the reversed batch is a random partner
    pixels_share, target_share = share[:, None, None, None], share[:, None]
    return (
        pixels_share * images + (1 - pixels_share) * images[::-1],
        target_share * targets + (1 - target_share) * targets[::-1],
    )


def _seed(seed: tf.Tensor, purpose: int) -> tf.Tensor:
    return tf.random.experimental.stateless_fold_in(seed, purpose)


def _warped(images: tf.Tensor, recipe: Recipe, random: tf.Tensor) -> tf.Tensor:
    """Rotate and zoom uint8 images; random is (batch, 2), 0 … 1."""
    height, width = images.shape[1], images.shape[2]
    angle = (2 * random[:, 0] - 1) * math.radians(recipe.rotation)
    scale = 1 / (1 + (2 * random[:, 1] - 1) * recipe.zoom)  # from the target to the source
    cosine, sine = scale * tf.cos(angle), scale * tf.sin(angle)
    x, y = (width - 1) / 2, (height - 1) / 2
    zero = tf.zeros_like(cosine)
    rows = (
        (cosine, -sine, x - cosine * x + sine * y),
        (sine, cosine, y - sine * x - cosine * y),
        (zero, zero),
    )
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(images, tf.float32),
        transforms=tf.stack([value for row in rows for value in row], axis=1),
        output_shape=(height, width),
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
        fill_value=0.0,
    )
    return tf.cast(tf.round(moved), tf.uint8)


def _moved(images: tf.Tensor, recipe: Recipe, random: tf.Tensor) -> tf.Tensor:
    """Shift and flip uint8 images; random is (batch, 3 or more), 0 … 1.

    Images that move alike sideways are a group, whose rows are copied whole: that takes a third of
    the time of a gather of pixels.
    """
    most, (height, width) = recipe.shift, images.shape[1:3]
    columns = _steps(random[:, 1], most)
    flipped = tf.cast(random[:, 2] < 0.5, tf.int32) if recipe.flip else tf.zeros_like(columns)
    padded = tf.pad(images, ((0, 0), (most, most), (most, most), (0, 0)))
    rows = _steps(random[:, 0:1], most) + tf.range(height)[None]
    taken = tf.gather(padded, rows, batch_dims=1)
    places, parts = [], []
    for column, flip in itertools.product(range(2 * most + 1), range(1 + recipe.flip)):
        place = tf.where((columns == column) & (flipped == flip))[:, 0]
        start = 2 * most - column if flip else column
        part = tf.gather(taken, place)[:, :, start : start + width]
        places.append(tf.cast(place, tf.int32))
        parts.append(tf.reverse(part, [2]) if flip else part)  # a slice takes six times as long
    return tf.reshape(tf.dynamic_stitch(places, parts), tf.shape(images))


def _erased(images: tf.Tensor, share: float, *, seed: tf.Tensor) -> tf.Tensor:
    """Fill a rectangle with noise in a share of uint8 images."""
    batch, height, width = tf.shape(images)[0], images.shape[1], images.shape[2]
    random = tf.random.stateless_uniform((batch, 5), seed)
    area = height * width * _between(random[:, 0:1], *_ERASED_AREA)
    aspect = tf.exp(_between(random[:, 1:2], *(math.log(each) for each in _ERASED_ASPECT)))
    inside = (
        _within(random[:, 2:3], height, tf.sqrt(area * aspect))[:, :, None]
        & _within(random[:, 3:4], width, tf.sqrt(area / aspect))[:, None, :]
        & (random[:, 4:5, None] < share)
    )
    noise = tf.random.stateless_uniform(
        tf.shape(images), _seed(seed, 4), minval=0, maxval=256, dtype=tf.int32
    )
    return tf.where(inside[..., None], tf.cast(noise, tf.uint8), images)


def _between(random: tf.Tensor, least: float, most: float) -> tf.Tensor:
    return least + (most - least) * random


def _steps(random: tf.Tensor, most: int) -> tf.Tensor:
    return tf.cast(random * (2 * most + 1), tf.int32)


def _within(random: tf.Tensor, size: int, side: tf.Tensor) -> tf.Tensor:
    """Return which positions a range covers; `side` long, put by `random`, 0 … 1, in `size`."""
    side = tf.minimum(side, float(size))
    start = random * (size - side)
    centres = tf.cast(tf.range(size), tf.float32)[None] + 0.5
    return (centres >= start) & (centres < start + side)


def _near(random: tf.Tensor, size: int, side: int) -> tf.Tensor:
    centres = tf.cast(tf.range(size), tf.float32)[None] + 0.5
    return tf.abs(centres - size * random) < side / 2
