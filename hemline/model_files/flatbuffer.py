"""The tables of a TFLite file, to change and write again, by the schema that LiteRT brings."""

from __future__ import annotations

from typing import Any

import flatbuffers  # type: ignore[import-untyped]  # it has no stubs
import numpy as np
from ai_edge_litert import schema_py_generated as schema


def unpacked(content: bytes) -> Any:
    """Return the tables of a model, a ModelT; weights that are stored behind them are put back."""
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    for buffer in model.buffers:
        if buffer.offset > 1 and buffer.size > 1:  # 0 and 1 mean none
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return model


def packed(model: Any) -> bytes:
    """Return the bytes of a model's tables."""
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
