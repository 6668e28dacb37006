"""Equalization and bias correction: the float model stays, the quantized one comes nearer to it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from graphs import Net

from hemline.contract.checkpoint import read_card
from hemline.data.fetch import load_images
from hemline.export.graph.editing import Graph, with_batch_of_one
from hemline.export.graph.normalization import normalized
from hemline.export.graph.passes.folding import scale_inputs, scale_outputs
from hemline.export.quantization import simulation
from hemline.export.quantization.calibration import Calibration, calibration_images
from hemline.export.quantization.correction.bias_correction import bias_corrected
from hemline.export.quantization.correction.equalization import equalized
from hemline.export.quantization.correction.pairs import Pair, find_pairs
from hemline.export.quantization.float_graph import FloatGraph, calibrated_plan
from hemline.export.quantization.quantized import Quantized
from hemline.export.sources.table import open_source
from hemline.train.checkpoint import ZOO

IMAGES = np.random.default_rng(1).integers(0, 256, (40, 12, 12, 3), np.uint8)
OTHERS = np.random.default_rng(2).integers(0, 256, (40, 12, 12, 3), np.uint8)


def _mixed() -> FloatGraph:
    """Return convolutions, a depthwise one, pools, a linear pair, a sum and dense layers."""
    net = Net()
    x = net.op("Mul", "x", net.constant(np.float32(1 / 255)))
    x = net.op("Relu", net.conv(x, 3, 8, pads=[1] * 4))
    x = net.op("Relu", net.conv(x, 8, 8, pads=[1] * 4, group=8))
    x = net.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = net.op("LeakyRelu", net.conv(x, 8, 6, size=1), alpha=0.1)
    x = net.conv(net.conv(x, 6, 5, size=1), 5, 8, size=3, strides=[1, 1])
    y = net.op("Relu", net.conv(x, 8, 8, pads=[1] * 4))
    x = net.op("Add", x, net.conv(y, 8, 8, pads=[1] * 4))
    x = net.op("Flatten", net.op("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2]))
    x = net.op("Relu", net.op("Gemm", x, net.weights(12, 32), net.weights(12), transB=1))
    x = net.op("Gemm", x, net.weights(5, 12, scale=3), net.weights(5), transB=1)
    return FloatGraph(normalized(net.model(x)))


@pytest.fixture(scope="module")
def graph() -> FloatGraph:
    return _mixed()


def _quantized(graph: FloatGraph, images: npt.NDArray[np.uint8] = IMAGES) -> Quantized:
    plan = calibrated_plan(graph, Calibration(images=images, sha256="0" * 64))
    return Quantized(float_graph=graph, plan=plan)


def _with_scaled_channel(graph: FloatGraph, at: int, factor: float, channel: int = 2) -> FloatGraph:
    """Return the same float model with a channel scaled in one layer and undone in the next."""
    copy = Graph(with_batch_of_one(graph.proto))
    pair: Pair = list(find_pairs(copy))[at]
    scale = np.ones(int(pair.channels.max()) + 1)
    scale[channel] = factor
    scale_outputs(copy, pair.first, scale, 0 * scale)
    scale_inputs(copy, pair.second, 1 / scale[pair.channels], 0.0 * pair.channels)
    return FloatGraph(copy.proto(open_batch=True))


def _error(quantized: Quantized, graph: FloatGraph) -> float:
    """Return the error of the logits in deviations of the logits."""
    expected = simulation.float_logits(graph, OTHERS)
    return float(np.std(simulation.logits(quantized, OTHERS) - expected) / expected.std())


def test_pairs_are_the_layers_whose_scales_pass_through_to_one_other(graph: FloatGraph) -> None:
    found = [
        (pair.first.output, pair.second.output, pair.linear) for pair in find_pairs(graph.graph)
    ]
    assert found == [
        ("conv_1", "conv_2", False),
        ("conv_2", "conv_3", False),
        ("conv_3", "conv_4", False),
        ("conv_4", "conv_5", True),
        ("conv_6", "conv_7", False),  # conv_5 goes two ways, conv_7 into a sum
        ("dense_1", "logits", False),
    ]


@pytest.mark.parametrize("kind", ["Clip", "HardSwish", "Sigmoid"])
def test_scales_do_not_pass_through_bounds_and_curves(kind: str) -> None:
    net = Net()
    x = net.conv("x", 3, 4)
    bounds = [net.constant(np.float32(each)) for each in (0, 6)] if kind == "Clip" else []
    x = net.conv(net.op(kind, x, *bounds), 4, 4)
    graph = FloatGraph(normalized(net.model(net.head(x, 4))))
    assert ("conv_1", "conv_2") not in {
        (pair.first.output, pair.second.output) for pair in find_pairs(graph.graph)
    }


def test_the_equalized_float_model_is_the_same(graph: FloatGraph) -> None:
    changed = equalized(_quantized(graph), IMAGES)
    expected = simulation.float_logits(graph, OTHERS)
    found = simulation.float_logits(changed.float_graph, OTHERS)
    # float32 rounds each weight anew: 6e-8 of the largest logit, some hundred summands
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()
    assert changed.steps[-1].name == "equalization"
    assert [grid.layer for grid in changed.plan.weights] == [each.layer for each in graph.grids]


@pytest.mark.parametrize("at", range(6))
@pytest.mark.parametrize("factor", [50, 1 / 50])
def test_a_scaled_channel_that_the_next_layer_undoes_is_repaired(
    graph: FloatGraph, at: int, factor: float
) -> None:
    damaged = _with_scaled_channel(graph, at, factor)
    plain, hurt = _error(_quantized(graph), graph), _error(_quantized(damaged), graph)
    repaired = _error(equalized(_quantized(damaged), IMAGES), graph)
    assert repaired < 2 * plain
    assert hurt - repaired > 0.9 * (hurt - plain)
    assert hurt > 2 * plain or at < 2, "such a channel does harm"


def test_a_dead_channel_keeps_its_scale() -> None:
    net = Net()
    weights = net.random.standard_normal((4, 3, 3, 3)).astype(np.float32)
    weights[1] = 0
    bias = np.float32([0.1, -1, 0.2, 0.3])
    x = net.op("Relu", net.op("Conv", "x", net.constant(weights), net.constant(bias)))
    graph = FloatGraph(normalized(net.model(net.head(net.conv(x, 4, 4), 4))))
    changed = equalized(_quantized(graph), IMAGES)
    for array in changed.float_graph.graph.constants.values():
        assert np.isfinite(array).all()
    assert (changed.float_graph.graph.constants["conv_1.weight"][1] == 0).all()
    assert changed.float_graph.graph.constants["conv_1.bias"][1] < 0


def test_a_linear_pair_is_centred_where_channels_lie_far_apart() -> None:
    """One channel lies round 1,000, one round −1,000: without their middles 8 bits are enough."""
    net = Net()
    x = net.op("Mul", "x", net.constant(np.float32(1 / 255)))
    far = net.constant(np.float32([1000, -1000, 0, 0]))
    x = net.op("Conv", x, net.weights(4, 3, 3, 3), far)
    x = net.op("Conv", x, net.weights(4, 4, 3, 3), net.constant(np.zeros(4, np.float32)))
    graph = FloatGraph(normalized(net.model(net.head(x, 4))))
    before = _quantized(graph)
    after = equalized(before, IMAGES)
    low, high = after.plan.ranges["conv_1"]
    assert before.plan.ranges["conv_1"][1] > 900
    assert -low == pytest.approx(high, rel=1e-3)
    # the middles come out of layers of other scales: the second layer's bias is as large as before
    expected = simulation.float_logits(graph, OTHERS)
    found = simulation.float_logits(after.float_graph, OTHERS)
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()
    assert _error(after, graph) < 0.2 * _error(before, graph)


def test_bias_correction_takes_back_the_mean_error_of_every_channel(graph: FloatGraph) -> None:
    """4-bit weights are far off; so are the means of what they compute before the correction."""
    plain = _quantized(graph)
    grids = tuple(dataclasses.replace(grid, bits=4) for grid in plain.plan.weights)
    coarse = dataclasses.replace(plain, plan=dataclasses.replace(plain.plan, weights=grids))
    corrected = bias_corrected(coarse, IMAGES)
    assert corrected.steps[-1].name == "bias correction"
    names = [node.output for node in graph.weighted]

    def errors(quantized: Quantized) -> list[float]:
        found = simulation.values(quantized, names, IMAGES)
        (wanted,) = _joined(graph.observe(IMAGES, names))
        spreads = {name: wanted[name].std() for name in names}
        return [
            float(np.abs(_mean(found[name]) - _mean(wanted[name])).max() / spreads[name])
            for name in names
        ]

    for before, after in zip(errors(coarse), errors(corrected), strict=True):
        # a correction is exact but for the integers of the bias and the rounding of the output
        assert after < max(0.1 * before, 0.01)
    assert _error(corrected, graph) < _error(coarse, graph)


def _joined(batches: Any) -> list[dict[str, npt.NDArray[np.float32]]]:
    parts = list(batches)
    return [{name: np.concatenate([part[name] for part in parts]) for name in parts[0]}]


def _mean(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    others = (0, *range(2, values.ndim))
    return np.asarray(values.mean(axis=others, dtype=np.float64))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """hem-50k, images to calibrate it on, and validation images with labels."""

    graph: FloatGraph
    calibration: Calibration
    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]

    def fidelity(self, quantized: Quantized) -> simulation.Fidelity:
        reference = simulation.float_logits(self.graph, self.pixels)
        return simulation.fidelity(
            simulation.logits(quantized, self.pixels), reference, self.labels
        )


@pytest.fixture(scope="module")
def trained() -> Trained:
    card, images = read_card(ZOO / "hem-50k"), load_images("fashion-mnist")
    assert card.training is not None
    split = card.training.split
    held_out = list(split.validation_indices)
    with open_source("keras", ZOO / "hem-50k" / card.model.file) as source:
        graph = source.float_graph
    return Trained(
        graph=graph,
        calibration=calibration_images(images, split, count=500),
        pixels=images.train_images[held_out],
        labels=images.train_labels[held_out],
    )


@pytest.mark.slow
@pytest.mark.parametrize("at", range(4))
def test_hem_50k_with_a_scaled_channel_gets_its_accuracy_back(trained: Trained, at: int) -> None:
    """Within 0.3 points of float on validation, of 0.1 to 5 that the channel costs."""
    graph = _with_scaled_channel(trained.graph, at, 50)
    damaged = Quantized(float_graph=graph, plan=calibrated_plan(graph, trained.calibration))
    found = trained.fidelity(equalized(damaged, trained.calibration.images))
    assert found.drop_points <= 0.3
    assert trained.fidelity(damaged).agreement < found.agreement - 0.005


def _with_detector(graph: FloatGraph) -> FloatGraph:
    """Return the same float model with a channel that only a checkerboard moves: to 320.

    All others stay below 3, and nothing reads it.
    """
    copy = Graph(with_batch_of_one(graph.proto))
    constants = copy.constants
    signs = np.float32(np.indices((3, 3)).sum(axis=0) % 2 * 2 - 1)
    kernel, bias = 400 * signs / 255, np.float32(-400 * 3.2)
    weights = constants["conv_2.weight"]
    for name, more, axis in (
        ("conv_1.weight", kernel[np.newaxis, np.newaxis], 0),
        ("conv_1.bias", bias[np.newaxis], 0),
        ("conv_2.weight", np.zeros_like(weights[:, :1]), 1),
    ):
        constants[name] = np.concatenate([constants[name], more], axis=axis)
    ends = (copy.image, *copy.outputs)
    copy.shapes = {name: shape for name, shape in copy.shapes.items() if name in ends}
    return FloatGraph(copy.proto(open_batch=True))


@pytest.mark.slow
def test_hem_50k_is_repaired_by_a_robust_calibrator_of_outlier_images(trained: Trained) -> None:
    graph = _with_detector(trained.graph)
    images = trained.calibration.images.copy()
    images[:5, ..., 0] = np.indices((28, 28)).sum(axis=0) % 2 * 255
    spoiled = Calibration(images=images, sha256="")

    def drop(calibrator: str) -> float:
        plan = calibrated_plan(graph, spoiled, calibrator)
        return trained.fidelity(Quantized(float_graph=graph, plan=plan)).drop_points

    assert drop("min-max") > 5
    assert drop("moving-average") <= 0.3
