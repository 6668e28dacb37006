"""Quantization plans: what they hold, where their ranges come from, and that files follow them."""

from __future__ import annotations

import dataclasses
import importlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from hemline.train.tensorflow import quiet_keras

keras = quiet_keras()

from ai_edge_litert.interpreter import Interpreter  # noqa: E402 — after TensorFlow's noise

from hemline.contract import schema  # noqa: E402
from hemline.contract.checkpoint import MODEL_NAME  # noqa: E402
from hemline.contract.manifest import Manifest, plan_path  # noqa: E402
from hemline.contract.specs import Format  # noqa: E402
from hemline.data.datasets import Images  # noqa: E402
from hemline.errors import HemlineError, UnknownNameError  # noqa: E402
from hemline.export.quantization.calibration import SEED, Calibration  # noqa: E402
from hemline.export.quantization.calibrators.table import find_calibrator  # noqa: E402
from hemline.export.quantization.float_graph import calibrated_plan, with_extremes  # noqa: E402
from hemline.export.quantization.plan import ActivationRange, QuantizationPlan  # noqa: E402
from hemline.export.quantization.quantized import Quantized  # noqa: E402
from hemline.export.sources.keras import KerasSource  # noqa: E402
from hemline.export.sources.source import ModelSource  # noqa: E402
from hemline.export.sources.table import SOURCES, find_source, open_source  # noqa: E402
from hemline.export.writers import onnx as onnx_writer  # noqa: E402
from hemline.export.writers import tflite as tflite_writer  # noqa: E402
from hemline.export.writers.converted import ConvertedModel  # noqa: E402
from hemline.files import sha256_of  # noqa: E402
from hemline.train.nets.hem import HEM_50K  # noqa: E402

layers = keras.layers
CONVOLUTIONS = HEM_50K.convolutions
CONVERT: dict[Format, Callable[[ModelSource, Quantized | None], ConvertedModel]] = {
    "tflite": tflite_writer.convert_int8,
    "onnx": onnx_writer.convert_int8,
}
PIXELS = np.random.default_rng(3).integers(0, 256, (20, 8, 8, 1), np.uint8)
CALIBRATION = Calibration(images=PIXELS, sha256="0" * 64)


@pytest.fixture(scope="module")
def source() -> Iterator[ModelSource]:
    """Give a small network with a residual addition."""
    inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(4, 3, padding="same", activation="relu")(layers.Rescaling(1 / 255)(inputs))
    y = layers.Conv2D(4, 3, padding="same", name="second")(x)
    x = layers.ReLU()(layers.Add()([x, y]))
    outputs = layers.Dense(3)(layers.GlobalAveragePooling2D()(x))
    with KerasSource(keras.Model(inputs, outputs)) as opened:
        yield opened


def quantized(source: ModelSource, plan: QuantizationPlan) -> Quantized:
    return Quantized(float_graph=source.float_graph, plan=plan)


@pytest.fixture(scope="module")
def plan(source: ModelSource) -> QuantizationPlan:
    return calibrated_plan(source.float_graph, CALIBRATION)


@pytest.mark.parametrize("name", ["int8.tflite", "int8.onnx"])
def test_the_plan_of_an_8_bit_file_is_in_its_bundle(
    bundle: Path, manifest: Manifest, name: str
) -> None:
    path, artifact = bundle / plan_path(name), manifest.artifact(name)
    plan = schema.load(QuantizationPlan, path)
    assert artifact.plan_sha256 == sha256_of(path)
    assert plan.origin.images_sha256 == artifact.calibration_sha256
    assert (plan.origin.calibrator, plan.origin.images, plan.origin.seed) == ("min-max", 100, SEED)
    assert plan.activations[0].low == 0
    assert plan.activations[0].high == 255
    scopes = [(grid.bits, grid.scope) for grid in plan.weights]
    assert scopes == [(7, "channel")] * CONVOLUTIONS + [(7, "tensor")]


def test_both_8_bit_files_are_made_by_one_plan(bundle: Path) -> None:
    texts = {(bundle / plan_path(name)).read_text() for name in ("int8.tflite", "int8.onnx")}
    assert len(texts) == 1


def test_a_file_in_float_has_no_plan(bundle: Path, manifest: Manifest) -> None:
    assert manifest.artifact("fp32.tflite").plan_sha256 is None
    assert not (bundle / plan_path("fp32.tflite")).exists()


def test_ranges_are_those_of_the_model(source: ModelSource, plan: QuantizationPlan) -> None:
    """An addition may work in place: its input must be observed before."""
    seen = source.run(with_extremes(PIXELS), "second")
    # float32 sums of 36 products, in another order
    ends = (seen.min(), seen.max())
    assert any(np.allclose(each, ends, rtol=1e-5) for each in plan.ranges.values())
    logits = source.run(with_extremes(PIXELS))
    assert np.allclose(plan.activations[-1].low, logits.min(), rtol=1e-4, atol=1e-4)


@pytest.mark.medium
@pytest.mark.parametrize("kind", CONVERT)
def test_the_file_has_the_ranges_of_the_plan(
    source: ModelSource, plan: QuantizationPlan, kind: Format
) -> None:
    """The logits are given −25.5 … 25.5: their scale is 51 ÷ 255, whatever was calibrated."""
    logits = dataclasses.replace(plan.activations[-1], low=-25.5, high=25.5)
    changed = dataclasses.replace(plan, activations=(*plan.activations[:-1], logits))
    content = CONVERT[kind](source, quantized(source, changed)).content
    if kind == "tflite":
        interpreter = Interpreter(model_content=content)
        details = interpreter.get_tensor_details()
        scales = [detail["quantization"][0] for detail in details]
    else:
        arrays = onnx.load_from_string(content).graph.initializer
        scales = [float(onnx.numpy_helper.to_array(a)) for a in arrays if not a.dims]
    assert any(np.isclose(scale, 0.2) for scale in scales)
    again = CONVERT[kind](source, quantized(source, plan)).content
    assert again == CONVERT[kind](source, quantized(source, plan)).content, (
        "a plan does not change the graph"
    )
    assert again != content


@pytest.mark.parametrize("kind", CONVERT)
def test_a_plan_that_does_not_fit_is_refused(
    source: ModelSource, plan: QuantizationPlan, kind: Format
) -> None:
    def refuse(match: str, **changes: Any) -> None:
        with pytest.raises(HemlineError, match=match):
            CONVERT[kind](source, quantized(source, dataclasses.replace(plan, **changes)))

    first, *others = plan.weights
    refuse("the plan has no range for logits", activations=plan.activations[:-1])
    refuse("the plan has no grid for conv_1.weight", weights=tuple(others))
    unknown = dataclasses.replace(first, layer="conv_9.weight")
    refuse("a layer that is not there, conv_9.weight", weights=(*plan.weights, unknown))
    image = dataclasses.replace(plan.activations[0], bits=32)
    refuse(
        "take pixels as 8 bits|activation in 16 bits", activations=(image, *plan.activations[1:])
    )
    coarse = dataclasses.replace(first, scope="tensor")
    refuse("the plan wants 7 bits per tensor in", weights=(coarse, *others))
    with pytest.raises(HemlineError, match="8 bits need a quantization plan"):
        CONVERT[kind](source, None)


def test_a_plan_survives_json(plan: QuantizationPlan) -> None:
    text = json.dumps(schema.to_document(plan))
    assert schema.from_document(QuantizationPlan, json.loads(text), where="here") == plan


@pytest.mark.parametrize(("low", "high"), [(1.0, 0.0), (float("nan"), 1.0), (0.0, float("inf"))])
def test_a_range_that_is_none_is_refused(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="x has no range"):
        ActivationRange(tensor="x", low=low, high=high)


def test_an_unknown_calibrator_or_source_is_told() -> None:
    with pytest.raises(UnknownNameError, match="unknown calibrator 'minmax': did you mean 'min-"):
        find_calibrator("minmax")
    with pytest.raises(UnknownNameError, match="unknown kind of model 'keras2': did you mean 'ker"):
        find_source("keras2")


@pytest.mark.parametrize("kind", SOURCES)
def test_every_source_can_be_loaded(kind: str) -> None:
    module, _, name = find_source(kind).opener.partition(":")
    assert callable(getattr(importlib.import_module(module), name))


def test_a_source_gives_any_layer_by_name(checkpoint: Path, images: Images) -> None:
    pixels = images.test_images[:2]
    with open_source("keras", checkpoint / MODEL_NAME) as source:
        assert source.input.shape == (28, 28, 1)
        assert source.weighted_layers == CONVOLUTIONS + 1
        assert source.run(pixels).shape == (2, 10)
        assert source.run(pixels, "embedding").shape == (2, HEM_50K.stages[-1].channels)
        np.testing.assert_array_equal(source.run(pixels, "logits"), source.run(pixels))
        with pytest.raises(UnknownNameError, match="unknown layer 'conv'"):
            source.run(pixels, "conv")
