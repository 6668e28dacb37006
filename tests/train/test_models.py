"""Models: what the page says of each is so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hemline.contract.checkpoint import read_card
from hemline.train.checkpoint import ZOO, load_model
from hemline.train.nets.design import Design
from hemline.train.nets.hem import Hem, Stage
from hemline.train.nets.models import MODELS, build_model, count_macs, layer_macs
from hemline.train.tensorflow import quiet_keras

keras = quiet_keras()

PAGE = Path(__file__).resolve().parents[2] / "docs" / "models.md"


@pytest.mark.medium
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=pytest.mark.medium) if n in ("resnet50", "vgg16") else n
        for n in MODELS
    ],
)
def test_the_page_has_the_sizes_and_recipes_of_a_model(name: str) -> None:
    row = MODELS[name]
    model = build_model(row, (28, 28, 1), 10, policy="float32")
    recipes = ", ".join(f"`{recipe}`" for recipe in (row.recipe, row.transfer_recipe) if recipe)
    expected = (
        f"| `{name}` | {row.summary} | {model.count_params():,} "
        f"| {count_macs(model) / 1e6:.2f} M | {recipes} |"
    )
    assert expected in PAGE.read_text().splitlines()


# (8, 10, 3) images; a kernel is height × width × in × out, and each of its values is multiplied
# once at each place of the output (of a transposed convolution: of the input)
COUNTED = {
    "Conv2D with strides": ("Conv2D", (4, 3), {"strides": 2}, 3 * 4 * 3 * 3 * 3 * 4),
    "Conv2D in groups": ("Conv2D", (6, 3), {"groups": 3}, 6 * 8 * 3 * 3 * 1 * 6),
    "DepthwiseConv2D": ("DepthwiseConv2D", (3,), {"depth_multiplier": 2}, 6 * 8 * 3 * 3 * 3 * 2),
    "SeparableConv2D": ("SeparableConv2D", (5, 3), {}, 6 * 8 * (3 * 3 * 3 + 3 * 5)),
    "Conv2DTranspose": ("Conv2DTranspose", (4, 2), {"strides": 2}, 8 * 10 * 2 * 2 * 3 * 4),
    "Dense": ("Dense", (7,), {}, 8 * 10 * 3 * 7),
    "BatchNormalization": ("BatchNormalization", (), {}, 0),
}


@pytest.mark.parametrize(("kind", "given", "options", "macs"), COUNTED.values(), ids=COUNTED)
def test_a_layer_is_counted_as_by_hand(
    kind: str, given: tuple[int, ...], options: dict[str, Any], macs: int
) -> None:
    pixels = keras.Input((8, 10, 3))
    layer = getattr(keras.layers, kind)(*given, **options)
    assert count_macs(keras.Model(pixels, layer(pixels))) == macs
    assert count_macs(keras.Sequential([keras.Input((8, 10, 3)), layer])) == macs


def test_nested_models_and_shared_layers_are_counted_at_each_call() -> None:
    layers, pixels = keras.layers, keras.Input((8, 10, 3))
    shared = layers.Conv2D(3, 3, padding="same", name="shared")
    stem = keras.Sequential([keras.Input((8, 10, 3)), layers.Conv2D(3, 1)], name="stem")
    inner = keras.Input((8, 10, 3))
    block = keras.Model(inner, layers.SeparableConv2D(2, 3)(stem(inner)), name="block")
    flat = layers.Flatten()(block(shared(shared(pixels))))
    model = keras.Model(pixels, layers.Dense(5, name="logits")(flat))
    assert layer_macs(model) == {
        "shared": 2 * 8 * 10 * 3 * 3 * 3 * 3,
        "block": 8 * 10 * 3 * 3 + 6 * 8 * (3 * 3 * 3 + 3 * 2),
        "logits": 6 * 8 * 2 * 5,
    }


def test_a_hem_model_follows_each_field_of_its_design() -> None:
    hem = Hem(name="tried", stem=16, stages=(Stage(24, 2), Stage(40, 3)))

    def outline(**fields: Any) -> tuple[int, list[str]]:
        model = hem.build((28, 28, 1), 10, Design(**fields))
        return model.count_params(), [type(layer).__name__ for layer in model.layers]

    usual, kinds = outline()
    assert usual == 47_370
    assert kinds.count("Conv2D") == 6
    assert (kinds.count("MaxPooling2D"), kinds.count("Add")) == (2, 1)
    deeper, deep_kinds = outline(depth=1)
    assert deeper == usual + 9 * 24 * 24 + 4 * 24 + 9 * 40 * 40 + 4 * 40
    assert (deep_kinds.count("Conv2D"), deep_kinds.count("Add")) == (8, 2)
    assert outline(kernel=5)[0] > 2 * usual
    assert outline(pooling="average")[1].count("AveragePooling2D") == 2
    assert {"MaxPooling2D", "AveragePooling2D"}.isdisjoint(outline(pooling="stride")[1])
    assert "Add" not in outline(residual=False)[1]


def test_a_stem_and_a_stage_of_a_hem_model_shrink_as_their_table_says() -> None:
    kinds = ("max", "average", "stride", "none")
    stages = tuple(Stage(8, 2, kind) for kind in kinds)
    hem = Hem(name="tried", stem=8, stem_stride=2, stages=stages)
    model = hem.build((48, 48, 1), 10, Design())
    convolutions = [each for each in model.layers if type(each).__name__ == "Conv2D"]
    assert [each.name for each in convolutions[:3]] == ["stem", "stage_1_conv_1", "stage_1_conv_2"]
    assert [each.output.shape[1] for each in convolutions] == [24, 12, 12, 6, 6, 3, 3, 3, 3]
    assert [type(each).__name__ for each in model.layers if "Pool" in type(each).__name__] == [
        "MaxPooling2D",
        "AveragePooling2D",
        "GlobalAveragePooling2D",
    ]
    pooled = hem.build((48, 48, 1), 10, Design(pooling="max"))
    assert pooled.get_layer(index=-1).name == "logits"
    assert sum(type(each).__name__ == "MaxPooling2D" for each in pooled.layers) == 3


@pytest.mark.parametrize("size", [20, 50, 100, 500])
def test_a_hem_model_has_fewer_parameters_than_its_name_allows(size: int) -> None:
    model = build_model(MODELS[f"hem-{size}k"], (28, 28, 1), 10)
    assert 0.7 * size < model.count_params() / 1000 <= size


@pytest.mark.medium
@pytest.mark.parametrize("folder", sorted(ZOO.iterdir()), ids=lambda path: path.name)
def test_the_weights_that_come_with_hemline_are_of_the_model_that_is_built(folder: Path) -> None:
    card = read_card(folder)
    built = build_model(MODELS[folder.name], card.model.shape, len(card.model.labels))
    trained = load_model(folder, card)
    assert [type(each) for each in built.layers] == [type(each) for each in trained.layers]
    built.set_weights(trained.get_weights())
    images = np.random.default_rng(3).integers(0, 256, (4, *card.model.shape)).astype(np.float32)
    np.testing.assert_array_equal(built(images).numpy(), trained(images).numpy())
