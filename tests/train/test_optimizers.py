"""Optimizers: each one's steps are those of its formula, and decay spares biases and norms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hemline.errors import UnknownNameError
from hemline.train.recipes.optimizers import OPTIMIZERS
from hemline.train.recipes.recipe import Recipe
from hemline.train.recipes.stopping import plateau_factor
from hemline.train.tensorflow import quiet_keras

quiet_keras()

from hemline.train.recipes.keras_objects import build_optimizer, build_schedule  # noqa: E402

RATE, DECAY, MOMENTUM = 0.05, 0.1, 0.8
BY_SVD = "kernel_of_four/kernel"  # the one that sphere-muon takes as a matrix
Array = np.ndarray


class Reference:
    """One variable, changed as the formula says."""

    def __init__(self, recipe: Recipe, value: Array, *, decays: bool) -> None:
        self.recipe, self.value = recipe, value.astype(np.float64)
        self.decay = recipe.weight_decay if decays else 0.0
        self.first = np.zeros_like(self.value)
        self.second = np.zeros_like(self.value)
        self.steps = 0

    def step(self, gradient: Array) -> None:
        self.steps += 1
        getattr(self, self.recipe.optimizer.replace("-", "_"))(gradient)

    def adam(self, gradient: Array) -> None:
        """Kingma & Ba (2015), algorithm 1 with both corrections in the rate."""
        self.first = 0.9 * self.first + 0.1 * gradient
        self.second = 0.999 * self.second + 0.001 * gradient**2
        rate = RATE * np.sqrt(1 - 0.999**self.steps) / (1 - 0.9**self.steps)
        self.value = self.value - rate * self.first / (np.sqrt(self.second) + 1e-7)

    def adamw(self, gradient: Array) -> None:
        """Loshchilov & Hutter (2019): the decay is apart from the gradient."""
        self.value = self.value * (1 - RATE * self.decay)
        self.adam(gradient)

    def rmsprop(self, gradient: Array) -> None:
        self.second = 0.9 * self.second + 0.1 * gradient**2
        self.value = self.value - RATE * gradient / np.sqrt(self.second + 1e-7)

    def sgd(self, gradient: Array) -> None:
        """Nesterov's momentum as Sutskever et al. (2013) write it, the decay apart."""
        self.value = self.value * (1 - RATE * self.decay)
        self.first = MOMENTUM * self.first - RATE * gradient
        self.value = self.value + MOMENTUM * self.first - RATE * gradient

    def sphere_muon(self, gradient: Array) -> None:
        """What is no inner kernel: SGD with Nesterov's momentum at a rate of its own."""
        gradient = gradient + self.decay * self.value
        self.first = MOMENTUM * self.first + gradient
        self.value = self.value - 0.2 * (gradient + MOMENTUM * self.first)


def recipe_for(name: str, **changes: Any) -> Recipe:
    decay = DECAY if OPTIMIZERS[name].decays else 0.0
    fields = {"learning_rate": RATE, "other_learning_rate": 0.2, "momentum": MOMENTUM}
    return Recipe(optimizer=name, weight_decay=decay, **{**fields, **changes})


def gradients(model: Any, step: int) -> list[Array]:
    """Return one for each variable, far from orthogonal: outputs differ by a factor of ten."""
    random, variables = np.random.default_rng(step), model.trainable_variables
    scales = [np.geomspace(0.3, 3, each.shape[-1]) for each in variables]
    return [
        (random.normal(0, 1, each.shape) * scale).astype("float32")
        for each, scale in zip(variables, scales, strict=True)
    ]


def apply(model: Any, optimizer: Any, given: list[Array]) -> None:
    import tensorflow as tf

    tensors = [tf.constant(each) for each in given]
    optimizer.apply_gradients(zip(tensors, model.trainable_variables, strict=True))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_steps_of_an_optimizer_are_those_of_its_formula(name: str, tiny_model: Any) -> None:
    recipe = recipe_for(name)
    optimizer = build_optimizer(recipe, RATE)
    variables = [each for each in tiny_model.trainable_variables if each.path != BY_SVD]
    assert {each.name for each in variables} == {"kernel", "bias", "gamma", "beta"}
    references = {
        each.path: Reference(recipe, each.numpy(), decays=each.name == "kernel")
        for each in tiny_model.trainable_variables
    }
    for step in range(4):
        given = gradients(tiny_model, step)
        apply(tiny_model, optimizer, given)
        for variable, gradient in zip(tiny_model.trainable_variables, given, strict=True):
            references[variable.path].step(gradient)
    for variable in variables if name == "sphere-muon" else tiny_model.trainable_variables:
        # float32: four steps of a few roundings of 1e-7
        np.testing.assert_allclose(
            variable.numpy(), references[variable.path].value, rtol=1e-4, atol=3e-6
        )


@pytest.mark.parametrize("name", [name for name, row in OPTIMIZERS.items() if row.decays])
def test_only_kernels_decay(name: str, tiny_model: Any) -> None:
    """Without any gradient, what does not decay stands still."""
    for variable in tiny_model.trainable_variables:
        variable.assign(np.full(variable.shape, 0.5))
    optimizer = build_optimizer(recipe_for(name), RATE)
    apply(
        tiny_model,
        optimizer,
        [np.zeros(v.shape, "float32") for v in tiny_model.trainable_variables],
    )
    for variable in tiny_model.trainable_variables:
        if variable.path == BY_SVD and name == "sphere-muon":
            continue  # it is put on its sphere
        moved = (np.abs(variable.numpy()) < 0.5).all()
        assert moved == (variable.name == "kernel"), variable.path


def test_an_inner_kernel_turns_by_the_rate_along_an_orthogonal_matrix(tiny_model: Any) -> None:
    optimizer = build_optimizer(recipe_for("sphere-muon"), RATE)
    at = [each.path for each in tiny_model.trainable_variables].index(BY_SVD)
    kernel = tiny_model.trainable_variables[at]
    first, second = (gradients(tiny_model, step)[at].reshape(-1, 6) for step in (0, 1))
    apply(tiny_model, optimizer, gradients(tiny_model, 0))
    before = kernel.numpy().reshape(-1, 6)
    apply(tiny_model, optimizer, gradients(tiny_model, 1))
    after = kernel.numpy().reshape(-1, 6)
    radius = np.sqrt(2 * 6)  # that of He's initialization for six filters
    for matrix in (before, after):
        assert np.linalg.norm(matrix) == pytest.approx(radius, rel=1e-5)
    momentum = second + MOMENTUM * (MOMENTUM * first + second)
    left, _, right = np.linalg.svd(momentum, full_matrices=False)
    # a step along an orthogonal matrix, whose length the rate gives, and back onto the sphere
    wanted = before - RATE * radius * left @ right / np.sqrt(6)
    wanted *= radius / np.linalg.norm(wanted)
    # singular values of 0.7 … 1.2 in place of 1 turn a step by 0.25 of its length at most
    assert np.linalg.norm(after - wanted) < 0.25 * RATE * radius
    assert np.linalg.norm(after - before) > 0.9 * RATE * radius


@pytest.mark.parametrize("shape", [(36, 6), (6, 36), (8, 8)])
def test_singular_values_are_brought_near_one(shape: tuple[int, int]) -> None:
    from hemline.train.recipes.keras_objects import orthogonalize

    matrix = np.random.default_rng(3).normal(0, 7, shape).astype("float32")
    values = np.linalg.svd(orthogonalize(matrix).numpy(), compute_uv=False)
    assert values.max() < 1.25
    assert np.median(values) > 0.65


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_moving_average_of_the_weights_is_the_one_by_hand(name: str, tiny_model: Any) -> None:
    optimizer = build_optimizer(recipe_for(name, ema=0.75), RATE)
    averages: list[Array] = []
    for step in range(4):
        apply(tiny_model, optimizer, gradients(tiny_model, step))
        now = [each.numpy() for each in tiny_model.trainable_variables]
        old = averages or now  # the first average is the first weights
        averages = [0.75 * one + 0.25 * other for one, other in zip(old, now, strict=True)]
    optimizer.finalize_variable_values(tiny_model.trainable_variables)
    for variable, average in zip(tiny_model.trainable_variables, averages, strict=True):
        np.testing.assert_allclose(variable.numpy(), average, rtol=1e-5, atol=1e-6)


@pytest.mark.medium
@pytest.mark.parametrize(
    ("name", "schedule", "changes"),
    [
        ("sphere-muon", "one-cycle", {"learning_rate": 0.03, "warmup": 0.25}),
        ("adam", "reduce-on-plateau", {"learning_rate": 0.03, "plateau_patience": 1}),
        *(
            pytest.param(*row, marks=pytest.mark.slow)
            for row in (
                ("adamw", "cosine", {"learning_rate": 0.01, "weight_decay": 0.01}),
                ("rmsprop", "constant", {"learning_rate": 0.01, "warmup": 0.25}),
                ("sgd", "one-cycle", {"learning_rate": 0.05, "weight_decay": 5e-4}),
            )
        ),
    ],
)
def test_every_optimizer_and_every_schedule_trains_at_the_rates_of_the_schedule(
    name: str, schedule: str, changes: dict[str, Any], fit_small: Callable[..., Any]
) -> None:
    fields = {"optimizer": name, "schedule": schedule, **changes}
    trained = fit_small(epochs=10, **fields)
    assert trained.history[-1].loss < 0.6 * trained.history[0].loss
    assert trained.history[-1].validation_accuracy > 0.5, "chance is a quarter"
    recipe = Recipe(**{"weight_decay": 0.0, "warmup": 0.0, **fields})
    peak, steps = recipe.learning_rate, 96 // 24
    if schedule == "reduce-on-plateau":
        expected = [peak * plateau_factor(recipe, trained.history[:done]) for done in range(10)]
        assert expected[-1] < peak, "it is too high to be better after every epoch"
    else:  # the history has what the step after the epoch would be taken with
        built = build_schedule(recipe, peak=peak, steps=10 * steps)
        expected = [float(built(epoch * steps)) for epoch in range(1, 11)]
    rates = [epoch.learning_rate for epoch in trained.history]
    assert rates == pytest.approx(expected, rel=1e-5)


def test_an_unknown_optimizer_gets_the_nearest_one() -> None:
    with pytest.raises(UnknownNameError, match="unknown optimizer 'adma': did you mean 'adam'"):
        Recipe(optimizer="adma")
