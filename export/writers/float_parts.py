"""Let parts of an int8 TFLite file compute in float: what a plan says, and what is faster so.

TensorFlow's converter quantizes every kernel between two fake quantizations, annotated or not. So
it writes the whole network in int8, and what shall be in float is taken out of the integers here;
everything else stays the same, bit by bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from hemline.errors import HemlineError
from hemline.export.graph.editing import Node
from hemline.export.quantization.annotation import AnnotatedGraph
from hemline.model_files.flatbuffer import kind_of, operator_of, packed, unpacked

Kernels = Mapping[str, npt.NDArray[np.float32]]

_FLOAT, _INT8 = schema.TensorType.FLOAT32, schema.TensorType.INT8
# XNNPACK has no int8 kernels for them: in float they take 1/4 to 1/16 of the time of LiteRT's own,
# and give what ONNX Runtime gives.
_FASTER_IN_FLOAT = frozenset({"HARD_SWISH", "RELU", "RELU6"})
_VERSIONS = {"QUANTIZE": 1, "DEQUANTIZE": 2}  # from float32 to int8, and back
_BIAS_AT = 2  # of a layer's inputs, in ONNX and in TFLite
_ROUNDED = 0.6  # steps that rounding moves a value by at most, with some room for float32
# They give values of their first input, on its grid.
_MOVING = frozenset(
    {
        "CONCATENATION",
        "EXPAND_DIMS",
        "GATHER",
        "PAD",
        "PADV2",
        "RESHAPE",
        "SLICE",
        "SPLIT",
        "SQUEEZE",
        "STRIDED_SLICE",
        "TRANSPOSE",
    }
)


def with_float_parts(content: bytes, annotated: AnnotatedGraph, kernels: Kernels) -> bytes:
    """Return an all-int8 file with the layers and values in float that a plan has in float.

    content: file whose tensors are named after the values of the graph.
    kernels: weights of each layer by name, as the rebuilt graph has them: the outputs last.
    Raises HemlineError for a file that does not hold these weights.
    """
    model = unpacked(content)
    if not _Rewriter(model, annotated, kernels).rewrite():
        return content
    return packed(model)


class _Rewriter:
    """Takes operators of one model out of int8."""

    def __init__(self, model: Any, annotated: AnnotatedGraph, kernels: Kernels) -> None:
        self._model, self._annotated, self._kernels = model, annotated, kernels
        self._graph = model.subgraphs[0]
        self._layers = {node.output: node for node in annotated.float_graph.weighted}
        outputs = (name for node in annotated.graph.nodes for name in node.outputs)
        self._order = {name: at for at, name in enumerate(outputs)}
        self._loose: set[int] = set()  # tensors that the plan does not round
        self._read: dict[int, int] = {}  # int8 tensor → the same in float
        self._same: dict[int, int] = {}  # tensor that is no longer made → the one to read

    def rewrite(self) -> bool:
        """Change the model, once; return whether there was anything to change."""
        for each in self._graph.operators:
            each.inputs, each.outputs = list(map(int, each.inputs)), list(map(int, each.outputs))
        self._find_loose()
        wanted = {id(each) for each in self._graph.operators if self._is_float(each)}
        operators: list[Any] = []
        for each in self._graph.operators:
            operators += self._in_float(each) if id(each) in wanted else [each]
        for at in self._loose:
            self._graph.tensors[at].type, self._graph.tensors[at].quantization = _FLOAT, None
        self._graph.operators = operators
        self._renumber()
        return bool(wanted)

    def _find_loose(self) -> None:
        """Find the tensors of values that the plan does not round."""
        for operator in self._graph.operators:
            for at in operator.outputs:
                tensor = self._graph.tensors[at]
                if kind_of(self._model, operator) in _MOVING:
                    loose = operator.inputs[0] in self._loose
                else:
                    loose = self._annotated.stays_float(self._value(tensor))
                if loose and tensor.type == _INT8:
                    self._loose.add(at)

    def _is_float(self, operator: Any) -> bool:
        """Return whether an operator is a layer in float, or next to a value that is."""
        layer = self._layer(operator)
        in_float = layer is not None and layer.inputs[1] not in self._annotated.kernels
        in_float |= kind_of(self._model, operator) in _FASTER_IN_FLOAT
        return in_float or not self._loose.isdisjoint((*operator.inputs, *operator.outputs))

    def _layer(self, operator: Any) -> Node | None:
        """Return the layer that an operator with weights is."""
        if len(operator.inputs) < 2 or kind_of(self._model, operator) in _MOVING:
            return None
        weights = self._graph.tensors[operator.inputs[1]]
        if self._stored(weights) is None or weights.quantization is None:
            return None
        names = _values_of(self._graph.tensors[operator.outputs[0]])
        return next((self._layers[name] for name in names if name in self._layers), None)

    def _value(self, tensor: Any) -> str:
        """Return the value that a tensor holds, "" for one within a node: the last that it names.

        An operator that computes an activation, too, has the names of both nodes.
        """
        return max(_values_of(tensor), key=lambda name: self._order.get(name, -1), default="")

    def _in_float(self, operator: Any) -> Iterator[Any]:
        """Yield an operator in float, between those that turn its inputs and outputs."""
        if kind_of(self._model, operator) in _VERSIONS:
            yield from self._turning(operator)
            return
        layer = self._layer(operator)
        for place, at in enumerate(operator.inputs):
            tensor = self._graph.tensors[at]
            if at < 0 or at in self._loose:
                continue
            if self._stored(tensor) is not None and _is_quantized(tensor):
                values = self._constant(tensor, place, layer, operator)
                operator.inputs[place] = self._added(tensor, values)
            elif tensor.type == _INT8:
                if at not in self._read:
                    self._read[at] = self._added(tensor)
                    yield self._turn("DEQUANTIZE", at, self._read[at])
                operator.inputs[place] = self._read[at]
        yield operator
        for place, at in enumerate(operator.outputs):
            if self._graph.tensors[at].type == _INT8 and at not in self._loose:
                operator.outputs[place] = self._added(self._graph.tensors[at])
                yield self._turn("QUANTIZE", operator.outputs[place], at)

    def _turning(self, operator: Any) -> Iterator[Any]:
        """Yield what is left of a QUANTIZE or DEQUANTIZE whose input or output stays float."""
        (source,), (made,) = operator.inputs, operator.outputs
        from_float, to_float = (
            at in self._loose or self._graph.tensors[at].type == _FLOAT for at in (source, made)
        )
        if from_float and to_float:
            self._same[made] = source
        else:
            yield self._turn("QUANTIZE" if from_float else "DEQUANTIZE", source, made)

    def _turn(self, kind: str, source: int, made: int) -> Any:
        """Return an operator that quantizes or dequantizes."""
        return operator_of(self._model, kind, [source], made, version=_VERSIONS[kind])

    def _stored(self, tensor: Any) -> npt.NDArray[np.uint8] | None:
        """Return the bytes of a constant, None for what is computed."""
        data = self._model.buffers[tensor.buffer].data
        return None if data is None or len(data) == 0 else np.asarray(data, np.uint8)

    def _constant(
        self, tensor: Any, place: int, layer: Node | None, operator: Any
    ) -> npt.NDArray[np.float32]:
        """Return a constant in float: that of the graph, not what its integers have left of it."""
        rounded, step = self._rounded(tensor)
        if layer is not None and layer.inputs[1] in self._annotated.kernels:
            return rounded  # it only reads or gives a float
        if layer is not None and place == _BIAS_AT and layer.input(_BIAS_AT):
            return self._annotated.graph.constants[layer.input(_BIAS_AT)].reshape(rounded.shape)
        for each in self._candidates(layer, operator):
            if each.size == rounded.size:
                exact = each.reshape(rounded.shape)
                if np.all(np.abs(exact - rounded) <= _ROUNDED * step):
                    return exact
        if layer is not None and place == 1:
            raise HemlineError(f"the weights of {layer.output} are not in the file: report this")
        return rounded

    def _candidates(self, layer: Node | None, operator: Any) -> Iterator[npt.NDArray[np.float32]]:
        """Yield constants of the graph that one of an operator may be, in TFLite's order."""
        if layer is not None:
            kernel = self._kernels[layer.inputs[1]]
            depthwise = kind_of(self._model, operator) == "DEPTHWISE_CONV_2D"
            yield kernel if depthwise else np.moveaxis(kernel, -1, 0)
        node = self._annotated.graph.maker(self._value(self._graph.tensors[operator.outputs[0]]))
        for name in node.inputs if node is not None else ():
            if name in self._annotated.graph.constants:
                yield self._annotated.graph.constants[name]

    def _rounded(self, tensor: Any) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
        """Return the values of integers, and their steps, one or for each channel."""
        stored = self._stored(tensor)
        assert stored is not None  # noqa: S101 — asked of constants only
        integers = stored.view(np.int8 if tensor.type == _INT8 else np.int32).reshape(tensor.shape)
        step = np.asarray(tensor.quantization.scale, np.float64)
        if step.size > 1:
            shape = [1] * integers.ndim
            shape[tensor.quantization.quantizedDimension] = -1
            step = step.reshape(shape)
        zero = tensor.quantization.zeroPoint[0]
        return np.asarray((integers.astype(np.float64) - zero) * step, np.float32), step

    def _added(self, tensor: Any, values: npt.NDArray[np.float32] | None = None) -> int:
        """Add a float tensor of the same name and shape, perhaps a constant; return its number."""
        made = schema.TensorT()
        made.name, made.hasRank, made.type = tensor.name, tensor.hasRank, _FLOAT
        made.shape, made.shapeSignature = tensor.shape, tensor.shapeSignature
        made.buffer = 0  # the empty one
        if values is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(
                np.ascontiguousarray(values, np.float32).tobytes(), np.uint8
            )
            made.buffer = len(self._model.buffers)
            self._model.buffers.append(buffer)
        self._graph.tensors.append(made)
        return len(self._graph.tensors) - 1

    def _renumber(self) -> None:
        """Leave out tensors and contents that nothing uses any more."""
        graph, model = self._graph, self._model
        places = [(each, part) for each in graph.operators for part in ("inputs", "outputs")]
        places += [(graph, part) for part in ("inputs", "outputs")]
        for owner, part in places:
            setattr(owner, part, [self._same.get(int(at), int(at)) for at in getattr(owner, part)])
        used = sorted({at for owner, part in places for at in getattr(owner, part)} - {-1})
        numbers = {-1: -1} | {at: number for number, at in enumerate(used)}
        for owner, part in places:
            setattr(owner, part, [numbers[at] for at in getattr(owner, part)])
        for signature in model.signatureDefs or []:
            for each in (*signature.inputs, *signature.outputs):
                each.tensorIndex = numbers[self._same.get(each.tensorIndex, each.tensorIndex)]
        graph.tensors = [graph.tensors[at] for at in used]
        kept = {each.buffer for each in graph.tensors} | {
            each.buffer for each in model.metadata or []
        }
        for at, buffer in enumerate(model.buffers):
            if at not in kept:
                buffer.data = None


def _values_of(tensor: Any) -> list[str]:
    """Return the values of the graph that the operators behind a tensor give: SCOPE/OPERATOR;…"""
    parts = [part.split("/") for part in tensor.name.decode().split(";")]
    return [part[0] for part in parts if len(part) == 2]


def _is_quantized(tensor: Any) -> bool:
    return tensor.quantization is not None and tensor.quantization.scale is not None
