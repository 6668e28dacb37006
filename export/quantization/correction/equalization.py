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
from hemline.export.quantization.simulation import float_logits, logits

Pixels = npt.NDArray[np.uint8]
Vector = npt.NDArray[np.float64]

_TRIED = 100  # images on which a pair must bring the logits nearer to those of the float model
_GAIN = 0.95  # of their squared error at most is left: less may be chance
_LEAST = 1 / 1024  # of the largest range: a channel below a quarter of a step is as good as dead
_BIT = 1.5  # ranges that differ by less cost less than a bit, which scaling does not win back


def equalized(quantized: Quantized, images: Pixels) -> Quantized:
    """Return an equal float graph with like ranges in the channels of values, and its plan.

    One pair of layers after the other is equalized and kept where that brings the logits nearer to
    those of the float model: where channels are alike already, it does not. The ranges are found
    anew on the images, uint8 (n, h, w, c), by the plan's calibrator. A pair behind ReLU6 is left as
    it is.
    """
    tried, original = images[:_TRIED], quantized.float_graph
    reference = float_logits(original, tried)
    best = replace(quantized, plan=recalibrated(quantized.plan, original, tried))
    least, kept = _error(best, tried, reference), 0
    pairs = len(list(find_pairs(original.graph)))
    for at in range(pairs):
        changed = _with_pair(best, at, tried)
        error = _error(changed, tried, reference)
        if error < _GAIN * least:
            best, least, kept = changed, error, kept + 1
    step = Step(name="equalization", detail=f"{kept} of {pairs} pairs of layers that could be")
    plan = recalibrated(quantized.plan, best.float_graph, images)
    return replace(best, plan=plan, steps=(*quantized.steps, step))


def _error(quantized: Quantized, images: Pixels, reference: npt.NDArray[np.float32]) -> float:
    return float(np.square(logits(quantized, images) - reference).mean())


def _with_pair(quantized: Quantized, at: int, images: Pixels) -> Quantized:
    """Return the model with one pair of layers equalized."""
    graph = Graph(with_batch_of_one(quantized.float_graph.proto))
    pair = list(find_pairs(graph))[at]
    low, high = _channel_ranges(quantized.float_graph, pair.value, images)
    scopes = {grid.layer: grid.scope for grid in quantized.plan.weights}
    per_channel = scopes[pair.first.inputs[1]] == "channel"
    scale = _scales(graph, pair, np.maximum(high, -low), per_channel=per_channel)
    _apply(graph, pair, 1 / scale, np.zeros_like(scale))
    _centre(graph, pair, low / scale, high / scale)
    proto = onnx.shape_inference.infer_shapes(graph.proto(open_batch=True), data_prop=True)
    changed = FloatGraph(proto)
    return replace(
        quantized, float_graph=changed, plan=recalibrated(quantized.plan, changed, images)
    )


def _channel_ranges(graph: FloatGraph, value: str, images: Pixels) -> tuple[Vector, Vector]:
    """Return the smallest and the largest value of each channel."""
    low, high = np.float64(np.inf), np.float64(-np.inf)
    for batch in graph.observe(images, [value]):
        others = (0, *range(2, batch[value].ndim))
        low = np.minimum(low, batch[value].min(axis=others))
        high = np.maximum(high, batch[value].max(axis=others))
    return np.asarray(low), np.asarray(high)


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


def _centre(graph: Graph, pair: Pair, low: Vector, high: Vector) -> None:
    """Move the middle of each channel into the next bias, where that is exact and narrows a range.

    A ReLU between would be another one, and padding adds zeros behind it.
    """
    if not pair.linear or (pair.second.op == "Conv" and is_padded(pair.second)):
        return
    whole = max(high.max(), 0.0) - min(low.min(), 0.0)
    if (high - low).max() * _BIT <= whole:
        _apply(graph, pair, np.ones_like(low), -(low + high) / 2)


def _apply(graph: Graph, pair: Pair, scale: Vector, offset: Vector) -> None:
    """Scale and shift the outputs of the first layer, and undo it in the second."""
    scale_outputs(graph, pair.first, scale, offset)
    at = pair.channels
    scale_inputs(graph, pair.second, 1 / scale[at], -(offset / scale)[at])
