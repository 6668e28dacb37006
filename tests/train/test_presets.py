"""Presets: exactly the published numbers of parameters, and what a recipe may change in them."""

from __future__ import annotations

from typing import Any

import pytest

from hemline.errors import UsageError
from hemline.train.nets.design import Design
from hemline.train.nets.models import MODELS, build_model

OWN = ("hem-50k", "mlp", "cnn", "deep-cnn")  # the others are tested with their weights


def build(name: str, shape: tuple[int, int, int] = (28, 28, 1), **changes: Any) -> Any:
    return build_model(MODELS[name], shape, 10, policy="float32", design=Design(**changes))


def layers_of(model: Any, kind: str) -> list[Any]:
    return [layer for layer in model.layers if type(layer).__name__ == kind]


@pytest.mark.parametrize(("name", "count"), [("mlp", 25_450), ("deep-cnn", 538_346)])
def test_a_preset_has_the_published_number_of_parameters(name: str, count: int) -> None:
    assert build(name).count_params() == count


def test_the_parameters_of_deep_cnn_are_those_of_its_layers() -> None:
    """By hand: kernels and biases, and four numbers a channel of batch normalization."""
    convolutions = [(9 * one + 1) * other for one, other in
                    ((1, 32), (32, 32), (32, 64), (64, 64), (64, 128))]  # fmt: skip
    dense = [(one + 1) * other for one, other in ((2 * 2 * 128, 512), (512, 256), (256, 10))]
    normalized = [4 * channels for channels in (32, 64, 128, 512)]
    assert sum(convolutions) + sum(dense) + sum(normalized) == 538_346
    model = build("deep-cnn")
    assert [layer.count_params() for layer in layers_of(model, "Conv2D")] == convolutions
    assert [layer.count_params() for layer in layers_of(model, "Dense")] == dense
    assert [layer.rate for layer in layers_of(model, "Dropout")] == [0.25] * 3 + [0.5] * 2


@pytest.mark.parametrize("name", OWN)
def test_dropout_is_that_of_the_recipe(name: str) -> None:
    assert {layer.rate for layer in layers_of(build(name, dropout=0.4), "Dropout")} == {0.4}
    without = layers_of(build(name, dropout=0.0), "Dropout")
    assert not any(layer.rate for layer in without)


@pytest.mark.parametrize("name", OWN)
def test_width_multiplies_channels_and_units_but_not_the_classes(name: str) -> None:
    plain, wide = build(name), build(name, width=1.5)
    for kind, unit in (("Conv2D", "filters"), ("Dense", "units")):
        before = [getattr(layer, unit) for layer in layers_of(plain, kind)]
        after = [getattr(layer, unit) for layer in layers_of(wide, kind)]
        last = kind == "Dense"
        assert after == [round(1.5 * count) for count in before[: len(before) - last]] + [10] * last
    assert build(name, width=1e-9).count_params() > 0, "one of each at least"


@pytest.mark.parametrize(("name", "own", "other"), [("cnn", 0, 3), ("deep-cnn", 4, 0)])
def test_batch_normalization_is_that_of_the_recipe(name: str, own: int, other: int) -> None:
    counts = {
        choice: len(layers_of(build(name, batch_normalization=choice), "BatchNormalization"))
        for choice in (None, True, False)
    }
    assert counts == {None: own, True: max(own, other), False: min(own, other)}


@pytest.mark.parametrize(
    ("name", "changes", "field"),
    [
        ("mlp", {"batch_normalization": True}, "batch_normalization"),
        ("hem-50k", {"batch_normalization": False}, "batch_normalization"),
        ("mlp", {"resize": 32}, "resize"),
        ("cnn", {"resize": 32}, "resize"),
        ("deep-cnn", {"resize": 32}, "resize"),
        ("hem-50k", {"resize": 32}, "resize"),
    ],
)
def test_what_a_model_cannot_follow_is_refused(
    name: str, changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(UsageError, match=f"{name} does not support another {field}"):
        build(name, **changes)


@pytest.mark.parametrize("name", OWN)
def test_a_preset_takes_colour_and_images_that_are_not_square(name: str) -> None:
    model = build(name, (30, 24, 3))
    assert model.input_shape == (None, 30, 24, 3)
    assert model.output_shape == (None, 10)


@pytest.mark.parametrize(("name", "side"), [("deep-cnn", 12), ("cnn", 2), ("hem-50k", 1)])
def test_images_that_are_too_small_are_told_in_one_line(name: str, side: int) -> None:
    with pytest.raises(UsageError, match=f"{name} cannot be built for {side} × {side}") as told:
        build(name, (side, side, 1))
    assert len(str(told.value).splitlines()) == 1
