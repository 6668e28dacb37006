"""The tables of a TFLite file, to change and write again, by the schema that LiteRT brings."""

from __future__ import annotations

from typing import Any

import flatbuffers  # type: ignore[import-untyped]  # it has no stubs
from ai_edge_litert import schema_py_generated as schema


def unpacked(content: bytes) -> Any:
    """Return the tables of a model, a ModelT."""
    return schema.ModelT.InitFromPackedBuf(content, 0)


def packed(model: Any) -> bytes:
    """Return the bytes of a model's tables."""
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
