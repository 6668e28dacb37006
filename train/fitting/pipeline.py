"""The tf.data pipeline: cached pixels, seeded order, whole batches augmented after the cache.

The order of epoch e depends on (seed, e) and the augmentation of step s on (seed, s) alone, so a
run that is resumed sees the same batches as one that was never interrupted.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from hemline.data.image_rows import ImageRows, MappedImages, Pixels
from hemline.train.fitting.augmentation import augment, mix, variant_numbers
from hemline.train.fitting.soft_targets import SoftTargets
from hemline.train.recipes.recipe import Recipe

_LARGEST_CACHED_BYTES = 1 << 27  # of images in a file: more stay there, and batches are read
_PREFETCHED_BATCHES = 4  # a batch takes 2 ms to make and 35 ms to train on


def steps_per_epoch(count: int, recipe: Recipe) -> int:
    """Return the number of whole batches in `count` images; what is left over waits a turn."""
    return max(1, count // recipe.batch)


def class_weights(labels: Pixels, classes: int) -> npt.NDArray[np.float32]:
    """Return a weight for each class, inversely proportional to its images; 1 on average."""
    counts = np.bincount(labels, minlength=classes)
    # classes without images have no influence, whatever their weight
    return (len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1))).astype(np.float32)


def training_batches(
    images: ImageRows,
    labels: Pixels,
    recipe: Recipe,
    *,
    seed: int,
    epochs: range,
    classes: int,
    soft: SoftTargets | None = None,
) -> tf.data.Dataset:
    """Return batches (float32 images 0 … 255 (batch, h, w, c), one-hot labels) of epochs,
    counted from 0.

    With class weights each batch has a third part, the weights of its images; with soft targets
    the labels are followed by those: (batch, 2 · classes).
    """
    count, steps = len(images), steps_per_epoch(len(images), recipe)
    batch = min(recipe.batch, count)
    balanced = recipe.class_weights == "balanced"
    weights = class_weights(labels, classes) if balanced else None
    # All pixels are one cached element: a batch is then one gather instead of `batch` elements that
    # are handed from operator to operator, which took a fifth of the time of training.
    mapped = isinstance(images, MappedImages) and images.nbytes > _LARGEST_CACHED_BYTES
    whole = np.zeros(0, np.uint8) if mapped else np.asarray(images)
    cached = tf.data.Dataset.from_tensors((whole, labels)).cache()

    def gathered(pixels: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
        if not mapped:
            return tf.gather(pixels, chosen)
        read = tf.numpy_function(images.__getitem__, [chosen], tf.uint8, stateful=False)
        return tf.ensure_shape(read, (None, *images.shape[1:]))

    def every_step(pixels: tf.Tensor, classes_of: tf.Tensor) -> tf.data.Dataset:
        def one_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
            order = tf.random.experimental.stateless_shuffle(
                tf.range(count), seed=tf.stack([tf.constant(seed, tf.int64), epoch])
            )
            rows = tf.reshape(order[: steps * batch], (steps, batch))
            numbers = epoch * steps + tf.range(steps, dtype=tf.int64)
            return tf.data.Dataset.from_tensor_slices((rows, numbers))

        def prepare(chosen: tf.Tensor, step: tf.Tensor) -> tuple[tf.Tensor, ...]:
            # the other half of the seeds, so that order and augmentation are independent
            own = tf.stack([tf.constant(-1 - seed, tf.int64), step])
            changed = tf.cast(augment(gathered(pixels, chosen), recipe, seed=own), tf.float32)
            targets = tf.one_hot(tf.gather(classes_of, chosen), classes)
            if recipe.mixup:
                changed, targets = mix(changed, targets, recipe.mixup, seed=own)
            weighed = () if weights is None else (tf.linalg.matvec(targets, weights),)
            if soft is not None:
                theirs = soft.of(chosen, variant_numbers(batch, recipe, seed=own))
                targets = tf.concat([targets, theirs], axis=1)
            return changed, targets, *weighed

        numbers = tf.data.Dataset.range(epochs.start, epochs.stop)
        # one thread is enough: the other core is training
        return numbers.flat_map(one_epoch).map(prepare, num_parallel_calls=1, deterministic=True)

    # Nothing here is left to tf.data to tune, and its tuner sleeps for 10 ms, 20 ms, … 60 s:
    # whoever closes the iterator waits for it, up to as long as the training took.
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False  # they copy all pixels
    return cached.flat_map(every_step).prefetch(_PREFETCHED_BATCHES).with_options(options)
