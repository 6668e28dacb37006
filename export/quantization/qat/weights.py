"""The weights of a float graph that are trained: which, in which units, on which grid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import tensorflow as tf

from hemline.export.graph.editing import Node
from hemline.export.quantization.annotation import LARGEST, LEAST, LEAST_SCALE
from hemline.export.quantization.float_graph import FloatGraph
from hemline.export.quantization.plan import QuantizationPlan

Floats = npt.NDArray[np.float32]
_LEAST_UNIT = 1e-3  # of the largest weight of a layer: for channels of zeros


def trained_units(graph: FloatGraph, plan: QuantizationPlan) -> dict[str, Floats]:
    """Return the kernels and biases that are trained, by name, with what each is counted in.

    They are those that layers with weights alone read. One learning rate suits all of them when a
    weight is counted in the largest one that shares its scale, and a bias in that times the span of
    the input. Each unit broadcasts with its weights.
    """
    found: dict[str, Floats] = {}
    for node in graph.weighted:
        found[node.inputs[1]] = unit = _unit(graph, plan, node)
        if node.input(2) in graph.graph.constants:
            low, high = plan.ranges.get(str(graph.points.owner(node.inputs[0])), (0.0, 1.0))
            found[node.input(2)] = np.asarray(unit.reshape(-1) * ((high - low) or 1), np.float32)
    return {name: unit for name, unit in found.items() if _is_weight(graph, name)}


def _unit(graph: FloatGraph, plan: QuantizationPlan, node: Node) -> Floats:
    sizes = np.abs(graph.graph.constants[node.inputs[1]])
    scope = next(grid.scope for grid in plan.weights if grid.layer == node.inputs[1])
    axes = tuple(range(1, sizes.ndim)) if scope == "channel" else None
    least = _LEAST_UNIT * float(sizes.max()) or 1.0
    return np.asarray(np.maximum(sizes.max(axis=axes, keepdims=True), least), np.float32)


def _is_weight(graph: FloatGraph, name: str) -> bool:
    weighted = {id(node) for node in graph.weighted}
    readers = graph.graph.consumers(name)
    return name in graph.graph.constants and all(id(node) in weighted for node in readers)


def on_grid(values: Any, bits: int, *, per_channel: bool) -> Any:
    """Return weights (…, channels) as `AnnotatedGraph` rounds them; gradients pass unchanged."""
    whole = tf.reduce_max(tf.abs(values))
    most = _reach(values, bits)
    most = most if per_channel else tf.reduce_max(most)
    scale = tf.maximum(tf.maximum(most, LEAST * whole) / LARGEST[bits], LEAST_SCALE)
    return values + tf.stop_gradient(tf.round(values / scale) * scale - values)


def _reach(values: Any, bits: int) -> Any:
    """Return what the largest integer of each channel stands for: see annotation.py."""
    flat = tf.transpose(tf.reshape(values, (-1, values.shape[-1])))
    largest = tf.reduce_max(tf.abs(flat), axis=1)
    if bits != 7 or flat.shape[1] == 1:
        return largest
    pairs = [tf.reduce_sum(tf.math.top_k(tf.nn.relu(each), 2)[0], 1) for each in (flat, -flat)]
    return tf.maximum(largest, tf.maximum(*pairs))


def with_constants(graph: FloatGraph, values: Mapping[str, Floats]) -> FloatGraph:
    """Return a graph with other values for some of its constants."""
    proto = onnx.ModelProto()
    proto.CopyFrom(graph.proto)
    for tensor in proto.graph.initializer:
        if tensor.name in values:
            tensor.CopyFrom(onnx.numpy_helper.from_array(values[tensor.name], tensor.name))
    return FloatGraph(proto)
