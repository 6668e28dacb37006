"""Read what a TFLite file holds, by the schema that LiteRT brings."""

from __future__ import annotations

import math
from typing import Any

from hemline.errors import BackendError, FileFormatError
from hemline.model_files.contents import Contents, Operator, Tensor

_BITS = {"INT4": 4, "UINT4": 4, "INT2": 2, "FLOAT16": 16, "BFLOAT16": 16, "INT16": 16}
_BITS |= {"UINT16": 16, "INT8": 8, "UINT8": 8, "BOOL": 8, "FLOAT64": 64, "INT64": 64, "UINT64": 64}


def read_tflite(content: bytes) -> Contents:
    """Return what the first subgraph of a flatbuffer holds.

    Raises BackendError without LiteRT, FileFormatError for a damaged file.
    """
    try:
        from ai_edge_litert import schema_py_generated as schema

        from hemline.model_files.flatbuffer import unpacked
    except ImportError as error:
        raise BackendError("litert is not installed: pip install ai-edge-litert") from error
    try:
        return _Reader(schema, unpacked(content)).contents()
    except Exception as error:  # flatbuffers checks nothing: all of Python's errors come out
        raise FileFormatError(f"the model's tables cannot be read: {error!r}") from error


class _Reader:
    def __init__(self, schema: Any, model: Any) -> None:
        self._model = model
        self._graph = self._model.subgraphs[0]
        self._kinds, self._types = _names(schema.BuiltinOperator), _names(schema.TensorType)

    def contents(self) -> Contents:
        graph = self._graph
        self._tensors = tuple(map(self._tensor, graph.tensors, _distinct(graph.tensors)))
        return Contents(
            format="tflite",
            inputs=self._named(graph.inputs),
            outputs=self._named(graph.outputs),
            tensors=self._tensors,
            operators=tuple(map(self._operator, graph.operators)),
        )

    def _named(self, indices: Any) -> tuple[str, ...]:
        return tuple(self._tensors[int(at)].name for at in indices if at >= 0)

    def _tensor(self, tensor: Any, name: str) -> Tensor:
        kind, buffer = self._types[tensor.type], self._model.buffers[tensor.buffer].data
        shape = tuple(int(size) for size in (() if tensor.shape is None else tensor.shape))
        grid = tensor.quantization
        scales = () if grid is None or grid.scale is None else tuple(map(float, grid.scale))
        zeros = () if not scales or grid.zeroPoint is None else tuple(map(int, grid.zeroPoint))
        return Tensor(
            name=name,
            shape=shape,
            dtype=kind.lower(),
            constant=buffer is not None and len(buffer) > 0,
            size_bytes=-(-math.prod(shape) * _BITS.get(kind, 32) // 8),
            scales=scales,
            zero_points=zeros,
            axis=int(grid.quantizedDimension) if len(scales) > 1 else None,
        )

    def _operator(self, operator: Any) -> Operator:
        code = self._model.operatorCodes[operator.opcodeIndex]
        kind = self._kinds[max(code.builtinCode, code.deprecatedBuiltinCode)]
        if kind == "CUSTOM":
            kind = code.customCode.decode("utf-8", "replace")
        inputs = [None if at < 0 else self._tensors[int(at)] for at in operator.inputs]
        outputs = self._named(operator.outputs)
        made = self._tensors[int(operator.outputs[0])].elements if outputs else 0
        return Operator(
            kind=kind,
            inputs=self._named(operator.inputs),
            outputs=outputs,
            macs=_macs(kind, inputs, made),
        )


def _macs(kind: str, inputs: list[Tensor | None], made: int) -> int:
    """Return the multiply-accumulates of an operator that makes so many values."""
    shapes = [each.shape or () if each is not None else () for each in inputs]
    if kind == "CONV_2D":  # weights (out, h, w, in)
        return made * math.prod(shapes[1][1:])
    if kind == "DEPTHWISE_CONV_2D":  # weights (1, h, w, out)
        return made * math.prod(shapes[1][1:3])
    if kind in ("FULLY_CONNECTED", "BATCH_MATMUL"):  # weights (out, in); values (…, in)
        return made * shapes[0][-1] if kind == "BATCH_MATMUL" else made * shapes[1][-1]
    if kind == "TRANSPOSE_CONV":  # shape, weights (out, h, w, in), values
        return math.prod(shapes[2]) * math.prod(shapes[1][:3])
    return 0


def _names(enumeration: Any) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}


def _distinct(tensors: list[Any]) -> list[str]:
    """Return the names of tensors; a second one of a name, which the format allows, gets a #."""
    names: dict[str, int] = {}
    for at, tensor in enumerate(tensors):
        name = (tensor.name or b"").decode("utf-8", "replace")
        names[name if name and name not in names else f"{name}#{at}"] = at
    return list(names)
