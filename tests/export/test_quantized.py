"""Layers in float, widths of activations, and the simulation that judges plans."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import onnx
import pytest

pytest.importorskip("tensorflow")

from hemline.errors import UnknownNameError
from hemline.export.quantization import simulation
from hemline.export.quantization.calibration import Calibration
from hemline.export.quantization.float_graph import calibrated_plan
from hemline.export.quantization.float_layers import with_float_layers
from hemline.export.quantization.quantized import Quantized
from hemline.export.sources.keras import KerasSource
from hemline.export.sources.source import ModelSource
from hemline.export.writers import onnx as onnx_writer
from hemline.train.tensorflow import quiet_keras

PIXELS = np.random.default_rng(3).integers(0, 256, (200, 8, 8, 1), np.uint8)
WEIGHTS = ("conv_1.weight", "conv_2.weight", "conv_3.weight", "dense_1.weight")


@pytest.fixture(scope="module")
def source() -> Iterator[ModelSource]:
    """Give three convolutions with a residual addition, and a dense layer."""
    keras = quiet_keras()
    keras.utils.set_random_seed(5)
    layers = keras.layers
    inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(4, 3, padding="same", activation="relu")(layers.Rescaling(1 / 255)(inputs))
    y = layers.Conv2D(4, 3, padding="same", activation="relu")(x)
    z = layers.Conv2D(4, 3, padding="same")(y)
    x = layers.ReLU()(layers.Add()([x, z]))
    outputs = layers.Dense(3)(layers.GlobalAveragePooling2D()(x))
    with KerasSource(keras.Model(inputs, outputs)) as opened:
        yield opened


@pytest.fixture(scope="module")
def int8(source: ModelSource) -> Quantized:
    graph = source.float_graph
    calibration = Calibration(images=PIXELS[:100], sha256="")
    return Quantized(float_graph=graph, plan=calibrated_plan(graph, calibration))


def in_float(quantized: Quantized, *layers: str) -> Quantized:
    plan = with_float_layers(quantized.plan, quantized.float_graph, layers, "a test")
    return dataclasses.replace(quantized, plan=plan)


def integers_of(quantized: Quantized, source: ModelSource) -> set[str]:
    """Return the names of what the ONNX file stores as integers."""
    proto = onnx.load_from_string(onnx_writer.convert_int8(source, quantized).content)
    return {each.output[0] for each in proto.graph.node if each.op_type == "QuantizeLinear"} | {
        each.name for each in proto.graph.initializer if each.name.endswith(".weight_stored")
    }


def test_layers_have_names_that_this_file_knows(int8: Quantized) -> None:
    assert tuple(grid.layer for grid in int8.plan.weights) == WEIGHTS


def test_a_model_with_all_layers_in_float_computes_as_the_float_model(
    source: ModelSource, int8: Quantized
) -> None:
    whole = in_float(int8, *WEIGHTS)
    # float32 sums in another order
    assert np.allclose(simulation.logits(whole, PIXELS), source.run(PIXELS), atol=1e-5)
    assert integers_of(whole, source) == set()
    assert [each.layer for each in whole.plan.float_layers] == list(WEIGHTS)
    assert {each.reason for each in whole.plan.float_layers} == {"a test"}


def test_values_between_layers_in_float_are_not_rounded(
    source: ModelSource, int8: Quantized
) -> None:
    before = integers_of(int8, source)
    after = integers_of(in_float(int8, "conv_2.weight", "conv_3.weight"), source)
    gone = before - after
    # the two kernels, and the ReLU between them: the addition is of integers, so is its input
    assert {"conv_2.weight_stored", "conv_3.weight_stored"} < gone
    assert len(gone) == 3
    assert after < before


def test_layers_go_back_to_their_grid(int8: Quantized) -> None:
    plan, graph = int8.plan, int8.float_graph
    changed = with_float_layers(plan, graph, ["conv_1.weight"], "a test")
    assert changed != plan
    assert with_float_layers(changed, graph, [], "") == plan
    with pytest.raises(UnknownNameError, match="unknown layer"):
        with_float_layers(plan, graph, ["conv_7.weight"], "")


def test_more_layers_in_float_are_nearer_to_the_float_model(
    source: ModelSource, int8: Quantized
) -> None:
    expected = source.run(PIXELS)

    def error(quantized: Quantized) -> float:
        return float(np.square(simulation.logits(quantized, PIXELS) - expected).mean())

    coarse = dataclasses.replace(
        int8.plan, weights=tuple(dataclasses.replace(g, bits=4) for g in int8.plan.weights)
    )
    four = dataclasses.replace(int8, plan=coarse)
    # float layers keep what was planned for the others
    assert error(int8) < error(in_float(four, *WEIGHTS[:3])) < error(four)


def test_activations_of_16_bits_are_nearer_to_the_float_model(
    source: ModelSource, int8: Quantized
) -> None:
    expected = source.run(PIXELS[:100])  # calibrated on these: none is clipped
    first, *others = int8.plan.activations
    weights = tuple(dataclasses.replace(grid, bits=32) for grid in int8.plan.weights)
    errors = []
    for bits in (8, 16):
        rounded = tuple(dataclasses.replace(each, bits=bits) for each in others)
        plan = dataclasses.replace(int8.plan, weights=weights, activations=(first, *rounded))
        found = simulation.logits(dataclasses.replace(int8, plan=plan), PIXELS[:100])
        errors.append(np.abs(found - expected).mean())
    # a step is 257 times smaller
    assert errors[1] < errors[0] / 100


def test_onnx_runtime_leaves_layers_in_float(source: ModelSource, int8: Quantized) -> None:
    """Its optimizations quantize weights in float between two rounded values."""
    from onnxruntime import GraphOptimizationLevel, InferenceSession, SessionOptions

    content = onnx_writer.convert_int8(source, in_float(int8, "conv_1.weight")).content
    plain = SessionOptions()
    plain.graph_optimization_level = GraphOptimizationLevel.ORT_DISABLE_ALL
    optimized, expected = (
        InferenceSession(content, options).run(None, {"image": PIXELS})[0]
        for options in (SessionOptions(), plain)
    )
    step = int8.annotated.grid("logits").scale
    assert np.abs(optimized - expected).max() < 1.5 * step


def test_simulation_is_what_the_file_computes(source: ModelSource, int8: Quantized) -> None:
    from onnxruntime import InferenceSession

    file = onnx_writer.convert_int8(source, int8)
    (expected,) = InferenceSession(file.content).run(None, {"image": PIXELS})
    assert np.array_equal(simulation.logits(int8, PIXELS), expected)


def test_values_lie_on_the_grids_of_the_plan(int8: Quantized) -> None:
    names = int8.float_graph.points.owners[1:]
    found = simulation.values(int8, names, PIXELS[:5])
    for name in names:
        steps = found[name] / int8.annotated.grid(name).scale
        assert np.allclose(steps, np.round(steps), atol=1e-3), name
        assert len(found[name]) == 5
    assert np.array_equal(found["logits"], simulation.logits(int8, PIXELS[:5]))


def test_fidelity_counts_labels_and_agreement() -> None:
    reference = np.eye(4, dtype=np.float32)
    found = reference[[0, 1, 2, 2]]
    labels = np.array([0, 1, 1, 3], np.uint8)
    judged = simulation.fidelity(found, reference, labels)
    assert (judged.agreement, judged.accuracy, judged.float_accuracy) == (0.75, 0.5, 0.75)
    assert judged.drop_points == 25
    unlabelled = simulation.fidelity(found, reference, None)
    assert unlabelled.accuracy is None
    assert unlabelled.drop_points == 25
