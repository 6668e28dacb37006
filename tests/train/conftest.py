"""Images so few and a net so small that a test can train several times."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from hemline.contract.card import Epoch, Split
from hemline.data.splits import TrainingData
from hemline.train.nets.design import Design
from hemline.train.nets.models import ModelRow, build_model
from hemline.train.recipes.recipe import Recipe

CLASSES = 4


def build_tiny(shape: tuple[int, int, int], classes: int, design: Design) -> Any:
    """Build a net with all that training treats apart: stem, kernel, normalization, dropout."""
    import keras
    from keras import layers

    pixels = keras.Input(shape, name="image")
    x = layers.Rescaling(1 / 255)(pixels)
    x = layers.Conv2D(4, 3, strides=2, name="stem")(x)
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.9, name="norm")(x))
    x = layers.ReLU()(layers.Conv2D(6, 3, name="kernel_of_four")(x))
    x = layers.Dropout(design.drop(0.2), name="head_dropout")(layers.Flatten(name="head_flat")(x))
    logits = layers.Dense(classes, dtype="float32", name="head_logits")(x)
    return keras.Model(pixels, logits, name="tiny")


TINY = ModelRow(
    name="tiny",
    summary="for tests",
    build=f"{__name__}:build_tiny",
    recipe="plain",
    transfer_recipe="transfer",  # its head is one: it can be frozen below that
)


def barred_images(
    count: int, seed: int, *, classes: int = CLASSES
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Return images (count, 12, 12, 1) whose class is the row of a faint bar, and their labels."""
    random = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.uint8) % classes
    random.shuffle(labels)
    images = random.integers(0, 200, (count, 12, 12, 1), np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[1 + 2 * label : 3 + 2 * label, 2:10] += np.uint8(55)
    return images, labels


@pytest.fixture(scope="session")
def tiny_row() -> ModelRow:
    """Return the row of the tiny net."""
    return TINY


@pytest.fixture
def tiny_model() -> Any:
    """Return an untrained tiny net, the same each time."""
    from hemline.train.tensorflow import quiet_keras

    quiet_keras().utils.set_random_seed(5)
    return build_tiny((12, 12, 1), CLASSES, Design())


@pytest.fixture(scope="session")
def small_data() -> TrainingData:
    """Return 96 images for training and 40 for validation."""
    train, validation = barred_images(96, seed=1), barred_images(40, seed=2)
    return TrainingData(
        train_images=train[0],
        train_labels=train[1],
        validation_images=validation[0],
        validation_labels=validation[1],
        split=Split(seed=1, limit=None, validation_indices=(), validation_sha256="0" * 64),
    )


@pytest.fixture(scope="session")
def fit_small(small_data: TrainingData, tmp_path_factory: pytest.TempPathFactory) -> Callable:
    """Return a function that fits the tiny net by a plain recipe with changes.

    It takes fields of Recipe, and: folder, model, data, teachers, seed, look (called after
    each epoch with it), and stop_after, the epoch after which it is interrupted.
    """

    def fit_it(
        folder: Path | None = None,
        *,
        model: Any = None,
        data: TrainingData = small_data,
        teachers: tuple[Path, ...] = (),
        seed: int = 1,
        look: Callable[[Epoch], None] | None = None,
        stop_after: int | None = None,
        **changes: Any,
    ) -> Any:
        from hemline.train.tensorflow import quiet_keras

        keras = quiet_keras()
        from hemline.train.fitting.fitting import Run, fit

        def built(recipe: Recipe, seed: int) -> Any:
            keras.utils.set_random_seed(seed)
            return build_model(TINY, (12, 12, 1), CLASSES, design=Design.of(recipe))

        recipe = replace(PLAIN, **changes)
        run = Run(
            recipe=recipe,
            seed=seed,
            precision=recipe.precision,
            teachers=teachers,
            folder=folder or tmp_path_factory.mktemp("fit"),
            run_sha256="0" * 64,
        )

        def on_epoch(epoch: Epoch, _: int) -> None:
            if look is not None:
                look(epoch)
            if epoch.epoch == stop_after:
                raise KeyboardInterrupt

        return fit(
            model or built(recipe, seed), run, data, started=time.perf_counter(), on_epoch=on_epoch
        )

    return fit_it


def _figures(trained: Any) -> list[tuple[float, ...]]:
    return [
        (e.epoch, e.learning_rate, e.loss, e.accuracy, e.validation_loss, e.validation_accuracy)
        for e in trained.history
    ]


@pytest.fixture
def require_alike(fit_small: Callable, tmp_path: Path) -> Callable:
    """Return a function that stops a run after each of its epochs, and another one never.

    It takes what `fit_small` takes, asserts that both end alike, and returns the whole one.
    """

    def compare(**fields: Any) -> Any:
        whole = fit_small(**fields)
        for epoch in whole.history:
            with pytest.raises(KeyboardInterrupt):
                fit_small(tmp_path / "stopped", stop_after=epoch.epoch, **fields)
        resumed = fit_small(tmp_path / "stopped", **fields)
        assert _figures(resumed) == _figures(whole)
        assert resumed.kept_epoch == whole.kept_epoch
        for one, other in zip(resumed.model.get_weights(), whole.model.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)
        return whole

    return compare


# the simplest recipe: nothing but Adam
PLAIN = Recipe(
    epochs=2,
    batch=24,
    optimizer="adam",
    learning_rate=3e-3,
    weight_decay=0.0,
    schedule="constant",
    warmup=0.0,
    label_smoothing=0.0,
    shift=0,
    flip=False,
    validation=40,
    precision="float32",
)
