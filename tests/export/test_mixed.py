"""Layers in float beside layers in 8 bits: the same predictions in both formats, where it pays."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest

from hemline.train.tensorflow import quiet_keras

keras = quiet_keras()

from ai_edge_litert.interpreter import Interpreter  # noqa: E402
from graphs import operators_of  # noqa: E402

from hemline.contract.card import Split  # noqa: E402
from hemline.data.datasets import Images, find_dataset  # noqa: E402
from hemline.errors import NotNeededError  # noqa: E402
from hemline.export.quantization import simulation  # noqa: E402
from hemline.export.quantization.calibration import Calibration  # noqa: E402
from hemline.export.quantization.float_graph import calibrated_plan  # noqa: E402
from hemline.export.quantization.float_layers import with_float_layers  # noqa: E402
from hemline.export.quantization.mixed.planning import plan_mixed  # noqa: E402
from hemline.export.quantization.mixed.search import Search  # noqa: E402
from hemline.export.quantization.mixed.timing import require_faster, time_ratio  # noqa: E402
from hemline.export.quantization.options import QuantizationOptions  # noqa: E402
from hemline.export.quantization.planning import Planning  # noqa: E402
from hemline.export.quantization.quantized import Quantized  # noqa: E402
from hemline.export.sources.keras import KerasSource  # noqa: E402
from hemline.export.writers import tflite as tflite_writer  # noqa: E402

layers = keras.layers
Pixels = npt.NDArray[np.uint8]


def net() -> Any:
    """Return a small net with what mobile nets have: depthwise, hard-swish, squeeze and excite."""
    keras.utils.set_random_seed(3)
    pixels = keras.Input((16, 16, 3))
    x = layers.Rescaling(1 / 255)(pixels)
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="hard_swish")(x)
    y = layers.ZeroPadding2D(1)(x)
    y = layers.DepthwiseConv2D(3)(y)
    y = layers.Activation("silu")(y)
    z = layers.GlobalAveragePooling2D(keepdims=True)(y)
    z = layers.Conv2D(4, 1, activation="relu")(z)
    y = layers.Multiply()([y, layers.Conv2D(8, 1, activation="sigmoid")(z)])
    x = layers.Add()([x, layers.Conv2D(8, 1)(y)])
    x = layers.MaxPooling2D(2)(layers.Conv2D(12, 3, activation="relu")(x))
    x = layers.Dense(24, activation="relu")(layers.Flatten()(x))
    return keras.Model(pixels, layers.Dense(6)(x))


def pictures(count: int) -> Pixels:
    random = np.random.default_rng(1)
    squares = random.integers(0, 256, (count, 4, 4, 3)).repeat(4, axis=1).repeat(4, axis=2)
    return np.asarray((squares + random.integers(-20, 20, (count, 16, 16, 3))).clip(0, 255), "u1")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Small:
    source: KerasSource
    int8: Quantized
    images: Pixels

    @property
    def names(self) -> list[str]:
        return [grid.layer for grid in self.int8.plan.weights]

    def mixed(self, chosen: list[str]) -> Quantized:
        plan = with_float_layers(self.int8.plan, self.int8.float_graph, chosen, "tried")
        return dataclasses.replace(self.int8, plan=plan)


@pytest.fixture(scope="module")
def small() -> Iterator[Small]:
    images = pictures(600)
    model = net()
    logits = model.layers[-1]
    found = np.asarray(model(images[:100].astype(np.float32)))
    weights, bias = logits.get_weights()
    gain = 5 / found.std(axis=0)
    logits.set_weights([weights * gain, (bias - found.mean(axis=0)) * gain])
    with KerasSource(model) as source:
        graph = source.float_graph
        plan = calibrated_plan(graph, Calibration(images=images[:100], sha256=""))
        yield Small(source=source, int8=Quantized(float_graph=graph, plan=plan), images=images)


def in_litert(content: bytes, images: Pixels) -> tuple[npt.NDArray[np.float32], float]:
    """Return the logits of an int8 file, and the distance of two."""
    interpreter = Interpreter(model_content=content, num_threads=1)
    source, found = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    interpreter.resize_tensor_input(source["index"], images.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(source["index"], (images.astype(np.int16) - 128).astype(np.int8))
    interpreter.invoke()
    scale, zero_point = found["quantization"]
    values = interpreter.get_tensor(found["index"]).astype(np.float32)
    return (values - zero_point) * np.float32(scale or 1.0), float(scale)


FLOAT_SETS = {
    "the first, and before and behind a pooling": [0, 5, 6],
    "the depthwise one and the last": [1, 7],
    "neighbours": [2, 3, 4],
}


@pytest.mark.medium
@pytest.mark.parametrize("chosen", FLOAT_SETS.values(), ids=FLOAT_SETS.keys())
def test_both_formats_give_the_same_with_layers_in_float(small: Small, chosen: list[int]) -> None:
    """Float sums differ in the last bits: now and then a value is rounded the other way."""
    quantized = small.mixed([small.names[at] for at in chosen])
    lite, step = in_litert(
        tflite_writer.convert_int8(small.source, quantized).content, small.images
    )
    other = simulation.logits(quantized, small.images)
    step = step or 1e-3  # a last layer in float gives float logits
    assert (np.abs(lite - other) < step / 2).mean() > 0.95
    assert (lite.argmax(axis=1) == other.argmax(axis=1)).mean() >= 0.99


@pytest.mark.medium
def test_with_all_layers_in_float_the_file_is_the_float_model(small: Small) -> None:
    content = tflite_writer.convert_int8(small.source, small.mixed(small.names)).content
    lite, _ = in_litert(content, small.images)
    expected = simulation.float_logits(small.int8.float_graph, small.images)
    assert np.abs(lite - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.medium
def test_only_the_layers_of_the_plan_leave_int8(small: Small) -> None:
    """And nothing is turned back and forth between two of them."""
    plain = Counter(operators_of(tflite_writer.convert_int8(small.source, small.int8).content))
    neighbours = small.mixed(small.names[5:7])  # with a max pooling between
    mixed = Counter(operators_of(tflite_writer.convert_int8(small.source, neighbours).content))
    # for hard-swish, which XNNPACK does not know in int8, there is one of each in both
    assert plain["QUANTIZE"] == plain["DEQUANTIZE"] == 1
    assert mixed - plain == {"QUANTIZE": 1, "DEQUANTIZE": 1}
    assert plain - mixed == {}


@pytest.mark.medium
def test_a_layer_in_float_keeps_the_weights_of_the_model(small: Small) -> None:
    name = small.names[4]
    content = tflite_writer.convert_int8(small.source, small.mixed([name])).content
    interpreter = Interpreter(model_content=content)
    kernels = [
        interpreter.get_tensor(each["index"])
        for each in interpreter.get_tensor_details()
        if each["dtype"] == np.float32
        and each["name"].startswith("conv_5/")
        and len(each["shape"]) == 4
        and each["shape"][1:3].tolist() == [1, 1]
        and each["shape"][0] == 8
    ]
    expected = small.int8.float_graph.graph.constants[name].transpose(0, 2, 3, 1)
    assert any(np.array_equal(each, expected) for each in kernels)


def damaged(small: Small, value: str, factor: float) -> Quantized:
    """Return the model with a range that is too wide: its values fall on few of 256 steps."""
    ranges = tuple(
        dataclasses.replace(each, low=each.low * factor, high=each.high * factor)
        if each.tensor == value
        else each
        for each in small.int8.plan.activations
    )
    return dataclasses.replace(
        small.int8, plan=dataclasses.replace(small.int8.plan, activations=ranges)
    )


def test_the_search_finds_the_layers_around_a_range_that_is_too_wide(small: Small) -> None:
    nodes = small.int8.float_graph.weighted
    between = small.int8.float_graph.points.owner(nodes[6].inputs[0])
    undamaged = Search(small.int8, small.images, None, budget_points=100).drop(())
    budget = undamaged + 1
    search = Search(damaged(small, str(between), 60), small.images, None, budget_points=budget)
    before = search.drop(())
    found = search.smallest()
    assert before > undamaged + 10
    assert set(found) == {small.names[5], small.names[6]}
    assert search.drop(found) <= budget
    assert all(drop > budget for drop in found.values())


def wide() -> Any:
    pixels = keras.Input((16, 16, 3))
    x = layers.Conv2D(128, 3, padding="same", activation="relu")(pixels)
    x = layers.Conv2D(128, 3, activation="relu")(x)
    return keras.Model(pixels, layers.Dense(6)(layers.GlobalAveragePooling2D()(x)))


@pytest.mark.slow
def test_a_file_that_takes_longer_than_float_is_not_made(small: Small) -> None:
    """A net with some 300 times the multiplications takes longer on any machine."""
    fast = tflite_writer.convert_int8(small.source, small.int8)
    with KerasSource(wide()) as source:
        slow = tflite_writer.convert_fp32(source, None)
    assert time_ratio(slow, fast, "tflite") > 2
    assert require_faster(fast, slow, "tflite") is fast
    with pytest.raises(NotNeededError, match=r"\d × the time of fp32\.tflite in litert"):
        require_faster(slow, fast, "tflite")


def planning(small: Small, base: Quantized, budget: float, said: list[str]) -> Planning:
    """Return a request for a model without labels: agreement with the float model counts."""
    count = len(small.images)
    return Planning(
        source=small.source,
        card=cast(Any, None),  # not read
        images=Images(
            dataset=find_dataset("fashion-mnist"),
            train_images=small.images,
            train_labels=np.zeros(count, np.uint8),
            test_images=small.images[:1],
            test_labels=np.zeros(1, np.uint8),
            sha256={},
            verified=False,
            source="",
            labelled=False,
        ),
        split=Split(
            seed=0, limit=None, validation_indices=tuple(range(count)), validation_sha256=""
        ),
        calibration=None,
        options=QuantizationOptions(max_drop_points=budget),
        int8=base,
        work=Path(),
        say=said.append,
    )


@pytest.mark.slow
def test_the_plan_says_which_layers_are_in_float_and_why(small: Small) -> None:
    undamaged = Search(small.int8, small.images, None, budget_points=100).before
    between = small.int8.float_graph.points.owner(small.int8.float_graph.weighted[6].inputs[0])
    said: list[str] = []
    base = damaged(small, str(between), 60)
    found = plan_mixed(planning(small, base, undamaged + 1, said))
    assert {each.layer for each in found.plan.float_layers} >= {"conv_6.weight", "dense_1.weight"}
    for each in found.plan.float_layers:
        assert re.search(r"accuracy changes by [+-]\d+\.\d\d points|× the time", each.reason)
    (step,) = found.steps
    assert step.name == "mixed precision"
    assert "of 8 layers in float: conv_6, dense_1" in step.detail
    assert step.gain_points is not None
    assert step.gain_points > 8
    assert "looking for layers to keep in float" in said[0]


def test_where_8_bits_meet_the_budget_there_is_no_mixed_file(small: Small) -> None:
    undamaged = Search(small.int8, small.images, None, budget_points=100).before
    change = re.escape(f"{0 - undamaged:+.2f} points, within the budget of -99")
    with pytest.raises(NotNeededError, match=f"change validation accuracy by {change}"):
        plan_mixed(planning(small, small.int8, 99, []))
