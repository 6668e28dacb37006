"""Normalization in one kernel: what Keras computes, in the same variables, only faster."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from hemline.errors import UsageError
from hemline.train.nets.design import Design
from hemline.train.nets.models import MODELS, build_model
from hemline.train.tensorflow import quiet_keras

keras = quiet_keras()


def both(dtype: str = "float32", **options: Any) -> tuple[Any, Any]:
    """Return Keras' layer and the fused one with the same random weights."""
    from hemline.train.nets.normalization import FusedBatchNormalization

    random = np.random.default_rng(3)
    weights = [random.uniform(0.5, 2, 6).astype(np.float32) for _ in range(4)]
    layers = [
        kind(momentum=0.9, dtype=dtype, **options)
        for kind in (keras.layers.BatchNormalization, FusedBatchNormalization)
    ]
    for layer in layers:
        layer.build((None, 5, 7, 6))
        layer.set_weights(weights)
    return layers[0], layers[1]


def images(seed: int = 4, *, dtype: str = "float32") -> Any:
    import tensorflow as tf

    # far from zero, where a variance from squares would lose its digits
    found = np.random.default_rng(seed).normal(40, 3, (8, 5, 7, 6))
    return tf.cast(tf.constant(found), dtype)


def step(layer: Any, x: Any, *, training: bool) -> tuple[Any, list[Any]]:
    """Return outputs and the gradients by input, scale and offset of a loss that knows places."""
    import tensorflow as tf

    weights = tf.constant(np.random.default_rng(5).normal(size=x.shape), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        out = layer(x, training=training)
        loss = tf.reduce_sum(tf.cast(out, tf.float32) * weights)
    return out, tape.gradient(loss, [x, *[v.value for v in layer.trainable_variables]])


@pytest.mark.parametrize("training", [True, False])
def test_outputs_gradients_and_averages_are_those_of_keras(training: bool) -> None:
    plain, fused = both()
    for seed in (1, 2):
        one = step(plain, images(seed), training=training)
        other = step(fused, images(seed), training=training)
        # sums over 280 values near 40 in another order: 280 · 2^-24 · 40 / 3 is 2e-4
        np.testing.assert_allclose(one[0], other[0], atol=5e-4)
        for left, right in zip(one[1], other[1], strict=True):
            np.testing.assert_allclose(left, right, rtol=1e-3, atol=2e-3)
    for left, right in zip(plain.get_weights(), fused.get_weights(), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5)
    moved = not np.allclose(fused.get_weights()[2], both()[1].get_weights()[2])
    assert moved is training


def test_a_layer_that_stands_still_normalizes_by_its_averages() -> None:
    plain, fused = both()
    plain.trainable = fused.trainable = False
    before = fused.get_weights()
    np.testing.assert_array_equal(plain(images(), training=True), fused(images(), training=True))
    for left, right in zip(before, fused.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def test_bfloat16_is_averaged_in_float32() -> None:
    plain, fused = both("mixed_bfloat16")
    out, _ = step(fused, images(dtype="bfloat16"), training=True)
    want, _ = step(plain, images(dtype="bfloat16"), training=True)
    assert out.dtype == want.dtype == "bfloat16"
    # both round the output: one step of 2^-8 of values up to 2 · 4 + 2
    np.testing.assert_allclose(out.numpy().astype("f4"), want.numpy().astype("f4"), atol=0.08)
    assert {weight.dtype for weight in fused.weights} == {"float32"}
    for left, right in zip(plain.get_weights(), fused.get_weights(), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4)


@pytest.mark.parametrize(
    "name",
    [
        "hem-50k",
        *(pytest.param(x, marks=pytest.mark.slow) for x in ("deep-cnn", "mobilenetv2", "resnet50")),
    ],
)
def test_a_model_keeps_its_names_weights_and_answers(name: str) -> None:
    from hemline.train.nets.normalization import FusedBatchNormalization, training_copy

    plain = build_model(
        MODELS[name],
        (28, 28, 3),
        10,
        policy="float32",
        design=Design(resize=32 * (name[0] in "mr")),
    )
    fused = training_copy(plain)
    assert [each.path for each in fused.weights] == [each.path for each in plain.weights]
    assert [each.name for each in fused.layers] == [each.name for each in plain.layers]
    assert [each.trainable for each in fused.layers] == [each.trainable for each in plain.layers]
    x = np.random.default_rng(1).integers(0, 256, (2, 28, 28, 3)).astype(np.float32)
    np.testing.assert_array_equal(plain(x, training=False), fused(x, training=False))
    left = [each for each in fused.layers if type(each) is keras.layers.BatchNormalization]
    assert all(len(each.output.shape) == 2 for each in left), "of dense layers"
    swapped = [each for each in fused.layers if isinstance(each, FusedBatchNormalization)]
    assert [each.momentum for each in swapped] == [
        each.momentum
        for each in plain.layers
        if isinstance(each, keras.layers.BatchNormalization) and len(each.output.shape) == 4
    ]


def test_a_copy_trains_without_the_model_it_is_of() -> None:
    from hemline.train.nets.normalization import training_copy

    model = build_model(MODELS["mlp"], (28, 28, 1), 10)
    copy = training_copy(model)
    for one, other in zip(model.weights, copy.weights, strict=True):
        assert one is not other
        np.testing.assert_array_equal(one, other)


def test_a_copy_in_bfloat16_is_what_would_be_built_in_it() -> None:
    from hemline.train.nets.normalization import training_copy

    built = build_model(MODELS["hem-50k"], (28, 28, 1), 10, policy="mixed_bfloat16")
    copy = training_copy(build_model(MODELS["hem-50k"], (28, 28, 1), 10), "mixed_bfloat16")
    policies = [[each.dtype_policy.name for each in model.layers] for model in (built, copy)]
    assert policies[0][1:] == policies[1][1:]  # an input has no arithmetic
    assert (policies[1][1], policies[1][-1]) == ("mixed_bfloat16", "float32")
    assert {weight.dtype for weight in copy.weights} == {"float32"}


def test_nested_models_are_fused_too() -> None:
    from hemline.train.nets.normalization import FusedBatchNormalization, training_copy

    layers = keras.layers
    inner = keras.Sequential(
        [keras.Input((8, 8, 3)), layers.Conv2D(4, 3), layers.BatchNormalization()], name="inner"
    )
    pixels = keras.Input((8, 8, 3))
    model = keras.Model(pixels, layers.Dense(2)(layers.Flatten()(inner(pixels))))
    copy = training_copy(model)
    assert isinstance(copy.get_layer("inner").layers[-1], FusedBatchNormalization)
    x = np.random.default_rng(1).random((2, 8, 8, 3), np.float32)
    np.testing.assert_array_equal(model(x), copy(x))


def test_a_model_without_a_graph_of_layers_is_refused() -> None:
    from hemline.train.nets.normalization import training_copy

    class Free(keras.Model):  # type: ignore[misc] # keras has no types
        """A model whose layers only its code knows."""

    with pytest.raises(UsageError, match="has no graph of layers to train"):
        training_copy(Free(name="free"))


def test_what_the_kernel_cannot_do_is_left_to_keras() -> None:
    from hemline.train.nets.normalization import FusedBatchNormalization, training_copy

    pixels = keras.Input((8, 8, 3))
    x = keras.layers.BatchNormalization(axis=1)(pixels)
    x = keras.layers.BatchNormalization(scale=False)(x)
    x = keras.layers.BatchNormalization(center=False)(x)
    model = training_copy(keras.Model(pixels, x))
    assert not any(isinstance(each, FusedBatchNormalization) for each in model.layers)


@pytest.mark.parametrize(("steps", "momentum"), [(10, 0.5), (250, 0.9), (10_000, 0.98)])
def test_averages_follow_the_weights_of_short_trainings(steps: int, momentum: float) -> None:
    from hemline.train.fitting.phases import phases
    from hemline.train.recipes.recipe import RECIPES

    recipe = dataclasses.replace(RECIPES["fast"], epochs=2)
    model = build_model(MODELS["hem-20k"], (28, 28, 1), 10)  # its own: 0.98
    phases(recipe)[0].prepare(model, recipe, steps)
    found = {
        layer.momentum
        for layer in model.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    }
    assert found == {momentum}


@pytest.mark.medium
def test_averages_are_alike_in_both_phases_so_that_a_resumed_training_has_them() -> None:
    from hemline.train.fitting.phases import phases
    from hemline.train.recipes.recipe import RECIPES

    recipe = dataclasses.replace(
        RECIPES["transfer"], epochs=10, frozen_epochs=1, fine_tuned_layers=0
    )
    found = []
    for resumed in (False, True):
        model = build_model(MODELS["mobilenetv2"], (8, 8, 1), 2)
        for phase in phases(recipe)[resumed:]:
            phase.prepare(model, recipe, 100)
        layer = next(x for x in model.layers if isinstance(x, keras.layers.BatchNormalization))
        found.append(layer.momentum)
    assert found == [0.95, 0.95]
