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
        except ImportError as error:
            raise BackendError(
                "reshaping this model's input or output needs pip install ai-edge-litert "
                "flatbuffers"
            ) from error
        self._schema = schema
        self._model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))
        self._graph = self._model.subgraphs[0]
        self._types = {"float32": schema.TensorType.FLOAT32, "int32": schema.TensorType.INT32}
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
        import flatbuffers  # type: ignore[import-untyped]  # it has no stubs

        self._graph.inputs = np.array([self._input], np.int32)
        self._graph.outputs = np.array([self._output], np.int32)
        self._sign()
        builder = flatbuffers.Builder()
        builder.Finish(self._model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _is_sigmoid(self) -> bool:
        """Tell whether the output comes from a sigmoid, perhaps reshaped or dequantized."""
        kinds, value = self._schema.BuiltinOperator, self._output
        passing = (kinds.DEQUANTIZE, kinds.QUANTIZE, kinds.RESHAPE)
        for operator in reversed(self._graph.operators):
            if value in operator.outputs:
                code = self._model.operatorCodes[operator.opcodeIndex]
                kind = max(code.builtinCode, code.deprecatedBuiltinCode)
                if kind not in passing:
                    return bool(kind == kinds.LOGISTIC)
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
        old, new = self._graph.tensors[value], self._schema.TensorT()
        new.name = f"hemline_{len(self._graph.tensors)}".encode()
        new.shape = np.array(shape, np.int32)
        new.shapeSignature = np.array([-1, *shape[1:]], np.int32)
        new.type = old.type if dtype is None else self._types[dtype]
        new.quantization = old.quantization if dtype is None else None
        new.buffer, new.hasRank = 0, True
        self._graph.tensors.append(new)
        return len(self._graph.tensors) - 1

    def _constant(self, values: Sequence[Any], dtype: str = "int32") -> int:
        array = np.array(values, dtype)
        buffer, tensor = self._schema.BufferT(), self._schema.TensorT()
        buffer.data = np.frombuffer(array.tobytes(), np.uint8)
        self._model.buffers.append(buffer)
        tensor.name = f"hemline_{len(self._graph.tensors)}".encode()
        tensor.shape, tensor.type = np.array(array.shape, np.int32), self._types[dtype]
        tensor.buffer = len(self._model.buffers) - 1
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def _operator(self, kind: str, takes: list[int], gives: int, options: Any) -> Any:
        schema = self._schema
        code, operator = schema.OperatorCodeT(), schema.OperatorT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, kind)
        code.version = 1
        self._model.operatorCodes.append(code)
        operator.opcodeIndex = len(self._model.operatorCodes) - 1
        operator.inputs, operator.outputs = np.array(takes, np.int32), np.array([gives], np.int32)
        if options is not None:
            operator.builtinOptions = options
            name = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, name)
        return operator

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
