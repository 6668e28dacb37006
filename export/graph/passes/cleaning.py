"""Write the same computation in one way: no identities, dense layers as (inputs, outputs)."""

from __future__ import annotations

import numpy as np

from hemline.export.graph.editing import Graph, Node

_SAME_VALUE = ("Identity", "Dropout")
_FLAT = ("Squeeze", "Reshape", "Flatten")


def clean(graph: Graph) -> None:
    """Bring a folded graph into the form that all other passes expect."""
    for node in graph.with_op("Cast", *_SAME_VALUE):
        if node.op != "Cast" or node.attributes["to"] == 1:
            graph.bypass(node)
    for node in graph.with_op("Sum", "Mean"):
        _write_as_additions(graph, node)
    for node in graph.with_op("Gemm", "MatMul"):
        _write_plainly(graph, node)
    for node in graph.with_op("Conv"):
        _write_pads(graph, node)
    for node in graph.with_op("AveragePool", "ReduceMean"):
        _write_global_average(graph, node)
    for node in graph.with_op("GlobalMaxPool"):
        _write_global_maximum(graph, node)
    for node in graph.with_op(*_FLAT):
        _write_flatten(graph, node)
    for node in graph.with_op(*_FLAT, "Unsqueeze"):
        _undo_reshape(graph, node)
    graph.drop_unused()


def _write_as_additions(graph: Graph, node: Node) -> None:
    if node.op == "Mean" and len(node.inputs) > 1:
        share = graph.add_constant("share", np.array(1 / len(node.inputs), np.float32))
        mean = graph.insert_after(node, "Mul", [node.output, share], shape=graph.shape(node.output))
        made = graph.maker(mean)
        graph.redirect(node.output, mean, but=made)
    if len(node.inputs) == 1:
        graph.bypass(node)
        return
    value = node.inputs[0]
    for other in node.inputs[1:-1]:
        value = graph.insert_before(
            node,
            "Add",
            [value, other],
            shape=np.broadcast_shapes(*map(graph.shape, (value, other))),
        )
    node.op, node.inputs = "Add", [value, node.inputs[-1]]
    graph.changed()


def _write_plainly(graph: Graph, node: Node) -> None:
    """Give a dense layer weights (inputs, outputs) and no factors."""
    weights = graph.constant(node.input(1))
    if node.op == "MatMul" or weights is None or node.attributes.get("transA"):
        return
    if node.attributes.get("transB"):
        weights = weights.T
    factor = node.attributes.get("alpha", 1.0)
    node.inputs[1] = graph.add_constant(
        "weight", np.ascontiguousarray(weights * np.float32(factor))
    )
    bias = graph.constant(node.input(2))
    if bias is not None:
        bias = np.broadcast_to(bias, (1, weights.shape[1])).reshape(-1)
        factor = np.float32(node.attributes.get("beta", 1.0))
        node.inputs[2] = graph.add_constant("bias", bias * factor)
    node.attributes = {}
    graph.changed()


def _write_pads(graph: Graph, node: Node) -> None:
    """Give a convolution of auto_pad the padding in numbers."""
    auto = node.attributes.pop("auto_pad", "NOTSET")
    if not auto.startswith("SAME"):
        return
    kernel = graph.shape(node.inputs[1])[2:]
    sides = graph.shape(node.inputs[0])[2:]
    strides = node.attributes.get("strides", [1] * len(kernel))
    dilations = node.attributes.get("dilations", [1] * len(kernel))
    totals = [
        max((-(-side // stride) - 1) * stride + (size - 1) * dilation + 1 - side, 0)
        for side, stride, size, dilation in zip(sides, strides, kernel, dilations, strict=True)
    ]
    less, more = [total // 2 for total in totals], [-(-total // 2) for total in totals]
    node.attributes["pads"] = [*less, *more] if auto == "SAME_UPPER" else [*more, *less]


def _write_global_average(graph: Graph, node: Node) -> None:
    """Write the mean over a whole map as GlobalAveragePool."""
    value = node.inputs[0]
    if graph.rank(value) != 4:
        return
    if node.op == "AveragePool":
        same = node.attributes["kernel_shape"] == list(graph.shape(value)[2:])
        if same and not any(node.attributes.get("pads", ())):
            node.op, node.attributes = "GlobalAveragePool", {}
        return
    axes = sorted(axis % 4 for axis in node.attributes.get("axes", range(4)))
    keeps = node.attributes.get("keepdims", 1)
    if axes == [2, 3]:
        _average(graph, node, value, keeps=bool(keeps))
    elif axes == [1, 2] and not keeps:  # a map of which the channels come last
        maker = graph.maker(value)
        if (
            maker is not None
            and maker.op == "Transpose"
            and maker.attributes["perm"] == [0, 2, 3, 1]
        ):
            _average(graph, node, maker.inputs[0], keeps=False)


def _average(graph: Graph, node: Node, value: str, *, keeps: bool) -> None:
    n, c, *_ = graph.shape(value)
    if keeps:
        node.op, node.attributes, node.inputs = "GlobalAveragePool", {}, [value]
    else:
        mean = graph.insert_before(node, "GlobalAveragePool", [value], shape=(n, c, 1, 1))
        node.op, node.attributes, node.inputs = "Flatten", {}, [mean]
    graph.changed()


def _write_global_maximum(graph: Graph, node: Node) -> None:
    """Write the maximum over a whole map as a pooling."""
    _, _, *sides = graph.shape(node.inputs[0])
    if len(sides) == 2:
        node.op, node.attributes = "MaxPool", {"kernel_shape": sides, "strides": sides}


def _undo_reshape(graph: Graph, node: Node) -> None:
    """Remove a reshape that only gives back the shape from before another one."""
    maker = graph.maker(node.inputs[0])
    if maker is None or maker.op not in (*_FLAT, "Unsqueeze"):
        return
    if graph.shape(maker.inputs[0]) == graph.shape(node.output):
        graph.redirect(node.output, maker.inputs[0])
        graph.remove(node)


def _write_flatten(graph: Graph, node: Node) -> None:
    """Write what makes a matrix of maps, one row an image, as Flatten."""
    before, after = graph.shape(node.inputs[0]), graph.shape(node.output)
    if before == after:
        graph.bypass(node)
    elif len(before) > 2 and len(after) == 2 and before[0] == after[0] == 1:
        node.op, node.attributes, node.inputs = "Flatten", {}, node.inputs[:1]
        graph.changed()
