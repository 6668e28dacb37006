"""The grid of weights: fine, and safe where a processor adds two products in 16 bits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from graphs import Net

from hemline.export.graph.normalization import normalized
from hemline.export.quantization.calibration import Calibration
from hemline.export.quantization.float_graph import FloatGraph, calibrated_plan
from hemline.export.quantization.qat.weights import on_grid
from hemline.export.quantization.quantized import Quantized


def _quantized(kernel: npt.NDArray[np.float32]) -> Quantized:
    net = Net()
    x = net.op("Relu", net.op("Conv", "x", net.constant(kernel), net.weights(len(kernel))))
    graph = FloatGraph(normalized(net.model(net.head(x, len(kernel)))))
    images = np.random.default_rng(0).integers(0, 256, (4, 12, 12, 3), np.uint8)
    plan = calibrated_plan(graph, Calibration(images=images, sha256=""))
    return Quantized(float_graph=graph, plan=plan)


def test_no_two_weights_of_a_sign_overflow_16_bits() -> None:
    kernel = np.random.default_rng(1).standard_t(2, (24, 3, 3, 3)).astype(np.float32)
    for found in _quantized(kernel).annotated.kernels.values():
        rows = found.integers if found.axis == 0 else found.integers.T
        rows = rows.reshape(len(rows), -1).astype(int)
        for each in (rows, -rows):
            pairs = np.sort(np.maximum(each, 0), axis=1)[:, -2:].sum(axis=1)
            assert pairs.max() * 255 <= np.iinfo(np.int16).max


@pytest.mark.parametrize(("second", "reach"), [(0.0, 1.0), (0.25, 1.25), (1.0, 2.0), (-1.0, 1.0)])
def test_a_lone_large_weight_costs_no_bit(second: float, reach: float) -> None:
    kernel = np.zeros((4, 3, 1, 1), np.float32)
    kernel[:, 0], kernel[:, 1] = 1.0, second
    found = _quantized(kernel).annotated.kernels["conv_1.weight"]
    assert found.scale == pytest.approx(reach / 127, rel=1e-5)


@pytest.mark.parametrize("per_channel", [True, False])
def test_training_rounds_weights_as_files_do(per_channel: bool) -> None:
    kernel = np.random.default_rng(2).standard_t(3, (8, 3, 3, 3)).astype(np.float32)
    quantized = _quantized(kernel)
    layer = quantized.float_graph.weighted[0 if per_channel else 1].inputs[1]
    values = quantized.float_graph.graph.constants[layer]
    found = quantized.annotated.kernels[layer]
    scale = found.scale.reshape(-1, 1, 1, 1) if per_channel else found.scale
    wanted = found.integers * scale
    order = (2, 3, 1, 0) if per_channel else (0, 1)
    rounded = np.asarray(on_grid(values.transpose(order), 7, per_channel=per_channel))
    assert np.abs(rounded - wanted.transpose(order)).max() <= 1e-5 * np.abs(values).max()
