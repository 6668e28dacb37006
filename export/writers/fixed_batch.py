"""Close the batch of a file: one image at a time.

For compilers and microcontrollers that refuse a dimension whose size is not known.
"""

from __future__ import annotations

from dataclasses import replace

from hemline.contract.specs import Format
from hemline.export.writers.converted import ConvertedModel


def with_batch_of_one(converted: ConvertedModel, file_format: Format) -> ConvertedModel:
    """Return a file that accepts one image."""
    close = _closed_tflite if file_format == "tflite" else _closed_onnx
    return replace(converted, content=close(converted.content))


def _closed_tflite(content: bytes) -> bytes:
    from hemline.model_files.flatbuffer import packed, unpacked

    model = unpacked(content)
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            tensor.shapeSignature = None  # it has -1 where the shape, with one image, has 1
    return packed(model)


def _closed_onnx(content: bytes) -> bytes:
    import onnx

    from hemline.export.graph import editing

    proto = onnx.load_from_string(content)
    for value in (*proto.graph.input, *proto.graph.output):
        first = value.type.tensor_type.shape.dim[0]
        if first.dim_param:
            first.dim_param = editing.BATCH  # converters have names of their own for it
    closed: bytes = editing.with_batch_of_one(proto).SerializeToString()
    return closed
