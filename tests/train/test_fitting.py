"""Fitting: resumed runs are the whole ones bit by bit; the weights kept are those that are told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import log_softmax

from hemline.data.splits import TrainingData
from hemline.errors import HemlineError
from hemline.remedies import described
from hemline.train.fitting.pipeline import class_weights
from hemline.train.nets.design import Design
from hemline.train.nets.models import MODELS, build_model
from hemline.train.recipes.recipe import Recipe
from hemline.train.recipes.stopping import best_epoch
from hemline.train.tensorflow import quiet_keras

keras = quiet_keras()
Fit = Callable[..., Any]
# Each one has a state that must come back: rates, counts of epochs, averages, random generators.
STATES: dict[str, dict[str, Any]] = {
    "reduce-on-plateau": {
        "schedule": "reduce-on-plateau", "plateau_patience": 1, "learning_rate": 0.1,
    },
    "early stopping": {"early_stopping": 2, "learning_rate": 0.1, "epochs": 9},
    "moving averages": {"ema": 0.9, "schedule": "cosine"},
    "random generators": {"mixup": 0.4, "dropout": 0.5, "shift": 1, "rotation": 10, "erasing": 0.5},
    "two phases": {"frozen_epochs": 2, "fine_tuned_layers": 1, "schedule": "one-cycle"},
    "sphere-muon": {"optimizer": "sphere-muon", "weight_decay": 5e-4, "class_weights": "balanced"},
}  # fmt: skip
# All of them in two runs, for every day: early stopping and phases exclude each other's border.
TOGETHER: dict[str, dict[str, Any]] = {
    "one phase": {
        "epochs": 3, "optimizer": "rmsprop", "learning_rate": 0.1, "schedule": "reduce-on-plateau",
        "plateau_patience": 1, "early_stopping": 2, "ema": 0.5, "mixup": 0.4, "dropout": 0.5,
        "shift": 1, "class_weights": "balanced",
    },
    "two phases": {
        "epochs": 3, "optimizer": "adamw", "weight_decay": 0.01, "schedule": "one-cycle",
        "warmup": 0.2, "ema": 0.9, "l2": 1e-3, "frozen_epochs": 1, "fine_tuned_layers": 1,
    },
}  # fmt: skip


def arrays_of(path: Path) -> list[np.ndarray]:
    with np.load(path) as arrays:
        return [arrays[name] for name in arrays.files]


def validation_loss(model: Any, data: TrainingData) -> float:
    logits = np.asarray(model(data.validation_images.astype(np.float32)), np.float64)
    rows = np.arange(len(logits))
    return float(-log_softmax(logits, axis=1)[rows, data.validation_labels].mean())


@pytest.mark.medium
@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(TOGETHER["one phase"], id="one phase"),
        pytest.param(TOGETHER["two phases"], id="two phases", marks=pytest.mark.slow),
    ],
)
def test_a_run_stopped_after_every_epoch_ends_like_one_that_was_not(
    fields: dict[str, Any], require_alike: Fit
) -> None:
    whole = require_alike(**fields)
    if "plateau_patience" in fields:
        assert whole.history[-1].learning_rate < fields["learning_rate"], "it was to fall"


@pytest.mark.slow
@pytest.mark.parametrize("fields", STATES.values(), ids=STATES)
def test_every_state_of_a_run_comes_back(fields: dict[str, Any], require_alike: Fit) -> None:
    whole = require_alike(**{"epochs": 5, **fields})
    if "early_stopping" in fields:
        assert len(whole.history) < fields["epochs"], "it was to stop early"
    if "plateau_patience" in fields:
        assert whole.history[-1].learning_rate < fields["learning_rate"], "it was to fall"


@pytest.mark.medium
def test_the_weights_of_the_best_epoch_are_kept(fit_small: Fit, small_data: TrainingData) -> None:
    fields = {"learning_rate": 0.05, "early_stopping": 3, "epochs": 20}
    trained = fit_small(**fields)
    best = best_epoch(Recipe(early_stopping=3), trained.history)
    assert trained.kept_epoch == best.epoch == len(trained.history) - 3
    assert len(trained.history) < 20
    # the same weights in another graph: rounding of float32
    again = validation_loss(trained.model, small_data)
    assert again == pytest.approx(best.validation_loss, rel=1e-5)
    assert trained.history[-1].validation_loss > again


@pytest.mark.slow
def test_early_stopping_leaves_the_frozen_phase_whole(fit_small: Fit) -> None:
    """A top that stands still is no reason to leave out fine-tuning."""
    trained = fit_small(
        epochs=8, frozen_epochs=4, learning_rate=0.3, early_stopping=1, fine_tuning_rate=1e-9
    )
    losses = [epoch.validation_loss for epoch in trained.history[:4]]
    assert losses != sorted(losses, reverse=True), "it stood still before the fourth epoch"
    assert len(trained.history) > 4
    rates = [epoch.learning_rate for epoch in trained.history]
    assert rates[3:5] == pytest.approx([0.3, 3e-10])


@pytest.mark.slow
def test_averaged_weights_are_kept_and_the_raw_ones_trained_on(
    fit_small: Fit, small_data: TrainingData, tmp_path: Path
) -> None:
    """With one step an epoch, the progress has the raw weights of every step."""
    raw: dict[float, list[list[np.ndarray]]] = {0.0: [], 0.75: []}
    trained = {}
    for ema, seen in raw.items():
        folder = tmp_path / str(ema)

        def look(epoch: Any, folder: Path = folder, seen: list[Any] = seen) -> None:
            seen.append(arrays_of(folder / "progress" / f"epoch-{epoch.epoch}.npz"))

        trained[ema] = fit_small(folder, epochs=4, batch=96, ema=ema, look=look)
    model = trained[0.75].model
    count = len(model.variables)
    for plain, with_averages in zip(raw[0.0], raw[0.75], strict=True):
        for one, other in zip(plain[:count], with_averages[:count], strict=True):
            np.testing.assert_array_equal(one, other)
    for at, variable in enumerate(model.variables):
        if not variable.trainable:
            continue  # those of batch normalization are averages already
        average = raw[0.75][0][at]
        for weights in raw[0.75][1:]:
            average = 0.75 * average + 0.25 * weights[at]
        np.testing.assert_allclose(variable.numpy(), average, rtol=1e-5, atol=1e-7)
    assert trained[0.75].kept_epoch == 0, "the last one, without early stopping"
    last = trained[0.75].history[-1].validation_loss
    assert validation_loss(model, small_data) == pytest.approx(last, rel=1e-5)


@pytest.mark.slow
def test_the_penalty_of_kernels_is_in_the_loss(fit_small: Fit) -> None:
    still = {"epochs": 1, "batch": 96, "learning_rate": 1e-12}
    plain, penalized = fit_small(**still), fit_small(**still, l2=0.1)
    squares = sum(float((w**2).sum()) for w in plain.model.get_weights() if w.ndim > 1)
    added = penalized.history[0].loss - plain.history[0].loss
    assert added == pytest.approx(0.1 * squares, rel=1e-4)


@pytest.mark.medium
def test_bfloat16_leaves_the_weights_in_float32(
    fit_small: Fit, small_data: TrainingData, tmp_path: Path
) -> None:
    stored: list[np.ndarray] = []

    def look(epoch: Any) -> None:
        stored.extend(arrays_of(tmp_path / "progress" / f"epoch-{epoch.epoch}.npz"))

    trained = fit_small(
        tmp_path, epochs=6, learning_rate=0.01, precision="mixed_bfloat16", ema=0.5, look=look,
        class_weights="balanced", mixup=0.1,
    )  # fmt: skip
    assert {array.dtype.kind for array in stored} <= {"f", "i", "u"}
    assert {array.dtype for array in stored if array.dtype.kind == "f"} == {np.dtype("f4")}
    assert {layer.compute_dtype for layer in trained.model.layers} == {"float32"}
    assert {variable.dtype for variable in trained.model.weights} == {"float32"}
    assert trained.history[-1].loss < trained.history[0].loss
    # eight bits of mantissa in each activation: about one percent in the loss
    last = trained.history[-1].validation_loss
    assert validation_loss(trained.model, small_data) == pytest.approx(last, rel=0.05)


def rare(data: TrainingData) -> TrainingData:
    """Return the data with only five images of class 0."""
    kept = data.train_labels != 0
    kept[np.flatnonzero(~kept)[:5]] = True
    images, labels = data.train_images[kept], data.train_labels[kept]
    return replace(data, train_images=images, train_labels=labels)


def test_balanced_classes_all_weigh_alike() -> None:
    labels = np.array([0] * 5 + [1] * 30 + [3] * 15, np.uint8)
    weights = class_weights(labels, 5)
    assert (weights[labels].sum(), weights[2] > 0) == (pytest.approx(50), True)
    assert np.bincount(labels, weights[labels])[[0, 1, 3]] == pytest.approx([50 / 3] * 3)


@pytest.mark.slow
def test_class_weights_raise_the_recall_of_a_rare_class(
    fit_small: Fit, small_data: TrainingData
) -> None:
    recalls = {}
    of_it = small_data.validation_labels == 0
    for choice in ("none", "balanced"):
        fields = {"epochs": 15, "learning_rate": 0.005, "class_weights": choice}
        trained = fit_small(data=rare(small_data), **fields)
        images = small_data.validation_images[of_it].astype(np.float32)
        recalls[choice] = float((np.asarray(trained.model(images)).argmax(axis=1) == 0).mean())
    assert recalls["balanced"] > recalls["none"] + 0.1, "measured: 0.2 and 0.6"


@pytest.mark.slow  # TensorFlow waits ten seconds for memory that might come free
def test_a_model_too_large_for_the_memory_is_told_in_one_line() -> None:
    from hemline.train.fitting.fitting import within_memory

    error = "not enough memory for mlp and 250 images per step"
    with pytest.raises(HemlineError, match=error) as caught, within_memory("mlp", Recipe()):
        build_model(MODELS["mlp"], (12, 12, 1), 4, design=Design(width=1e9))
    assert described(caught.value).endswith("use a smaller --batch, --width or --resize")


def separable_net(pixels: Any) -> Any:
    """Return a net that no row of MODELS has: nested, separable, with a layer that is shared."""
    from keras import layers

    block = layers.SeparableConv2D(4, 3, padding="same", name="shared")
    stem = [layers.Conv2D(4, 3, strides=2), layers.BatchNormalization(momentum=0.8)]
    x = keras.Sequential([keras.Input((12, 12, 1)), layers.Rescaling(1 / 255), *stem])(pixels)
    x = layers.GlobalAveragePooling2D()(block(layers.ReLU()(block(x))))
    return keras.Model(pixels, layers.Dense(4)(layers.Dropout(0.1)(x)), name="theirs")


ANY_MODEL = {"epochs": 3, "learning_rate": 0.02}


def given_model() -> Any:
    keras.utils.set_random_seed(8)
    return separable_net(keras.Input((12, 12, 1)))


@pytest.mark.medium
def test_any_model_is_fitted(fit_small: Fit, small_data: TrainingData) -> None:
    model = given_model()
    before = validation_loss(model, small_data)
    whole = fit_small(model=model, **ANY_MODEL)
    assert whole.model is model
    assert validation_loss(model, small_data) < before
    # what is kept are the weights of the last epoch
    last = whole.history[-1].validation_loss
    assert validation_loss(model, small_data) == pytest.approx(last, rel=1e-4)
    assert {weight.dtype for weight in model.weights} == {"float32"}


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_any_model_is_resumed(precision: str, fit_small: Fit, tmp_path: Path) -> None:
    fields, model = {"precision": precision, **ANY_MODEL}, given_model()
    whole = fit_small(model=model, **fields)
    assert {weight.dtype for weight in model.weights} == {"float32"}
    with pytest.raises(KeyboardInterrupt):
        fit_small(tmp_path, model=given_model(), stop_after=2, **fields)
    resumed = fit_small(tmp_path, model=given_model(), **fields)
    assert [e.loss for e in resumed.history] == [e.loss for e in whole.history]
    for one, other in zip(resumed.model.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
