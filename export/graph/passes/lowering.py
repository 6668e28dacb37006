"""Operators of later opsets as those of opset 17 write them."""

from __future__ import annotations

from typing import Any

import numpy as np

from hemline.export.graph.editing import FUNCTIONS, OPSET, Graph, Node
from hemline.export.graph.functions import function_of

_REDUCTIONS = (
    "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2",
    "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp",
)  # fmt: skip
_NEW_DEFAULTS: dict[str, dict[str, Any]] = {
    "AveragePool": {"dilations": [1, 1]},
    "Cast": {"saturate": 1, "round_mode": "up"},
    "Resize": {"antialias": 0, "keep_aspect_ratio_policy": "stretch"},
}


def lower(graph: Graph) -> None:
    """Rewrite what came with opset 18 and later; raises FileFormatError for what is new in it."""
    for node in graph.nodes:
        if node.op in _REDUCTIONS:
            _axes_as_attribute(graph, node)
        elif node.op == "Split":
            _sizes_as_input(graph, node)
        elif node.op in ("Pad", "Resize"):
            _all_axes(graph, node)
        for name, default in _NEW_DEFAULTS.get(node.op, {}).items():
            if node.attributes.pop(name, default) != default:
                raise node.refusal(f"{name} is not supported")
        if node.op in ("Gelu", "Mish") and not node.domain:
            _as_function(graph, node)
    graph.opset = OPSET
    graph.changed()
    for node in graph.with_op("Resize"):
        _scales_for_whole_sizes(graph, node)


def _axes_as_attribute(graph: Graph, node: Node) -> None:
    noop = node.attributes.pop("noop_with_empty_axes", 0)
    if len(node.inputs) < 2 or not node.inputs[1]:
        if noop:
            node.op, node.inputs, node.attributes = "Identity", node.inputs[:1], {}
        return
    axes = graph.constant(node.inputs[1])
    if axes is None:
        raise node.refusal("its axes are computed")
    node.attributes["axes"] = [int(axis) for axis in axes]
    node.inputs = node.inputs[:1]


def _sizes_as_input(graph: Graph, node: Node) -> None:
    if node.attributes.pop("num_outputs", None) is None or node.input(1):
        return
    axis = node.attributes.get("axis", 0)
    sizes = [graph.shape(output)[axis] for output in node.outputs]
    node.inputs = [node.inputs[0], graph.add_constant("sizes", np.array(sizes, np.int64))]


def _all_axes(graph: Graph, node: Node) -> None:
    """Give the numbers of a Pad or Resize for all dimensions, not for some."""
    rank = graph.rank(node.inputs[0])
    axes: Any = node.attributes.pop("axes", None)
    if node.op == "Pad" and node.input(3):
        axes = graph.constants[node.inputs[3]]
        node.inputs = node.inputs[:3]
    if axes is None:
        return
    at = [int(axis) % rank for axis in axes]
    if node.op == "Pad":
        pads = np.zeros((2, rank), np.int64)
        pads[:, at] = graph.constants[node.inputs[1]].reshape(2, -1)
        node.inputs[1] = graph.add_constant("pads", pads.reshape(-1))
    elif node.input(3):
        sizes = np.array(graph.shape(node.inputs[0]), np.int64)
        sizes[at] = graph.constants[node.inputs[3]]
        node.inputs[3] = graph.add_constant("sizes", sizes)
    else:
        scales = np.ones(rank, np.float32)
        scales[at] = graph.constants[node.inputs[2]]
        node.inputs[2] = graph.add_constant("scales", scales)


def _scales_for_whole_sizes(graph: Graph, node: Node) -> None:
    """Increase scales by which the sizes of ONNX's shape inference are one less than a runtime's.

    The float32 nearest to 56 ÷ 96 times 96 is 56 in float32, and 55.9999986 in float64.
    """
    scales = graph.constant(node.input(2))
    if scales is None or not scales.size:
        return
    sides = np.array(graph.shape(node.inputs[0]), np.float32)
    short = np.floor(sides.astype(np.float64) * scales) < np.floor(sides * scales)
    if short.any():
        larger = np.where(short, scales * np.float32(1 + 2**-22), scales)
        node.inputs[2] = graph.add_constant("scales", larger)
        graph.infer()


def _as_function(graph: Graph, node: Node) -> None:
    if node.attributes.get("approximate", "none") == "tanh":
        node.op = "GeluTanh"
    node.domain, node.attributes = FUNCTIONS, {}
    graph.add_function(function_of(node.op))
