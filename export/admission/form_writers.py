"""Write a model with a Form put into it, as ONNX or TFLite. Runs in the confined process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hemline.errors import BackendError
from hemline.export.admission.forms import Form


def with_form_onnx(content: bytes, form: Form) -> bytes:
    """Return an ONNX model with the form; raises BackendError without the onnx package."""
    try:
        import onnx
    except ImportError as error:
        raise BackendError(
            "this model's input or output must be reshaped, which needs onnx "
            "(pip install 'hemline[train]')"
        ) from error
    helper, proto = onnx.helper, onnx.load_from_string(content)
    graph = proto.graph
    stored = {value.name for value in graph.initializer}
    source = next(value for value in graph.input if value.name not in stored)
    kept = graph.output[form.output]
    # several steps of a graph may use both names: they stay, the new ends get names of their own
    head, tail = [], []
    value, (height, width, channels) = "hemline_pixels", form.image
    kind, own = source.type.tensor_type.elem_type, _sizes(source)
    accepted = onnx.TensorProto.FLOAT if form.cast else kind
    sizes: list[int | str] = [1 if form.accepts else "n", height, width, channels]
    if form.channels_first:
        head.append(helper.make_node("Transpose", [value], ["hemline_turned"], perm=[0, 3, 1, 2]))
        value = "hemline_turned"
    if form.accepts:
        shape = np.array([each if each > 0 else -1 for each in own], np.int64)
        graph.initializer.append(onnx.numpy_helper.from_array(shape, "hemline_accepts"))
        head.append(helper.make_node("Reshape", [value, "hemline_accepts"], ["hemline_shaped"]))
        value = "hemline_shaped"
    if form.cast:
        head.append(helper.make_node("Cast", [value], [source.name], to=kind))
    else:
        head.append(helper.make_node("Identity", [value], [source.name]))
    result = kept.name
    if form.classes:
        row = np.array([-1, form.classes], np.int64)
        graph.initializer.append(onnx.numpy_helper.from_array(row, "hemline_row"))
        tail.append(helper.make_node("Reshape", [result, "hemline_row"], ["hemline_classes"]))
        result = "hemline_classes"
    if form.one_value:
        first = "hemline_one"
        one = onnx.numpy_helper.from_array(np.ones((1, 1), np.float32), "hemline_one")
        if _is_sigmoid(graph, kept.name):
            graph.initializer.append(one)
        else:  # a logit of the second class: the first one has 0
            first = result
        tail += [
            helper.make_node("Sub", [first, result], ["hemline_other"]),
            helper.make_node("Concat", ["hemline_other", result], ["hemline_both"], axis=1),
        ]
        result = "hemline_both"
    count: int | str = 2 if form.one_value else (form.classes or _sizes(kept)[1])
    output = helper.make_tensor_value_info(result, kept.type.tensor_type.elem_type, ["n", count])
    nodes = [*head, *graph.node, *tail]
    del graph.node[:], graph.output[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.output.append(output)
    source_at = list(graph.input).index(source)
    del graph.input[source_at]
    graph.input.insert(source_at, helper.make_tensor_value_info("hemline_pixels", accepted, sizes))
    onnx.checker.check_model(proto)
    return bytes(proto.SerializeToString())


def _sizes(value: Any) -> list[int]:
    return [int(dim.dim_value) or -1 for dim in value.type.tensor_type.shape.dim]


def _is_sigmoid(graph: Any, name: str) -> bool:
    """Tell whether a value comes from a sigmoid, perhaps reshaped or dequantized."""
    makers = {output: node for node in graph.node for output in node.output}
    while name in makers:
        if makers[name].op_type in ("Sigmoid", "QLinearSigmoid"):
            return True
        if makers[name].op_type not in ("Identity", "Reshape", "Squeeze", "DequantizeLinear"):
            return False
        name = makers[name].input[0]
    return False


def with_form_tflite(content: bytes, form: Form) -> bytes:
    """Return a TFLite model with the form; raises BackendError without LiteRT's schema."""
    try:
        import flatbuffers  # type: ignore[import-untyped]  # it has no stubs
        from ai_edge_litert import schema_py_generated as schema
    except ImportError as error:
        raise BackendError(
            "this model's input or output must be reshaped, which needs ai-edge-litert "
            "(pip install 'hemline[litert]')"
        ) from error
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))
    _Flatbuffer(schema, model).apply(form)
    builder = flatbuffers.Builder(len(content) + 4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


class _Flatbuffer:
    """A TFLite model that operators are added to, at either end."""

    def __init__(self, schema: Any, model: Any) -> None:
        self.schema, self.model, self.graph = schema, model, model.subgraphs[0]
        self.types = {
            "float32": schema.TensorType.FLOAT32,
            "int32": schema.TensorType.INT32,
        }

    def apply(self, form: Form) -> None:
        """Put the form into the model."""
        schema, graph = self.schema, self.graph
        old_input, old_output = int(graph.inputs[0]), int(graph.outputs[form.output])
        source = graph.tensors[old_input]
        if len(source.shape) == 4:  # one image; the runtimes resize all that follows
            source.shape = np.array([1, *source.shape[1:]], np.int32)
            if source.shapeSignature is not None and len(source.shapeSignature) == 4:
                source.shapeSignature = np.array([-1, *source.shapeSignature[1:]], np.int32)
        head: list[Any] = []
        value = old_input
        if form.cast:
            value = self._before(head, "CAST", value, list(source.shape), "float32")
        if form.accepts:
            shape = [1 if each < 0 else each for each in form.accepts]
            before = [1, *form.image]
            if form.channels_first:
                before = [1, form.image[2], *form.image[:2]]
            value = self._before(head, "RESHAPE", value, before, None, self._constant(shape))
        if form.channels_first:
            turned = self._constant([0, 3, 1, 2])
            value = self._before(head, "TRANSPOSE", value, [1, *form.image], None, turned)
        graph.operators = [*head[::-1], *graph.operators]
        graph.inputs = np.array([value], np.int32)
        result = old_output
        if form.one_value:
            result = self._two_classes(result)
        elif form.classes:
            shaped = self._tensor_like(result, [1, form.classes])
            row = self._constant([-1, form.classes])
            options = schema.ReshapeOptionsT()
            options.newShape = [-1, form.classes]
            self._add(graph.operators, "RESHAPE", [result, row], shaped, options)
            result = shaped
        graph.outputs = np.array([result], np.int32)
        self._sign(old_input, value, old_output, result)

    def _before(
        self,
        head: list[Any],
        kind: str,
        value: int,
        shape: list[int],
        dtype: str | None,
        *more: int,
    ) -> int:
        """Add an operator that makes `value`; return the tensor that it accepts."""
        tensor = self._tensor_like(value, shape, dtype)
        options = None
        if kind == "CAST":
            options = self.schema.CastOptionsT()
            options.inDataType = self.schema.TensorType.FLOAT32
            options.outDataType = self.graph.tensors[value].type
        self._add(head, kind, [tensor, *more], value, options)
        return tensor

    def _two_classes(self, value: int) -> int:
        """Return [1 − p, p] of a sigmoid's p, or [0, z] of a logit z."""
        schema, operators = self.schema, self.graph.operators
        sigmoid = self._is_sigmoid(value)
        if self.graph.tensors[value].type != schema.TensorType.FLOAT32:
            real = self._tensor_like(value, [1, 1], "float32")
            self._add(operators, "DEQUANTIZE", [value], real, None)
            value = real
        if list(self.graph.tensors[value].shape) != [1, 1]:
            shaped = self._tensor_like(value, [1, 1])
            self._add(operators, "RESHAPE", [value, self._constant([-1, 1])], shaped, None)
            value = shaped
        first = self._constant([[1.0]], "float32") if sigmoid else value
        other = self._tensor_like(value, [1, 1])
        self._add(operators, "SUB", [first, value], other, schema.SubOptionsT())
        both, options = self._tensor_like(value, [1, 2]), schema.ConcatenationOptionsT()
        options.axis = 1
        self._add(operators, "CONCATENATION", [other, value], both, options)
        return both

    def _is_sigmoid(self, value: int) -> bool:
        kinds = self.schema.BuiltinOperator
        passing = (kinds.DEQUANTIZE, kinds.QUANTIZE, kinds.RESHAPE)
        for operator in reversed(self.graph.operators):
            if value in operator.outputs:
                code = self.model.operatorCodes[operator.opcodeIndex]
                kind = max(code.builtinCode, code.deprecatedBuiltinCode)
                if kind not in passing:
                    return bool(kind == kinds.LOGISTIC)
                value = int(operator.inputs[0])
        return False

    def _tensor_like(self, value: int, shape: list[int], dtype: str | None = None) -> int:
        """Add a tensor of the same type and quantization, or of another type."""
        old, new = self.graph.tensors[value], self.schema.TensorT()
        new.name = f"hemline_{len(self.graph.tensors)}".encode()
        new.shape = np.array(shape, np.int32)
        new.shapeSignature = np.array([-1, *shape[1:]], np.int32)
        new.type = old.type if dtype is None else self.types[dtype]
        new.quantization = old.quantization if dtype is None else None
        new.buffer, new.hasRank = 0, True
        self.graph.tensors.append(new)
        return len(self.graph.tensors) - 1

    def _constant(self, values: Sequence[Any], dtype: str = "int32") -> int:
        array, buffer, tensor = (
            np.array(values, dtype),
            self.schema.BufferT(),
            self.schema.TensorT(),
        )
        buffer.data = np.frombuffer(array.tobytes(), np.uint8)
        self.model.buffers.append(buffer)
        tensor.name = f"hemline_{len(self.graph.tensors)}".encode()
        tensor.shape, tensor.type = np.array(array.shape, np.int32), self.types[dtype]
        tensor.buffer = len(self.model.buffers) - 1
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def _add(
        self, operators: list[Any], kind: str, takes: list[int], gives: int, options: Any
    ) -> None:
        schema = self.schema
        code, operator = schema.OperatorCodeT(), schema.OperatorT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, kind)
        code.version = 1
        self.model.operatorCodes.append(code)
        operator.opcodeIndex = len(self.model.operatorCodes) - 1
        operator.inputs, operator.outputs = np.array(takes, np.int32), np.array([gives], np.int32)
        if options is not None:
            operator.builtinOptions = options
            name = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, name)
        operators.append(operator)

    def _sign(self, old_input: int, new_input: int, old_output: int, new_output: int) -> None:
        """Let signatures name the new ends, and these alone."""
        for signature in self.model.signatureDefs or ():
            signature.outputs = [o for o in signature.outputs if o.tensorIndex == old_output]
            for each, old, new in (
                *((i, old_input, new_input) for i in signature.inputs),
                *((o, old_output, new_output) for o in signature.outputs),
            ):
                each.tensorIndex = new if each.tensorIndex == old else each.tensorIndex
