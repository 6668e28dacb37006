"""Operators at the ends of an ONNX model."""

from __future__ import annotations

from typing import Any

import numpy as np

from hemline.errors import BackendError
from hemline.export.admission.forms import Form, Step

_PASSING = ("Identity", "Reshape", "Squeeze", "DequantizeLinear")  # they leave values as they are


class OnnxForm:
    """An ONNX model that operators are added to, at either end.

    Several steps of its graph may use the names of its ends: they stay, the new ends get names of
    their own.
    """

    def __init__(self, content: bytes, form: Form) -> None:
        """Read a model; raises BackendError without the onnx package."""
        try:
            import onnx
        except ImportError as error:
            raise BackendError(
                "reshaping this model's input or output needs onnx (pip install onnx)"
            ) from error
        self._onnx, self._form = onnx, form
        self._proto = onnx.load_from_string(content)
        self._graph = graph = self._proto.graph
        stored = {value.name for value in graph.initializer}
        self._source = next(value for value in graph.input if value.name not in stored)
        self._kept = graph.output[form.output]
        self._input, self._output = self._source.name, self._kept.name
        self._nodes = list(graph.node)
        if not form.steps:
            self._add_first("Identity", [])

    def before(self, step: Step) -> None:
        """Add an operator in front of the model; what it accepts is the new input."""
        if step.kind == "transpose":
            self._add_first("Transpose", [], perm=[0, 3, 1, 2])
        elif step.kind == "cast":
            self._add_first("Cast", [], to=self._source.type.tensor_type.elem_type)
        else:
            shape = [each if each > 0 else -1 for each in _sizes(self._source)]
            self._add_first("Reshape", [self._stored(np.array(shape, np.int64))])

    def rows(self, size: int) -> None:
        """Reshape the output to rows of `size` values."""
        row = self._stored(np.array([-1, size], np.int64))
        self._output = self._add_last("Reshape", [self._output, row])

    def two_classes(self) -> None:
        """Make [1 − p, p] of the output p of a sigmoid, or [0, z] of a logit z."""
        value = self._output
        first = self._stored(np.ones((1, 1), np.float32)) if self._is_sigmoid() else value
        other = self._add_last("Sub", [first, value])
        self._output = self._add_last("Concat", [other, value], axis=1)

    def content(self) -> bytes:
        """Return the model."""
        helper, graph, form = self._onnx.helper, self._graph, self._form
        kind = self._source.type.tensor_type.elem_type
        accepted = self._onnx.TensorProto.FLOAT if form.cast else kind
        sizes: list[int | str] = [1 if form.accepts else "n", *form.image]
        count = 2 if form.one_value else (form.classes or _sizes(self._kept)[1])
        returned = self._kept.type.tensor_type.elem_type
        at = list(graph.input).index(self._source)
        del graph.node[:], graph.output[:], graph.value_info[:], graph.input[at]
        graph.node.extend(self._nodes)
        graph.input.insert(at, helper.make_tensor_value_info(self._input, accepted, sizes))
        graph.output.append(helper.make_tensor_value_info(self._output, returned, ["n", count]))
        self._onnx.checker.check_model(self._proto)
        return bytes(self._proto.SerializeToString())

    def _add_first(self, kind: str, more: list[str], **attributes: Any) -> None:
        value, self._input = self._input, f"hemline_{len(self._nodes)}"
        node = self._onnx.helper.make_node(kind, [self._input, *more], [value], **attributes)
        self._nodes.insert(0, node)

    def _add_last(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        name = f"hemline_{len(self._nodes)}"
        self._nodes.append(self._onnx.helper.make_node(kind, inputs, [name], **attributes))
        return name

    def _stored(self, array: Any) -> str:
        name = f"hemline_constant_{len(self._graph.initializer)}"
        self._graph.initializer.append(self._onnx.numpy_helper.from_array(array, name))
        return name

    def _is_sigmoid(self) -> bool:
        """Tell whether the output comes from a sigmoid, perhaps reshaped or dequantized."""
        makers = {output: node for node in self._nodes for output in node.output}
        name = self._output
        while name in makers and makers[name].op_type in _PASSING:
            name = makers[name].input[0]
        return name in makers and makers[name].op_type in ("Sigmoid", "QLinearSigmoid")


def _sizes(value: Any) -> list[int]:
    return [int(dim.dim_value) or -1 for dim in value.type.tensor_type.shape.dim]
