"""Augment a whole batch at once: one gather and one mask, the same for the same seed."""

from __future__ import annotations

import tensorflow as tf

from hemline.train.recipe import Recipe


def augment(images: tf.Tensor, recipe: Recipe, *, seed: tf.Tensor) -> tf.Tensor:
    """Shift, flip and erase uint8 images (batch, h, w, c); `seed` is int64 (2,).

    Every image is shifted by up to `recipe.shift` pixels with black in the gap, flipped left to
    right with probability one half, and loses a square of side `recipe.cutout`
    (DeVries & Taylor 2017) to black, centred anywhere so that part of it may lie outside.
    """
    batch, height, width, channels = (
        tf.shape(images)[0],
        images.shape[1],
        images.shape[2],
        images.shape[3],
    )
    random = tf.random.stateless_uniform((batch, 5), seed)
    rows, row_inside = _shifted(random[:, 0:1], height, recipe.shift)
    columns, column_inside = _shifted(random[:, 1:2], width, recipe.shift)
    if recipe.flip:
        flipped = random[:, 2:3] < 0.5
        columns = tf.where(flipped, width - 1 - columns, columns)
    inside = row_inside[:, :, None] & column_inside[:, None, :]
    if recipe.cutout:
        inside &= ~(
            _near(random[:, 3:4], height, recipe.cutout)[:, :, None]
            & _near(random[:, 4:5], width, recipe.cutout)[:, None, :]
        )
    positions = tf.reshape(rows[:, :, None] * width + columns[:, None, :], (-1, height * width))
    flat = tf.reshape(images, (-1, height * width, channels))
    moved = tf.reshape(tf.gather(flat, positions, batch_dims=1), (-1, height, width, channels))
    return moved * tf.cast(inside, tf.uint8)[..., None]


def _shifted(random: tf.Tensor, size: int, most: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the source position of each target one, clipped, and whether it lay inside."""
    shift = tf.cast(random * (2 * most + 1), tf.int32) - most
    positions = tf.range(size)[None] + shift
    return tf.clip_by_value(positions, 0, size - 1), (positions >= 0) & (positions < size)


def _near(random: tf.Tensor, size: int, side: int) -> tf.Tensor:
    centres = tf.cast(tf.range(size), tf.float32)[None] + 0.5
    return tf.abs(centres - size * random) < side / 2
