"""The tables of a TFLite file, to change and write again, by the schema that LiteRT brings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flatbuffers  # type: ignore[import-untyped]  # it has no stubs
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

_KINDS = {number: kind for kind, number in vars(schema.BuiltinOperator).items()}


def unpacked(content: bytes) -> Any:
    """Return the tables of a model, a ModelT; weights that are stored behind them are put back."""
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    for buffer in model.buffers:
        if buffer.offset > 1 and buffer.size > 1:  # 0 and 1 mean none
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return model


def packed(model: Any) -> bytes:
    """Return the bytes of a model's tables, equal vectors once."""
    builder = _Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


class _Builder(flatbuffers.Builder):  # type: ignore[misc]  # it has no stubs
    """Writes equal vectors of numbers once, as the zero points of channels are, and aligns data."""

    def __init__(self) -> None:
        super().__init__(1 << 16)
        self._written: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: npt.NDArray[Any]) -> int:  # noqa: N802 — its name there
        """Return the place of a vector; data of weights lie at multiples of 16 bytes."""
        if x.dtype.itemsize == 1:
            self.Prep(16, x.size)  # the schema's force_align, which Python's writer leaves out
            return int(super().CreateNumpyVector(x))
        key = (x.dtype.str, x.tobytes())
        if key not in self._written:
            self._written[key] = int(super().CreateNumpyVector(x))
        return self._written[key]


def compact(content: bytes) -> bytes:
    """Return a file with its equal vectors written once."""
    return packed(unpacked(content))


def kind_of(model: Any, operator: Any) -> str:
    """Return what an operator is: CONV_2D; the number of one that the schema does not know."""
    code = model.operatorCodes[operator.opcodeIndex]
    number = max(int(code.builtinCode), int(code.deprecatedBuiltinCode))
    return str(_KINDS.get(number, number))


def code_of(model: Any, kind: str, version: int) -> int:
    """Return the place of an operator code, added where the model has none."""
    number = getattr(schema.BuiltinOperator, kind)
    for at, each in enumerate(model.operatorCodes):
        if (each.builtinCode, each.version) == (number, version):
            return at
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = number
    code.version = version
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def operator_of(
    model: Any,
    kind: str,
    inputs: Sequence[int],
    output: int,
    options: Any = None,
    *,
    version: int = 1,
) -> Any:
    """Return an operator with its options, to be put among those of the graph."""
    operator = schema.OperatorT()
    operator.opcodeIndex = code_of(model, kind, version)
    operator.inputs, operator.outputs = np.array(inputs, np.int32), np.array([output], np.int32)
    if options is not None:
        operator.builtinOptions = options
        name = type(options).__name__.removesuffix("T")
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, name)
    return operator


def add_tensor(
    model: Any,
    shape: Sequence[int],
    dtype: str,
    *,
    values: npt.NDArray[Any] | None = None,
    grid: Any = None,
    name: str = "",
) -> int:
    """Add a tensor, a constant where it has values; return its number."""
    tensors, tensor = model.subgraphs[0].tensors, schema.TensorT()
    tensor.name = (name or f"hemline_{len(tensors)}").encode()
    tensor.shape, tensor.type = np.array(shape, np.int32), getattr(schema.TensorType, dtype.upper())
    tensor.quantization, tensor.hasRank, tensor.buffer = grid, True, 0  # without data
    if values is not None:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        tensor.buffer = len(model.buffers)
        model.buffers.append(buffer)
    tensors.append(tensor)
    return len(tensors) - 1
