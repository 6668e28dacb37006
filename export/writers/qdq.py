"""A float graph as ONNX with QuantizeLinear and DequantizeLinear at the points of a plan."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from hemline.export.graph.editing import Node
from hemline.export.graph.points import LAYOUT
from hemline.export.quantization.annotation import AnnotatedGraph

# QuantizeLinear rounds halves to the even neighbour. TFLite rounds them up where it resizes, away
# from the 0 of int8 where it averages; halves are common there. What is read is made larger by so
# little that only halves move: bilinear weights are often multiples of 1/256 (255 · 2⁻¹⁷ is
# less), averages of n values are of 1/n (127 · 2⁻¹⁴ is less than half of that up to n = 64).
_LARGER = {"Resize": np.float32(1 + 2**-17), "AveragePool": np.float32(1 + 2**-14)}


def quantized_onnx(annotated: AnnotatedGraph) -> onnx.ModelProto:
    """Return the model with uint8 pixels in and float32 out, int8 weights and uint8 activations.

    ONNX Runtime fuses what lies between DequantizeLinear and QuantizeLinear into one operator. With
    a bias in float or weights in float it would not, and would change the logits by many steps.
    """
    proto = _Writer(annotated).model()
    onnx.checker.check_model(proto, full_check=True)
    return proto


class _Writer:
    """Copies a graph node by node; what has a point is kept as uint8 and read as float."""

    def __init__(self, annotated: AnnotatedGraph) -> None:
        self._annotated = annotated
        self._graph = annotated.graph
        self._points = annotated.float_graph.points
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, npt.NDArray[Any]] = {}
        self._stored = {self._graph.image: self._graph.image}  # value → uint8 tensor
        self._reads = 0

    def model(self) -> onnx.ModelProto:
        """Return the model; to be called once."""
        graph = self._graph
        weighted = {id(node) for node in self._annotated.float_graph.weighted}
        for node in graph.nodes:
            if node.op in LAYOUT and node.inputs[0] in self._stored:
                self._move(node)
            else:
                self._compute(node, weighted=id(node) in weighted)
        for name in graph.outputs:
            self._add("DequantizeLinear", [self._stored[name], *self._grid(name)], name)
        proto = graph.proto(open_batch=True)
        del proto.graph.node[:], proto.graph.initializer[:]
        proto.graph.node.extend(self._nodes)
        proto.graph.initializer.extend(
            onnx.numpy_helper.from_array(array, name) for name, array in self._constants.items()
        )
        proto.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
        return proto

    def _move(self, node: Node) -> None:
        """Move uint8 values instead of float ones: ONNX Runtime does not fuse all of these."""
        stored = self._stored[node.output] = f"{node.output}_stored"
        inputs = [self._stored[node.inputs[0]], *(self._constant(x) for x in node.inputs[1:])]
        self._add(node.op, inputs, stored, **node.attributes)

    def _compute(self, node: Node, *, weighted: bool) -> None:
        values = node.inputs[:1] if weighted else node.inputs
        inputs = [self._read(name, node) for name in values]
        if weighted:
            inputs += self._weights(node)
        given = self._graph.outputs
        outputs = [f"{name}_float" if name in given else name for name in node.outputs]
        options = {"name": node.name, "domain": node.domain, **node.attributes}
        self._nodes.append(onnx.helper.make_node(node.op, inputs, outputs, **options))
        for name, output in zip(node.outputs, outputs, strict=True):
            if self._annotated.is_point(name):
                stored = self._stored[name] = f"{name}_stored"
                scale, zero_point = self._grid(name)
                if self._averages(node):
                    zero_point = self._middle()
                self._add("QuantizeLinear", [output, scale, zero_point], stored)

    def _read(self, name: str, node: Node) -> str:
        """Return the name of a value as float, for one node.

        Each read has a DequantizeLinear of its own: ONNX Runtime fuses one with what alone reads
        it, and 1.12 breaks down where a node reads one twice.
        """
        if name not in self._stored:
            return self._constant(name) if name in self._graph.constants else name
        self._reads += 1
        read = f"{name}_read{self._reads}"
        scale, zero_point = self._grid(name)
        if node.op == "Resize" or self._averages(node):
            larger = np.asarray(self._constants[scale] * _LARGER[node.op], np.float32)
            scale = f"{read}_scale"
            self._constants[scale] = larger
        if self._averages(node):
            zero_point = self._middle()
        self._add("DequantizeLinear", [self._stored[name], scale, zero_point], read)
        return read

    def _averages(self, node: Node) -> bool:
        """Return whether a node averages on one grid, without zeros that padding adds."""
        if node.op != "AveragePool":
            return False
        owners = {self._points.owner(name) for name in (node.inputs[0], node.output)}
        return len(owners) == 1 and not node.attributes.get("count_include_pad")

    def _middle(self) -> str:
        """Return the name of the zero point that int8 has at 0."""
        self._constants["middle"] = np.asarray(128, np.uint8)
        return "middle"

    def _constant(self, name: str) -> str:
        if name in self._graph.constants:
            self._constants[name] = self._graph.constants[name]
        return name

    def _weights(self, node: Node) -> list[str]:
        kernel = self._annotated.kernels[node.inputs[1]]
        axis = {} if kernel.axis is None else {"axis": kernel.axis}
        found = [self._integers(node.inputs[1], kernel.integers, kernel.scale, **axis)]
        if node.input(2):
            bias, scale = self._annotated.bias(node)
            axis = {} if kernel.axis is None else {"axis": 0}
            found.append(self._integers(f"{node.output}.bias", bias, scale, **axis))
        return found

    def _integers(
        self, name: str, integers: npt.NDArray[Any], scale: npt.NDArray[np.float32], **axis: int
    ) -> str:
        """Write integers and return the name of their values as float."""
        self._reads += 1
        parts = [f"{name}_{part}" for part in ("stored", "scale", "zero")]
        zeros = np.zeros(scale.shape, integers.dtype)
        self._constants |= dict(zip(parts, (integers, scale, zeros), strict=True))
        self._add("DequantizeLinear", parts, f"{name}_read{self._reads}", **axis)
        return f"{name}_read{self._reads}"

    def _grid(self, value: str) -> list[str]:
        """Return the names of scale and zero point of a value."""
        owner = self._points.owner(value)
        grid = self._annotated.grid(value)
        scale, zero_point = f"{owner}_scale", f"{owner}_zero"
        self._constants[scale] = np.asarray(grid.scale)
        self._constants[zero_point] = np.asarray(grid.zero_point, np.uint8)
        return [scale, zero_point]

    def _add(self, op: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self._nodes.append(onnx.helper.make_node(op, inputs, [output], name=output, **attributes))
