"""The input pipeline against a naive one, and its share of a step."""

from __future__ import annotations

import statistics
import time
from dataclasses import replace

from measurement import Result, interleaved, median_ratio, report

from hemline.data.fetch import load_images
from hemline.data.splits import TrainingData, split_images
from hemline.train.nets.models import MODELS, build_model
from hemline.train.tensorflow import quiet_keras

keras = quiet_keras()

import tensorflow as tf  # noqa: E402 — after its noise was turned off

from hemline.train.fitting.phases import phases  # noqa: E402
from hemline.train.fitting.pipeline import training_batches  # noqa: E402
from hemline.train.fitting.soft_targets import SoftTargets  # noqa: E402
from hemline.train.nets.normalization import training_copy  # noqa: E402
from hemline.train.recipes.recipe import RECIPES, Recipe  # noqa: E402

_RECIPE = replace(RECIPES["fast"], epochs=1_000)
_ROUNDS = 7
_STEPS = 100


def naive(data: TrainingData, recipe: Recipe) -> tf.data.Dataset:
    """Return the pipeline of many tutorials: one image at a time, nothing cached."""

    def prepare(image: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        size = 28 + 2 * recipe.shift
        image = tf.image.resize_with_crop_or_pad(tf.cast(image, tf.float32), size, size)
        image = tf.image.random_flip_left_right(tf.image.random_crop(image, (28, 28, 1)))
        return image, tf.one_hot(label, 10)

    images = tf.data.Dataset.from_tensor_slices((data.train_images, data.train_labels))
    return images.repeat().shuffle(10_000).map(prepare).batch(recipe.batch)


def ours(data: TrainingData, recipe: Recipe, soft: SoftTargets | None = None) -> tf.data.Dataset:
    """Return Hemline's batches."""
    return training_batches(
        data.train_images,
        data.train_labels,
        recipe,
        seed=1,
        epochs=range(recipe.epochs),
        classes=10,
        soft=soft,
    )


def drain(batches: object) -> float:
    """Return the seconds that some batches take to make."""
    started = time.perf_counter()
    for _ in range(_STEPS):
        next(batches)  # type: ignore[call-overload]
    return time.perf_counter() - started


def compiled(precision: str) -> keras.Model:
    """Return hem-50k ready to train, a hundred steps an execution."""
    model = training_copy(build_model(MODELS["hem-50k"], (28, 28, 1), 10), precision)
    phases(_RECIPE)[0].prepare(model, _RECIPE, _STEPS)
    return model


def train_seconds(model: keras.Model, batches: tf.data.Dataset, steps: int = _STEPS) -> float:
    """Return the seconds of some training steps."""
    started = time.perf_counter()
    model.fit(batches, epochs=1, steps_per_epoch=steps, verbose=0, shuffle=False)
    return time.perf_counter() - started


def main() -> None:
    """Measure and write the results."""
    data = split_images(load_images("fashion-mnist"), validation=5000)
    fast, slow = iter(ours(data, _RECIPE)), iter(naive(data, _RECIPE))
    drain(fast), drain(slow)
    a, b = interleaved(lambda: drain(slow), lambda: drain(fast), _ROUNDS)
    images = _STEPS * _RECIPE.batch
    speed = median_ratio(a, b)

    # in the precision that training itself would take, where bfloat16 does not pay: float32
    model, batches = compiled("float32"), ours(data, _RECIPE)
    # the same batch again and again costs nothing to make
    ready = ours(data, _RECIPE).take(1).cache().repeat()
    train_seconds(model, batches), train_seconds(model, ready)
    c, d = interleaved(
        lambda: train_seconds(model, batches), lambda: train_seconds(model, ready), _ROUNDS
    )
    waiting = 1 - 1 / median_ratio(c, d)
    report(
        "pipeline",
        [
            Result(
                claim="images a second against a naive per-image pipeline without cache",
                value=speed,
                unit="×",
                met=speed > 1,
                detail=f"{images / statistics.median(b):,.0f}, "
                f"naive {images / statistics.median(a):,.0f} images/s",
            ),
            Result(
                claim="share of a training step spent waiting for data: at most 0.15",
                value=waiting,
                unit="",
                met=waiting <= 0.15,
                detail=f"{10 * statistics.median(c):.1f} ms a step, "
                f"{10 * statistics.median(d):.1f} ms with a ready batch",
            ),
        ],
    )


if __name__ == "__main__":
    main()
