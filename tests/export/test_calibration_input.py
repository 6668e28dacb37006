"""Calibration images and models that are not as they should be: named, or quantized anyway."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest

pytest.importorskip("tensorflow")

from click.testing import CliRunner
from graphs import Net, lite, run

from hemline.cli import cli
from hemline.contract.card import Split
from hemline.data.datasets import Dataset, Images, array_sha256
from hemline.errors import DataError, HemlineError
from hemline.export.graph.normalization import normalized
from hemline.export.quantization import simulation
from hemline.export.quantization.calibration import (
    Calibration,
    calibration_images,
    pixel_statistics,
)
from hemline.export.quantization.calibrators.table import CALIBRATORS
from hemline.export.quantization.float_graph import FloatGraph, calibrated_plan
from hemline.export.quantization.quantized import Quantized
from hemline.export.sources.graph import GraphSource
from hemline.export.writers import onnx as onnx_writer
from hemline.export.writers import tflite as tflite_writer
from hemline.remedies import described

Pixels = npt.NDArray[np.uint8]
PIXELS = np.random.default_rng(4).integers(0, 256, (30, 12, 12, 3), np.uint8)
DATASET = Dataset(name="colours", title="colours", labels=("red", "green", "blue"))


def _calibration(images: Pixels = PIXELS) -> Calibration:
    return Calibration(images=images, sha256="0" * 64)


@pytest.fixture(scope="module")
def graph() -> FloatGraph:
    net = Net()
    return FloatGraph(normalized(net.model(net.head(net.conv("x", 3, 4), 4))))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (PIXELS[:0], "calibration needs at least one image"),
        (PIXELS[:, :8], r"calibration images are uint8 of \(8, 12, 3\), the model takes uint8 of"),
        (PIXELS[..., :1], r"are uint8 of \(12, 12, 1\), the model takes uint8 of \(12, 12, 3\)"),
        (PIXELS / np.float32(255), r"calibration images are float32 of \(12, 12, 3\)"),
    ],
)
def test_images_that_the_model_does_not_take_are_refused(
    graph: FloatGraph, images: Any, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        calibrated_plan(graph, _calibration(images))


def _data(labels: Pixels, train: Pixels) -> tuple[Images, Split]:
    images = Images(
        dataset=DATASET,
        train_images=train,
        train_labels=labels,
        test_images=PIXELS[:2] // 2,
        test_labels=np.zeros(2, np.uint8),
        sha256={},
        verified=False,
        source="here",
    )
    split = Split(
        validation_indices=(0,), validation_sha256=array_sha256(train[:1]), limit=None, seed=0
    )
    return images, split


def test_images_of_one_class_and_scaled_ones_raise_doubts() -> None:
    labels = np.arange(30, dtype=np.uint8) % 3
    assert calibration_images(*_data(labels, PIXELS), count=20).doubts == ()
    one = calibration_images(*_data(labels * 0, PIXELS), count=20)
    assert one.doubts == ("all calibration images are of one class: other classes may be clipped",)
    random = np.random.default_rng(0)
    scaled = random.integers(0, 2, (300, 12, 12, 3), np.uint8)  # 0 … 1, cut to integers
    found = calibration_images(*_data(np.arange(300, dtype=np.uint8) % 3, scaled), count=20)
    assert found.doubts == (
        "the pixels of all calibration images are 0 … 1 of 0 … 255: were they scaled before they "
        "were saved?",
    )


def test_each_calibrator_gives_a_model_other_ranges_where_images_are_outliers() -> None:
    """Contrasts from one to thirty, a few of them large; flat areas give nothing."""
    net = Net()
    weights = net.random.standard_normal((4, 3, 3, 3)).astype(np.float32)
    weights -= weights.mean(axis=(2, 3), keepdims=True)
    x = net.op("Relu", net.op("Conv", "x", net.constant(weights)))
    graph = FloatGraph(normalized(net.model(net.head(x, 4))))
    random = np.random.default_rng(5)
    contrast = np.minimum(random.pareto(1.5, (300, 1, 1, 1)) + 1, 30) / 30
    images = np.uint8(127 + 128 * contrast * random.uniform(-1, 1, (300, 12, 12, 3)))
    names = [row.name for row in CALIBRATORS.values() if not row.synthetic]
    plans = {name: calibrated_plan(graph, _calibration(images), name) for name in names}
    assert len({plan.ranges["relu_1"] for plan in plans.values()}) == len(names)
    assert {plan.origin.calibrator for plan in plans.values()} == set(names)


def test_another_seed_draws_other_images() -> None:
    data = _data(np.arange(30, dtype=np.uint8) % 3, PIXELS)
    drawn = [calibration_images(*data, count=10, seed=seed) for seed in (1, 1, 2)]
    assert drawn[0].sha256 == drawn[1].sha256 != drawn[2].sha256
    assert [each.seed for each in drawn] == [1, 1, 2]


def test_a_plan_tells_what_its_images_are_like(graph: FloatGraph) -> None:
    found = calibrated_plan(graph, _calibration()).origin.pixels
    assert found == pixel_statistics(PIXELS)
    assert found is not None
    assert np.allclose(found.means, PIXELS.mean(axis=(0, 1, 2)))
    assert np.allclose(found.deviations, PIXELS.std(axis=(0, 1, 2)))
    assert (found.darkest, found.brightest) == (PIXELS.min(), PIXELS.max())
    wrong = pixel_statistics(PIXELS // 255)
    assert wrong.brightest == 1


def test_a_model_whose_values_overflow_is_refused_by_the_name_of_the_value() -> None:
    """Random images do not show it: only a bright one does."""
    net = Net()
    x = net.op("Mul", net.op("GlobalAveragePool", "x"), net.constant(np.float32(1e18)))
    x = net.op("Relu", net.op("Sub", x, net.constant(np.float32(2e20))))
    x = net.op("Mul", x, x)
    graph = FloatGraph(normalized(net.model(net.head(x, 3))))
    bright = np.full_like(PIXELS, 255)
    with pytest.raises(HemlineError, match=r"mul_1 has values that are not finite numbers"):
        calibrated_plan(graph, _calibration(bright))


def _both(net: Net, output: str) -> tuple[Quantized, npt.NDArray[Any], npt.NDArray[Any]]:
    """Return a quantized net, and its logits in each format."""
    with GraphSource(normalized(net.model(output))) as source:
        graph = source.float_graph
        quantized = Quantized(float_graph=graph, plan=calibrated_plan(graph, _calibration()))
        tflite = tflite_writer.convert_int8(source, quantized)
        content = onnx_writer.convert_int8(source, quantized).content
    (spec,) = tflite.outputs
    integers = lite(tflite.content, (PIXELS.astype(np.int16) - 128).astype(np.int8))
    logits = spec.scale * (integers.astype(np.float64) - spec.zero_point)
    return quantized, logits, run(onnx.load_from_string(content), PIXELS)


def _damaged(kind: str) -> tuple[Net, str]:
    net = Net()
    weights = net.random.standard_normal((4, 3, 3, 3)).astype(np.float32)
    bias = np.float32([0.1, -0.2, 0.3, 0.4])
    if kind == "all kernels are zero":
        weights[:] = 0
    if kind == "a kernel is zero":
        weights[1] = 0
    if kind == "a channel is dead":
        weights[2], bias[2] = -np.abs(weights[2]), -1
    if kind == "biases are huge":
        weights, bias = weights * np.float32(1e-6), bias * 1000
    x = net.op("Conv", "x", net.constant(weights / 255), net.constant(bias))
    x = net.op("Flatten", net.op("GlobalAveragePool", net.op("Relu", x)))
    dense = net.random.standard_normal((4, 5)).astype(np.float32)
    if kind == "outputs are constant":
        dense[:] = 0
    last = net.constant(np.float32([1, -2, 3, 0.5, 0.25]))
    return net, str(net.op("Gemm", x, net.constant(dense), last))


@pytest.mark.medium
@pytest.mark.parametrize(
    "kind",
    [
        "all kernels are zero",
        "a kernel is zero",
        "a channel is dead",
        "biases are huge",
        "outputs are constant",
    ],
)
def test_degenerate_models_are_quantized_in_both_formats(kind: str) -> None:
    quantized, from_tflite, from_onnx = _both(*_damaged(kind))
    expected = simulation.float_logits(quantized.float_graph, PIXELS)
    step = quantized.annotated.grid("logits").scale
    # a rounding at each of four points, each by half a step of its range
    for found in (from_tflite, from_onnx):
        assert np.abs(found - expected).max() <= 3 * step
    assert np.abs(from_tflite - from_onnx).max() <= 1.01 * step
    for kernel in quantized.annotated.kernels.values():
        assert (kernel.scale > 0).all()
        assert np.isfinite(kernel.scale).all()


def test_a_bias_beyond_int32_widens_the_scale_of_its_weights() -> None:
    quantized, _, _ = _both(*_damaged("biases are huge"))
    annotated = quantized.annotated
    node = quantized.float_graph.weighted[0]
    integers, scale = annotated.bias(node)
    bias = quantized.float_graph.graph.constants[node.inputs[2]]
    assert np.abs(integers.astype(np.int64)).max() <= 2**30
    assert np.allclose(integers * scale.astype(np.float64), bias, rtol=1e-6)
    largest = np.abs(quantized.float_graph.graph.constants[node.inputs[1]]).max() / 63
    assert np.float64(400) / (annotated.grid("image").scale * largest) > 2**31, "it would not fit"


def test_the_help_names_every_calibrator() -> None:
    shown = "".join(CliRunner().invoke(cli, ["export", "--help"]).output.split())  # it wraps lines
    for name in CALIBRATORS:
        assert name in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--calibrator", "minmax"], "unknown calibrator 'minmax': did you mean 'min-max'?"),
        (["--calibration-images", "0"], "--calibration-images must be at least 1"),
        (["--calibration", "0"], "--calibration-images must be at least 1"),
        (["--calibration-seed", "-1"], "--calibration-seed must not be negative"),
    ],
)
def test_options_that_cannot_be_are_refused(words: list[str], message: str) -> None:
    result = CliRunner().invoke(cli, ["export", *words])
    assert result.exception is not None
    assert message in described(result.exception)


def test_the_synthetic_images_of_a_graph_are_drawn_and_those_of_keras_fit_its_statistics() -> None:
    from hemline.export.sources.keras import KerasSource
    from hemline.train.tensorflow import quiet_keras

    keras = quiet_keras()
    keras.utils.set_random_seed(3)
    inputs = keras.Input((12, 12, 3))
    x = keras.layers.Conv2D(6, 3)(keras.layers.Rescaling(1 / 255)(inputs))
    normalization = keras.layers.BatchNormalization()
    x = keras.layers.ReLU()(normalization(x))
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x)))
    before = keras.Model(inputs, normalization.input)
    smooth = np.repeat(np.repeat(PIXELS[:, :4, :4], 3, axis=1), 3, axis=2) // 3
    values = np.asarray(before(smooth.astype(np.float32)))
    normalization.moving_mean.assign(values.mean(axis=(0, 1, 2)))
    normalization.moving_variance.assign(values.var(axis=(0, 1, 2)))
    with KerasSource(model) as source:
        made = source.synthetic_images(16, seed=1)
        found = np.asarray(before(made.astype(np.float32)))
    assert (made.dtype, made.shape) == (np.uint8, (16, 12, 12, 3))
    deviation = values.std(axis=(0, 1, 2))
    assert np.abs(found.mean(axis=(0, 1, 2)) - values.mean(axis=(0, 1, 2))).max() < 0.1 * max(
        deviation
    )
    assert np.allclose(found.std(axis=(0, 1, 2)), deviation, rtol=0.1)
    net = Net()
    with GraphSource(normalized(net.model(net.head(net.conv("x", 3, 4), 4)))) as source:
        drawn = [source.synthetic_images(8, seed) for seed in (1, 1, 2)]
    assert (drawn[0] == drawn[1]).all()
    assert (drawn[0] != drawn[2]).any()


def test_widths_of_a_plan_outlive_new_ranges(graph: FloatGraph) -> None:
    from hemline.export.quantization.correction.equalization import equalized

    plan = calibrated_plan(graph, _calibration())
    pixels, *others = plan.activations
    wide = tuple(dataclasses.replace(each, bits=16) for each in others)
    quantized = Quantized(
        float_graph=graph, plan=dataclasses.replace(plan, activations=(pixels, *wide))
    )
    changed = equalized(quantized, PIXELS)
    assert [each.bits for each in changed.plan.activations] == [8, *(16 for _ in others)]
