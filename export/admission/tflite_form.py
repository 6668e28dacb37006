"""Operators at the ends of a TFLite model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hemline.errors import BackendError
from hemline.export.admission.forms import Form, Step


class TFLiteForm:
    """A TFLite model that operators are added to, at either end."""

    def __init__(self, content: bytes, form: Form) -> None:
        """Read a model; raises BackendError without LiteRT's schema."""
        try:
            from ai_edge_litert import schema_py_generated as schema

            from hemline.model_files import flatbuffer
        except ImportError as error:
            raise BackendError(
                "reshaping this model's input or output needs pip install ai-edge-litert "
                "flatbuffers"
            ) from error
        self._schema, self._tables = schema, flatbuffer
        self._model = flatbuffer.unpacked(content)
        self._graph = self._model.subgraphs[0]
        self._ends = int(self._graph.inputs[0]), int(self._graph.outputs[form.output])
        self._input, self._output = self._ends
        self._accept_one_image(form)

    def _accept_one_image(self, form: Form) -> None:
        """Let the model's own input hold one image; the runtimes resize all that follows."""
        source = self._graph.tensors[self._input]
        if len(source.shape) != 4:
            return
        height, width, channels = form.image
        image = (channels, height, width) if form.channels_first else form.image
        source.shape = np.array([1, *image], np.int32)
        if source.shapeSignature is not None and len(source.shapeSignature) == 4:
            source.shapeSignature = np.array([-1, *image], np.int32)

    def before(self, step: Step) -> None:
        """Add an operator in front of the model; what it accepts is the new input."""
        schema, value, more, options = self._schema, self._input, [], None
        accepted = self._like(value, step.accepts, "float32" if step.kind == "cast" else None)
        if step.kind == "cast":
            options = schema.CastOptionsT()
            options.inDataType = schema.TensorType.FLOAT32
            options.outDataType = self._graph.tensors[value].type
        elif step.kind == "reshape":
            more = [self._constant([max(each, 1) for each in self._graph.tensors[value].shape])]
        else:
            more = [self._constant([0, 3, 1, 2])]
        operator = self._operator(step.kind.upper(), [accepted, *more], value, options)
        self._graph.operators.insert(0, operator)
        self._input = accepted

    def rows(self, size: int) -> None:
        """Reshape the output to rows of `size` values."""
        options = self._schema.ReshapeOptionsT()
        options.newShape = [-1, size]
        row = self._constant([-1, size])
        self._output = self._behind("RESHAPE", [self._output, row], [1, size], options)

    def two_classes(self) -> None:
        """Make [1 − p, p] of the output p of a sigmoid, or [0, z] of a logit z."""
        schema, sigmoid = self._schema, self._is_sigmoid()
        if self._graph.tensors[self._output].type != schema.TensorType.FLOAT32:
            self._output = self._behind("DEQUANTIZE", [self._output], [1, 1], None, "float32")
        value = self._output
        first = self._constant([[1.0]], "float32") if sigmoid else value
        other = self._behind("SUB", [first, value], [1, 1], schema.SubOptionsT())
        options = schema.ConcatenationOptionsT()
        options.axis = 1
        self._output = self._behind("CONCATENATION", [other, value], [1, 2], options)

    def content(self) -> bytes:
        """Return the model."""
        self._graph.inputs = np.array([self._input], np.int32)
        self._graph.outputs = np.array([self._output], np.int32)
        self._sign()
        return self._tables.packed(self._model)

    def _is_sigmoid(self) -> bool:
        """Tell whether the output comes from a sigmoid, perhaps reshaped or dequantized."""
        value = self._output
        for operator in reversed(self._graph.operators):
            if value in operator.outputs:
                kind = self._tables.kind_of(self._model, operator)
                if kind not in ("DEQUANTIZE", "QUANTIZE", "RESHAPE"):
                    return kind == "LOGISTIC"
                value = int(operator.inputs[0])
        return False

    def _behind(
        self, kind: str, takes: list[int], shape: list[int], options: Any, dtype: str | None = None
    ) -> int:
        """Add an operator at the end; return its output, which is like its last input."""
        made = self._like(takes[0] if kind == "RESHAPE" else takes[-1], shape, dtype)
        self._graph.operators.append(self._operator(kind, takes, made, options))
        return made

    def _like(self, value: int, shape: Sequence[int], dtype: str | None = None) -> int:
        """Add a tensor of the same type and quantization, or of another type."""
        old = self._graph.tensors[value]
        grid = None if dtype else old.quantization
        made = self._tables.add_tensor(self._model, shape, dtype or "float32", grid=grid)
        new = self._graph.tensors[made]
        new.type = new.type if dtype else old.type
        new.shapeSignature = np.array([-1, *shape[1:]], np.int32)
        return made

    def _constant(self, values: Sequence[Any], dtype: str = "int32") -> int:
        array = np.array(values, dtype)
        return self._tables.add_tensor(self._model, array.shape, dtype, values=array)

    def _operator(self, kind: str, takes: list[int], gives: int, options: Any) -> Any:
        return self._tables.operator_of(self._model, kind, takes, gives, options)

    def _sign(self) -> None:
        """Let signatures name the new ends, and these alone."""
        old_input, old_output = self._ends
        for signature in self._model.signatureDefs or ():
            signature.outputs = [o for o in signature.outputs if o.tensorIndex == old_output]
            for each, new in (
                *((i, self._input) for i in signature.inputs if i.tensorIndex == old_input),
                *((o, self._output) for o in signature.outputs),
            ):
                each.tensorIndex = new
