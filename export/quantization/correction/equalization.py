"""Bring the channels between two layers to like ranges; the float model stays the same.

Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, 2019. There
the first layer's weights share one scale, here each of its channels has one: so the ranges of its
activations, which do share one, stand in for those of its weights.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import onnx

from hemline.contract.steps import Step
from hemline.export.graph.editing import Graph, with_batch_of_one
from hemline.export.graph.passes.folding import is_padded, scale_inputs, scale_outputs
from hemline.export.quantization.correction.pairs import Pair, find_pairs
from hemline.export.quantization.float_graph import FloatGraph, recalibrated
from hemline.export.quantization.quantized import Quantized

Pixels = npt.NDArray[np.uint8]
Vector = npt.NDArray[np.float64]

_SWEEPS = 10  # over all pairs: a scale changes what the neighbouring pair sees
_LEAST = 1 / 1024  # of the largest range: a channel below a quarter of a step is as good as dead
_BIT = 1.5  # ranges that differ by less cost less than a bit, which scaling does not win back


def equalized(quantized: Quantized, images: Pixels) -> Quantized:
    """Return an equal float graph with like ranges in the channels of each value, and its plan.

    The ranges are found anew on the images, uint8 (n, h, w, c), by the plan's calibrator. A pair
    behind ReLU6 is left as it is.
    """
    graph = Graph(with_batch_of_one(quantized.float_graph.proto))
    pairs = list(find_pairs(graph))
    lows, highs = _channel_ranges(quantized.float_graph, pairs, images)
    scopes = {grid.layer: grid.scope for grid in quantized.plan.weights}
    for _ in range(_SWEEPS):
        for pair in pairs:
            name = pair.value
            reach = np.maximum(highs[name], -lows[name])
            scale = _scales(
                graph, pair, reach, per_channel=scopes[pair.first.inputs[1]] == "channel"
            )
            _apply(graph, pair, 1 / scale, np.zeros_like(scale))
            lows[name], highs[name] = lows[name] / scale, highs[name] / scale
    centred = [pair for pair in pairs if _centre(graph, pair, lows[pair.value], highs[pair.value])]
    changed = FloatGraph(
        onnx.shape_inference.infer_shapes(graph.proto(open_batch=True), data_prop=True)
    )
    step = Step(
        name="equalization",
        detail=f"the channels between {len(pairs)} pairs of layers, {len(centred)} of them centred",
    )
    return replace(
        quantized,
        float_graph=changed,
        plan=recalibrated(quantized.plan, changed, images),
        steps=(*quantized.steps, step),
    )


def _channel_ranges(
    graph: FloatGraph, pairs: list[Pair], images: Pixels
) -> tuple[dict[str, Vector], dict[str, Vector]]:
    """Return the smallest and the largest value of each channel between the pairs."""
    lows: dict[str, Vector] = {}
    highs: dict[str, Vector] = {}
    for batch in graph.observe(images, [pair.value for pair in pairs]):
        for name, values in batch.items():
            others = (0, *range(2, values.ndim))
            low, high = values.min(axis=others), values.max(axis=others)
            lows[name] = np.minimum(lows.get(name, np.inf), low.astype(np.float64))
            highs[name] = np.maximum(highs.get(name, -np.inf), high.astype(np.float64))
    return lows, highs


def _scales(graph: Graph, pair: Pair, reach: Vector, *, per_channel: bool) -> Vector:
    """Return what to divide the channels of the first layer by; 1 for channels that are dead."""
    dead = reach <= 0
    first = _relative(reach)
    if not per_channel:
        kernel = graph.constants[pair.first.inputs[1]]
        first = np.sqrt(first * _relative(np.abs(kernel).max(axis=0).astype(np.float64)))
    second, free = _input_ranges(graph, pair)
    wanted = first if free else np.sqrt(first / second)
    scale = np.where(dead, 1.0, wanted)
    largest = (reach / scale).max()
    return scale * (largest / reach.max()) if largest > 0 else np.ones_like(scale)


def _input_ranges(graph: Graph, pair: Pair) -> tuple[Vector, bool]:
    """Return how large the second layer's weights are for each channel of the first, beside others.

    And whether that is free of others: each kernel of a depthwise layer has a scale of its own.
    """
    weights = np.abs(graph.constants[pair.second.inputs[1]].astype(np.float64))
    groups = pair.second.attributes.get("group", 1)
    if pair.second.op == "Conv":
        sizes = weights.reshape(len(weights), weights.shape[1], -1).max(axis=2)
        beside = sizes / np.maximum(sizes.max(axis=1, keepdims=True), np.finfo(float).tiny)
        inputs = beside.reshape(groups, -1, weights.shape[1]).max(axis=1).reshape(-1)
    else:
        inputs = weights.max(axis=1)
    found = np.zeros(int(pair.channels.max()) + 1)
    np.maximum.at(found, pair.channels, inputs)
    return _relative(found), groups > 1 and weights.shape[1] == 1


def _relative(ranges: Vector) -> Vector:
    largest = ranges.max()
    return np.clip(ranges / largest, _LEAST, 1.0) if largest > 0 else np.ones_like(ranges)


def _centre(graph: Graph, pair: Pair, low: Vector, high: Vector) -> bool:
    """Move the middle of each channel into the next bias, where that is exact and narrows a range.

    A ReLU between would be another one, and padding adds zeros behind it.
    """
    if not pair.linear or (pair.second.op == "Conv" and is_padded(pair.second)):
        return False
    whole = max(high.max(), 0.0) - min(low.min(), 0.0)
    if (high - low).max() * _BIT > whole:
        return False
    _apply(graph, pair, np.ones_like(low), -(low + high) / 2)
    return True


def _apply(graph: Graph, pair: Pair, scale: Vector, offset: Vector) -> None:
    """Scale and shift the outputs of the first layer, and undo it in the second."""
    scale_outputs(graph, pair.first, scale, offset)
    at = pair.channels
    scale_inputs(graph, pair.second, 1 / scale[at], -(offset / scale)[at])
