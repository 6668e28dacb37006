"""Training against plain `model.fit`, and what each means brings; augmentation, memory."""

from __future__ import annotations

import math
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from measurement import Result, installed_package, interleaved, median_ratio, process_cost, report
from pipeline import drain, ours, train_seconds

from hemline.data.fetch import load_images
from hemline.data.splits import TrainingData, split_images
from hemline.train.checkpoint import ZOO
from hemline.train.nets.models import MODELS, build_model
from hemline.train.tensorflow import quiet_keras

keras = quiet_keras()

import tensorflow as tf  # noqa: E402 — after its noise was turned off

from hemline.train.fitting.augmentation import variants  # noqa: E402
from hemline.train.fitting.distillation import Student, Teach, open_teachers  # noqa: E402
from hemline.train.fitting.phases import phases  # noqa: E402
from hemline.train.fitting.precision import has_bfloat16  # noqa: E402
from hemline.train.fitting.soft_targets import SoftTargets  # noqa: E402
from hemline.train.nets.normalization import training_copy  # noqa: E402
from hemline.train.recipes.recipe import RECIPES, Recipe  # noqa: E402

_ALL = replace(
    RECIPES["fast"], epochs=1_000, shift=2, flip=True, rotation=10.0, zoom=0.1, cutout=6,
    erasing=0.25, mixup=0.2,
)  # fmt: skip
_FAST = replace(RECIPES["fast"], epochs=1_000)
_ROUNDS, _STEPS = 3, 100
_MODELS = ("hem-50k", "cnn", "deep-cnn")

_BUDGET_BYTES = 1_500_000_000
_TRAIN = """
import sys
from hemline.cli import main
sys.argv = ["hemline", "train", "deep-cnn", "--epochs", "1", "-o", sys.argv[1]]
main()
"""


def one_by_one(data: TrainingData, recipe: Recipe) -> tf.data.Dataset:
    """Return the same augmentations, applied to one image at a time, on all cores."""

    def uniform(least: float = 0.0, most: float = 1.0) -> tf.Tensor:
        return tf.random.uniform((), least, most)

    def warp(image: tf.Tensor) -> tf.Tensor:
        angle = math.radians(recipe.rotation) * uniform(-1.0)
        scale = 1 / (1 + recipe.zoom * uniform(-1.0))
        c, s, middle = scale * tf.cos(angle), scale * tf.sin(angle), 13.5
        row = [c, -s, middle - c * middle + s * middle, s, c, middle - s * middle - c * middle]
        return tf.raw_ops.ImageProjectiveTransformV3(
            images=image[None],
            transforms=tf.stack([*row, 0.0, 0.0])[None],
            output_shape=(28, 28),
            interpolation="BILINEAR",
            fill_mode="CONSTANT",
            fill_value=0.0,
        )[0]

    def box(height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
        y, x = 28 * uniform(), 28 * uniform()
        line = tf.range(28, dtype=tf.float32) + 0.5
        return (tf.abs(line - y) < height / 2)[:, None] & (tf.abs(line - x) < width / 2)[None]

    def prepare(image: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        size = 28 + 2 * recipe.shift
        image = warp(tf.cast(image, tf.float32))
        image = tf.image.resize_with_crop_or_pad(image, size, size)
        image = tf.image.random_flip_left_right(tf.image.random_crop(image, (28, 28, 1)))
        side = tf.constant(float(recipe.cutout))
        image = tf.where(box(side, side)[..., None], 0.0, image)
        area, aspect = 784 * uniform(0.02, 0.4), tf.exp(uniform(math.log(0.3), -math.log(0.3)))
        erased = box(tf.sqrt(area * aspect), tf.sqrt(area / aspect)) & (uniform() < recipe.erasing)
        noise = tf.random.uniform((28, 28, 1), 0, 256)
        return tf.where(erased[..., None], noise, image), tf.one_hot(label, 10)

    def blend(images: tf.Tensor, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        one, other = (tf.random.gamma((recipe.batch,), recipe.mixup) for _ in range(2))
        share = one / (one + other)
        pixels, rest = share[:, None, None, None], share[:, None]
        return (
            pixels * images + (1 - pixels) * images[::-1],
            rest * targets + (1 - rest) * targets[::-1],
        )

    images = tf.data.Dataset.from_tensor_slices((data.train_images, data.train_labels)).cache()
    drawn = images.repeat().shuffle(10_000).map(prepare, num_parallel_calls=tf.data.AUTOTUNE)
    return drawn.batch(recipe.batch).map(blend).prefetch(tf.data.AUTOTUNE)


def augmentations(data: TrainingData) -> Result:
    """Compare the two."""
    fast, slow = iter(ours(data, _ALL)), iter(one_by_one(data, _ALL))
    drain(fast), drain(slow)
    a, b = interleaved(lambda: drain(slow), lambda: drain(fast), _ROUNDS)
    ratio = median_ratio(a, b)
    per_second = [f"{100 * _ALL.batch / statistics.median(each):,.0f}" for each in (b, a)]
    return Result(
        claim="all augmentations in batches against one image at a time, both cached",
        value=ratio,
        unit="×",
        met=ratio > 1,
        detail=f"{per_second[0]} images/s, one at a time on all cores {per_second[1]}",
    )


def precision(data: TrainingData, name: str) -> Result:
    """Compare training steps of a model in both precisions."""
    a, b = step_seconds(
        data,
        name,
        *(fused(name, policy) for policy in ("float32", "mixed_bfloat16")),
    )
    ratio = median_ratio(a, b)
    return Result(
        claim=f"mixed_bfloat16 at least 1.2 × as fast as float32, {name}",
        value=ratio,
        unit="×",
        met=ratio >= 1.2,
        detail=f"float32 {10 * statistics.median(a):.1f} ms a step, "
        f"bfloat16 {10 * statistics.median(b):.1f} ms",
    )


def normalization(data: TrainingData, name: str) -> Result:
    """Compare training steps with Keras' batch normalization and with the fused one."""
    a, b = step_seconds(data, name, plain(name, "float32"), fused(name, "float32"))
    ratio = median_ratio(a, b)
    return Result(
        claim=f"batch normalization in one kernel: a step of {name} faster than with Keras' own",
        value=ratio,
        unit="×",
        met=ratio > 1,
        detail=f"{10 * statistics.median(b):.1f} ms a step, "
        f"Keras {10 * statistics.median(a):.1f} ms",
    )


def plain(name: str, policy: str) -> keras.Model:
    """Return a model as it is built."""
    return build_model(MODELS[name], (28, 28, 1), 10, policy=policy)


def fused(name: str, policy: str) -> keras.Model:
    """Return a model as it is trained."""
    return training_copy(plain(name, "float32"), policy)


def step_seconds(
    data: TrainingData, name: str, one: keras.Model, other: keras.Model
) -> tuple[list[float], list[float]]:
    """Return the seconds of a hundred training steps of two models, round by round."""
    recipe = replace(RECIPES[MODELS[name].recipe], epochs=1_000)
    batches = ours(data, recipe)
    for model in (one, other):
        phases(recipe)[0].prepare(model, recipe, 100)
        train_seconds(model, batches)
    return interleaved(
        lambda: train_seconds(one, batches), lambda: train_seconds(other, batches), _ROUNDS
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A way to train hem-50k: Hemline's own, but for what is given.

    normalization: in one kernel.
    at_once: steps without returning to Python.
    batches: makes them from images and a recipe.
    xla: whether XLA compiles the step, as Keras has it by default.
    teachers: "", "asked" in each step, or "kept" predictions of theirs.
    """

    normalization: bool = True
    at_once: int = 0
    batches: Callable[[TrainingData, Recipe], tf.data.Dataset] = ours
    xla: bool = False
    batch: int = _FAST.batch
    teachers: str = ""

    def seconds(self, data: TrainingData) -> Callable[[], float]:
        """Return a function that trains for `_STEPS` steps of 250 images and returns seconds."""
        recipe = replace(_FAST, batch=self.batch)
        steps = _STEPS * _FAST.batch // self.batch
        model = (
            training_copy(plain("hem-50k", "float32"))
            if self.normalization
            else plain("hem-50k", "float32")
        )
        batches = self.batches(data, recipe)
        if self.teachers:
            teach = open_teachers([ZOO / "hem-50k"], recipe.distillation_temperature)
            soft = kept_predictions(data, recipe, teach) if self.teachers == "kept" else None
            batches = ours(data, recipe, soft=soft)
            model = Student(
                inputs=model.input,
                outputs=model.output,
                teach=teach if soft is None else None,
                share=recipe.distillation,
                temperature=recipe.distillation_temperature,
            )
        phases(recipe)[0].prepare(model, recipe, steps)
        model.steps_per_execution, model.jit_compile = self.at_once or steps, self.xla

        def seconds() -> float:
            return train_seconds(model, batches, steps)

        seconds()
        return seconds


def kept_predictions(data: TrainingData, recipe: Recipe, teach: Teach) -> SoftTargets:
    """Return predictions as many as there are; they are those of the first variant."""
    forward = tf.function(teach)
    parts = np.array_split(data.train_images.astype(np.float32), 220)
    table = np.concatenate([forward(part).numpy() for part in parts]).astype(np.float16)
    return SoftTargets(tables=tuple(table.copy() for _ in variants(recipe) or ()))


def tutorial(data: TrainingData, recipe: Recipe) -> tf.data.Dataset:
    """Return the same augmentation as tutorials write it: an image at a time, on all cores."""

    def prepare(image: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        size = 28 + 2 * recipe.shift
        image = tf.image.resize_with_crop_or_pad(tf.cast(image, tf.float32), size, size)
        image = tf.image.random_flip_left_right(tf.image.random_crop(image, (28, 28, 1)))
        return image, tf.one_hot(label, 10)

    images = tf.data.Dataset.from_tensor_slices((data.train_images, data.train_labels)).cache()
    drawn = images.repeat().shuffle(10_000).map(prepare, num_parallel_calls=tf.data.AUTOTUNE)
    return drawn.batch(recipe.batch).prefetch(tf.data.AUTOTUNE)


_OURS = Way()
_WAYS = (
    (
        "at least twice as fast as plain model.fit with the same batches and augmentation",
        Way(normalization=False, at_once=1, batches=tutorial, xla=True),
        _OURS,
        2.0,
    ),
    (
        "faster than plain model.fit with jit_compile=False",
        Way(normalization=False, at_once=1, batches=tutorial),
        _OURS,
        1,
    ),
    ("faster without XLA", Way(xla=True), _OURS, 1.0),
    ("faster by steps without returning to Python", Way(at_once=1), _OURS, 1.0),
    ("faster by batches that are one gather", Way(batches=tutorial), _OURS, 1.0),
    ("faster by batches of 500 images than by 250", _OURS, Way(batch=500), 1.0),
    (
        "faster by kept predictions of a teacher of the same size",
        Way(teachers="asked"),
        Way(teachers="kept"),
        1.0,
    ),
)


def ways(data: TrainingData) -> list[Result]:
    """Compare each pair of ways to train."""
    results = []
    for claim, one, other, least in _WAYS:
        a, b = interleaved(one.seconds(data), other.seconds(data), _ROUNDS)
        ratio, images = median_ratio(a, b), _STEPS * _FAST.batch
        rates = [f"{images / statistics.median(each):,.0f}" for each in (b, a)]
        results.append(
            Result(
                claim=f"training hem-50k: {claim}",
                value=ratio,
                unit="×",
                met=ratio >= least,
                detail=f"{rates[0]} images/s, without {rates[1]}",
            )
        )
    return results


def memory() -> Result:
    """Measure a whole `hemline train` of the largest net of its own."""
    with installed_package() as path, tempfile.TemporaryDirectory() as folder:
        seconds, peak = process_cost(_TRAIN, str(Path(folder) / "checkpoint"), path=path)
    return Result(
        claim="memory of training deep-cnn on 55,000 images: at most 1.5 GB",
        value=peak / 1e9,
        unit="GB",
        met=peak <= _BUDGET_BYTES,
        detail=f"peak resident memory of an epoch with evaluation, {seconds:.0f} s",
    )


def main() -> None:
    """Measure and write the results."""
    data = split_images(load_images("fashion-mnist"), validation=5000)
    report(
        "training",
        [
            *ways(data),
            augmentations(data),
            *(normalization(data, name) for name in ("hem-50k", "deep-cnn")),
            # where no device has bfloat16 it is emulated, and there is nothing to compare
            *(precision(data, name) for name in _MODELS if has_bfloat16()),
            memory(),
        ],
    )


if __name__ == "__main__":
    main()
