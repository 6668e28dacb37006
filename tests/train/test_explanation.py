"""Explanations of a model: layers by name, feature maps and Grad-CAM as by hand."""

from __future__ import annotations

import numpy as np
import pytest

from hemline.errors import UnknownNameError, UsageError
from hemline.train.tensorflow import quiet_keras

keras = quiet_keras()

from hemline.train.explanation.activations import feature_maps, grad_cam  # noqa: E402 — likewise
from hemline.train.explanation.layers import last_maps, layer_with_maps, summary_of  # noqa: E402
from hemline.train.predictor import Predictor  # noqa: E402

RANDOM = np.random.default_rng(5)
PIXELS = RANDOM.integers(0, 256, (6, 8, 10, 3), np.uint8)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    """Return two convolutions, a normalization, a pooling over everything and a dense layer."""
    layers = keras.layers
    pixels = keras.Input((8, 10, 3), name="image")
    x = layers.Conv2D(4, 3, name="first")(pixels)
    x = layers.MaxPooling2D(2, name="pool")(x)
    x = layers.Conv2D(5, 1, name="second")(x)
    x = layers.ReLU(name="active")(layers.BatchNormalization(name="norm")(x))
    x = layers.GlobalAveragePooling2D(name="mean")(layers.Dropout(0.5, name="drop")(x))
    made = keras.Model(pixels, layers.Dense(7, name="logits")(x))
    norm = made.get_layer("norm")
    norm.set_weights([RANDOM.normal(1, 0.2, 5) for _ in range(3)] + [RANDOM.uniform(1, 2, 5)])
    return made


def test_the_default_is_the_first_convolution_and_grad_cam_takes_the_last(
    model: keras.Model,
) -> None:
    assert layer_with_maps(model, None).name == "first"
    assert layer_with_maps(model, "pool").name == "pool"
    # behind the last convolution stand its normalization and activation, of the same size
    assert last_maps(model).name == "active"


def test_a_layer_by_a_wrong_name_gets_the_nearest(model: keras.Model) -> None:
    with pytest.raises(UnknownNameError, match="unknown layer 'secnd': did you mean 'second'"):
        layer_with_maps(model, "secnd")
    with pytest.raises(UsageError, match="'mean' has no rows and columns.*for example first"):
        layer_with_maps(model, "mean")


def test_a_model_without_convolutions_has_no_maps() -> None:
    pixels = keras.Input((8, 10, 3))
    flat = keras.Model(pixels, keras.layers.Dense(2)(keras.layers.Flatten()(pixels)))
    assert layer_with_maps(flat, None) is None
    assert last_maps(flat) is None


def test_the_summary_counts_what_keras_counts(model: keras.Model) -> None:
    summary = {layer.name: layer for layer in summary_of(model)}
    assert list(summary) == [layer.name for layer in model.layers]
    assert sum(layer.parameters for layer in summary.values()) == model.count_params()
    first = summary["first"]
    assert (first.kind, first.output, first.parameters) == ("Conv2D", (6, 8, 4), 3 * 3 * 3 * 4 + 4)
    assert first.macs == 6 * 8 * 3 * 3 * 3 * 4
    assert summary["logits"].macs == 5 * 7
    assert summary["pool"].macs == summary["pool"].parameters == 0


def test_the_summary_has_a_line_for_a_nested_model_and_for_a_shared_layer() -> None:
    layers, pixels = keras.layers, keras.Input((8, 10, 3))
    shared = layers.Conv2D(3, 3, padding="same", name="shared")
    block = keras.Sequential(
        [keras.Input((8, 10, 3)), layers.SeparableConv2D(2, 3), layers.Flatten()], name="block"
    )
    model = keras.Model(pixels, layers.Dense(5)(block(shared(shared(pixels)))))
    lines = {each.name: each for each in summary_of(model)}
    assert lines["shared"].output == (8, 10, 3)
    assert lines["shared"].macs == 2 * 8 * 10 * 3 * 3 * 3 * 3
    assert (lines["block"].kind, lines["block"].output) == ("Sequential", (96,))
    assert lines["block"].macs == 6 * 8 * (3 * 3 * 3 + 3 * 2)
    assert lines["block"].parameters == 3 * 3 * 3 + 3 * 2 + 2


def test_feature_maps_are_the_layer_applied_by_hand(model: keras.Model) -> None:
    maps = feature_maps(model, model.get_layer("first"), PIXELS)
    kernel, bias = (np.asarray(weight) for weight in model.get_layer("first").get_weights())
    window = PIXELS[2, 3:6, 4:7].astype(np.float64)
    assert maps.shape == (6, 6, 8, 4)
    by_hand = np.einsum("ijk,ijkc->c", window, kernel.astype(np.float64)) + bias
    # sums of 27 products of up to 255: float32 is right to about 27 · 255 · 6e-8
    np.testing.assert_allclose(maps[2, 3, 4], by_hand, atol=27 * 255 * 6e-8)


def test_grad_cam_before_a_global_mean_is_the_weighted_sum_of_the_maps(model: keras.Model) -> None:
    """There the gradient of a logit is the same everywhere: its dense weight ÷ the positions."""
    maps = feature_maps(model, model.get_layer("active"), PIXELS)
    weights = np.asarray(model.get_layer("logits").get_weights()[0])
    classes = np.array([0, 1, 2, 3, 4, 5])
    heat = np.maximum(np.einsum("nhwc,cn->nhw", maps, weights[:, classes]), 0)
    expected = heat / np.maximum(heat.max(axis=(1, 2), keepdims=True), 1e-30)
    found = grad_cam(model, model.get_layer("active"), PIXELS, classes)
    # Two float32 sums of 5 products differ by up to 2 · 6 roundings of the sum of magnitudes, which
    # is larger than the heat where products cancel; the weights are a sum over 12 places, too.
    sizes = np.einsum("nhwc,cn->nhw", np.abs(maps), np.abs(weights[:, classes]))
    highest = np.maximum(heat.max(axis=(1, 2)), 1e-30)
    allowed = (2 * 6 + 12) * 2**-24 * sizes.max(axis=(1, 2)) / highest
    apart = np.abs(found - expected).max(axis=(1, 2))
    assert (apart <= 2 * allowed).all(), (apart, allowed)  # heat and its highest are both rounded
    assert found.max() == 1


def test_where_nothing_speaks_for_a_class_grad_cam_is_dark(model: keras.Model) -> None:
    before = model.get_layer("logits").get_weights()
    model.get_layer("logits").set_weights([-np.ones((5, 7), np.float32), np.zeros(7, np.float32)])
    try:
        heat = grad_cam(model, model.get_layer("active"), PIXELS, np.zeros(6, np.intp))
    finally:
        model.get_layer("logits").set_weights(before)
    assert not heat.any()


def test_fixed_weights_answer_as_changing_ones_do(model: keras.Model) -> None:
    """Folding changes the order of sums only: some units in the last place of the logits."""
    free, fixed = Predictor(model).logits(PIXELS), Predictor(model, fixed=True).logits(PIXELS)
    np.testing.assert_allclose(fixed, free, atol=1e-4 * np.abs(free).max())


def test_fixed_weights_stay_what_they_were(model: keras.Model) -> None:
    free, fixed = Predictor(model), Predictor(model, fixed=True)
    before = fixed.logits(PIXELS)
    weights = model.get_layer("logits").get_weights()
    model.get_layer("logits").set_weights([2 * weight for weight in weights])
    try:
        np.testing.assert_array_equal(fixed.logits(PIXELS), before)
        np.testing.assert_allclose(free.logits(PIXELS), 2 * before, rtol=1e-3, atol=1e-3)
    finally:
        model.get_layer("logits").set_weights(weights)
