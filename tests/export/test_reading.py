"""Ranges end where the readers of a value tell nothing apart."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from graphs import Net

from hemline.export.graph.normalization import normalized
from hemline.export.quantization.calibration import Calibration
from hemline.export.quantization.float_graph import FloatGraph, calibrated_plan, with_extremes

WIDE = 40.0  # times the weights of a convolution, so that its values exceed all bounds


def _swish(net: Net, x: str) -> str:
    return str(net.op("Mul", x, net.op("Sigmoid", x)))


def _gated(net: Net, x: str) -> str:
    gate = net.op("HardSigmoid", x, alpha=0.5, beta=0.5)
    return str(net.op("Mul", gate, net.conv("x", 3, 4)))


READERS: dict[str, tuple[Callable[[Net, str], str], float, float]] = {
    "hard-swish": (lambda net, x: str(net.op("HardSwish", x)), -3, np.inf),
    "swish": (_swish, -8, np.inf),
    "sigmoid": (lambda net, x: str(net.op("Sigmoid", x)), -6.25, 5.25),
    "hard sigmoid": (_gated, -1, 1),
    "tanh": (lambda net, x: str(net.op("Tanh", x)), -3.125, 2.625),
    "two readers": (
        lambda net, x: str(net.op("Add", net.op("HardSwish", x), net.op("Sigmoid", x))),
        -6.25,
        np.inf,
    ),
    "a sum, too": (
        lambda net, x: str(net.op("Add", net.op("HardSwish", x), x)),
        -np.inf,
        np.inf,
    ),
}


@pytest.mark.parametrize("name", READERS)
def test_a_range_ends_where_its_readers_tell_nothing_apart(name: str) -> None:
    reader, low, high = READERS[name]
    net = Net()
    weights = net.weights(4, 3, 3, 3, scale=WIDE)
    graph = FloatGraph(
        normalized(net.model(net.head(reader(net, net.op("Conv", "x", weights)), 4)))
    )
    wide = next(
        node.output
        for node in graph.weighted
        if np.abs(graph.graph.constants[node.inputs[1]]).max() > 1
    )
    images = np.random.default_rng(0).integers(0, 256, (20, 12, 12, 3), np.uint8)
    plan = calibrated_plan(graph, Calibration(images=images, sha256=""))
    found = plan.ranges[wide]
    observed = graph.observe(with_extremes(images))
    values = np.concatenate([each[wide].reshape(-1) for each in observed])
    assert found == pytest.approx((max(values.min(), low), min(values.max(), high)))
    assert low in (found[0], -np.inf)
    assert high in (found[1], np.inf)
