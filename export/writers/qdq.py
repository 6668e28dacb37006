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


_CONTRIBUTED = "com.microsoft"  # domain of ONNX Runtime's own operators: theirs take 16 bits


def quantized_onnx(annotated: AnnotatedGraph, taps: tuple[str, ...] = ()) -> onnx.ModelProto:
    """Return the model with uint8 pixels in and float32 out, int8 weights and uint8 activations.

    ONNX Runtime fuses what lies between DequantizeLinear and QuantizeLinear into one operator. With
    a bias in float or weights in float it would not, and would change the logits by many steps: of
    a layer that the plan keeps in float nothing is an integer.
    taps: values that are more outputs, named as `tap_name` says. One that has no point keeps its
    operator and the next from being fused.
    """
    proto = _Writer(annotated).model(taps)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def tap_name(value: str) -> str:
    """Return the name of the output that a tapped value has."""
    return f"{value}_tap"


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

    def model(self, taps: tuple[str, ...]) -> onnx.ModelProto:
        """Return the model; to be called once."""
        graph = self._graph
        weighted = {id(node) for node in self._annotated.float_graph.weighted}
        for node in graph.nodes:
            if node.op in LAYOUT and node.inputs[0] in self._stored:
                self._move(node)
            else:
                self._compute(node, weighted=id(node) in weighted)
        for name in graph.outputs:
            self._give(name, name)
        for name in taps:
            self._give(name, tap_name(name))
        proto = graph.proto(open_batch=True)
        proto.graph.output.extend(
            onnx.helper.make_tensor_value_info(
                tap_name(name), onnx.TensorProto.FLOAT, [None] * graph.rank(name)
            )
            for name in taps
        )
        if any(each.domain == _CONTRIBUTED for each in self._nodes):
            proto.opset_import.append(onnx.helper.make_opsetid(_CONTRIBUTED, 1))
        del proto.graph.node[:], proto.graph.initializer[:]
        proto.graph.node.extend(self._nodes)
        proto.graph.initializer.extend(
            onnx.numpy_helper.from_array(array, name) for name, array in self._constants.items()
        )
        proto.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
        return proto

    def _give(self, value: str, output: str) -> None:
        """Return a value as float under the name of an output."""
        if value in self._stored:
            self._add("DequantizeLinear", [self._stored[value], *self._grid(value)], output)
        elif value != output:
            self._add("Identity", [value], output)

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
        given = [name for name in self._graph.outputs if self._annotated.is_point(name)]
        outputs = [f"{name}_float" if name in given else name for name in node.outputs]
        options = {"name": node.name, "domain": node.domain, **node.attributes}
        self._nodes.append(onnx.helper.make_node(node.op, inputs, outputs, **options))
        in_float = weighted and node.inputs[1] not in self._annotated.kernels
        if in_float and node.inputs[0] in self._stored and self._annotated.rounded(node):
            self._keep_in_float(self._nodes[-1])
        for name, output in zip(node.outputs, outputs, strict=True):
            if self._annotated.is_point(name):
                stored = self._stored[name] = f"{name}_stored"
                scale, zero_point = self._grid(name)
                if self._averages(node):
                    zero_point = self._middle(name)
                self._add("QuantizeLinear", [output, scale, zero_point], stored)

    def _keep_in_float(self, layer: onnx.NodeProto) -> None:
        """Keep ONNX Runtime from putting a layer's weights on a grid of its own.

        Recent versions do so between DequantizeLinear and QuantizeLinear. A LeakyRelu that changes
        nothing is in the way, and costs nothing: it is computed with the layer.
        """
        output, layer.output[0] = layer.output[0], f"{layer.output[0]}_sum"
        self._add("LeakyRelu", [layer.output[0]], output, alpha=1.0)

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
            zero_point = self._middle(name)
        self._add("DequantizeLinear", [self._stored[name], scale, zero_point], read)
        return read

    def _averages(self, node: Node) -> bool:
        """Return whether a node averages on one grid, without zeros that padding adds."""
        if node.op != "AveragePool":
            return False
        owners = {self._points.owner(name) for name in (node.inputs[0], node.output)}
        return len(owners) == 1 and not node.attributes.get("count_include_pad")

    def _middle(self, value: str) -> str:
        """Return the name of the zero point that signed integers have at 0."""
        wide = self._annotated.grid(value).bits == 16
        name = "middle_wide" if wide else "middle"
        self._constants[name] = (
            np.asarray(1 << 15, np.uint16) if wide else np.asarray(128, np.uint8)
        )
        return name

    def _constant(self, name: str) -> str:
        if name in self._graph.constants:
            self._constants[name] = self._graph.constants[name]
        return name

    def _weights(self, node: Node) -> list[str]:
        found = [self._kernel(node)]
        if self._annotated.has_integer_bias(node):
            bias, scale = self._annotated.bias(node)
            axis = {"axis": 0} if scale.ndim else {}
            found.append(self._integers(f"{node.output}.bias", bias, scale, **axis))
        elif node.input(2):
            found.append(self._constant(node.input(2)))
        return found

    def _kernel(self, node: Node) -> str:
        name = node.inputs[1]
        if name not in self._annotated.kernels:
            return self._constant(name)
        kernel = self._annotated.kernels[name]
        axis = {} if kernel.axis is None else {"axis": kernel.axis}
        return self._integers(name, kernel.integers, kernel.scale, **axis)

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
        kind = np.uint16 if grid.bits == 16 else np.uint8
        self._constants[zero_point] = np.asarray(grid.zero_point, kind)
        return [scale, zero_point]

    def _add(self, op: str, inputs: list[str], output: str, **attributes: Any) -> None:
        if op.endswith("izeLinear") and self._constants[inputs[2]].dtype == np.uint16:
            attributes["domain"] = _CONTRIBUTED
        self._nodes.append(onnx.helper.make_node(op, inputs, [output], name=output, **attributes))
