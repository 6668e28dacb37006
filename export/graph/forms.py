"""Any form that people have, as one with a float image of a known size in and opset 17.

Layout, types and versions change here; the operators are those of the source.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, version_converter

from hemline.errors import FileFormatError, first_line
from hemline.export.graph.editing import OPSET, opset_of

Layout = Literal["nchw", "nhwc", "nhw"]
_FLOATS = (TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
_NUMBERS = {
    TensorProto.FLOAT,
    *_FLOATS,
    TensorProto.UINT8,
    TensorProto.INT8,
    TensorProto.INT16,
    TensorProto.UINT16,
    TensorProto.INT32,
    TensorProto.UINT32,
    TensorProto.INT64,
    TensorProto.UINT64,
}
_CHANNELS = (1, 3, 4)  # gray, colour, colour and opacity
_NEWEST = 23  # the last opset that was tried
_OLDEST = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceInput:
    """How a source takes images.

    name: of the input.
    layout: order of its dimensions; "nhw" has none for the channel, which is gray.
    shape: with batch 1.
    """

    name: str
    layout: Layout
    shape: tuple[int, ...]

    @property
    def pixels(self) -> tuple[int, int, int]:
        """Return height, width and channels."""
        if self.layout == "nhw":
            return (*self.shape[1:], 1)  # type: ignore[return-value] # three numbers
        _, *inner = self.shape
        height, width, channels = inner if self.layout == "nhwc" else (*inner[1:], inner[0])
        return height, width, channels


def source_input(
    proto: onnx.ModelProto, *, size: tuple[int, int] | None = None, layout: Layout | None = None
) -> SourceInput:
    """Return how a model takes images; `size` is height and width where the file leaves them open.

    Raises FileFormatError for what is not one image.
    """
    constant = {each.name for each in proto.graph.initializer}
    inputs = [each for each in proto.graph.input if each.name not in constant]
    if len(inputs) != 1:
        names = ", ".join(each.name for each in inputs) or "none"
        raise FileFormatError(f"an image classifier has one input, this model has: {names}")
    (image,) = inputs
    if not image.type.HasField("tensor_type") or not image.type.tensor_type.HasField("shape"):
        raise FileFormatError(f"the input {image.name} is not a tensor of known rank")
    if image.type.tensor_type.elem_type not in _NUMBERS:
        kind = TensorProto.DataType.Name(image.type.tensor_type.elem_type)
        raise FileFormatError(f"the input {image.name} has type {kind}, which cannot hold pixels")
    dims = [each.dim_value for each in image.type.tensor_type.shape.dim]
    found = layout or _layout(image.name, dims)
    shape = _with_size(dims, found, size)
    if not all(shape):
        raise FileFormatError(f"the input {image.name} has no fixed size {_described(image)}")
    return SourceInput(name=image.name, layout=found, shape=(1, *shape[1:]))


def _layout(name: str, dims: list[int]) -> Layout:
    if len(dims) == 3:
        return "nhw"
    if len(dims) != 4:
        raise FileFormatError(f"the input {name} has {len(dims)} dimensions, not those of an image")
    if dims[1] in _CHANNELS:
        return "nhwc" if dims[3] in _CHANNELS and dims[1] not in (1, 3) else "nchw"
    if dims[3] in _CHANNELS:
        return "nhwc"
    raise FileFormatError(f"the input {name} {dims} has no dimension of 1, 3 or 4 channels")


def _with_size(dims: list[int], layout: Layout, size: tuple[int, int] | None) -> list[int]:
    """Return the dimensions with batch 1, and with a height and width where they are open."""
    first = 2 if layout == "nchw" else 1
    shape = [1, *dims[1:]]
    if size is not None:
        for at, side in enumerate(size, first):
            if shape[at] not in (0, side):
                raise FileFormatError(f"the model accepts images of {shape[at]}, not {side}")
            shape[at] = side
    return shape


def _described(value: onnx.ValueInfoProto) -> str:
    dims = value.type.tensor_type.shape.dim
    return "(" + ", ".join(each.dim_param or str(each.dim_value or "?") for each in dims) + ")"


def static_form(proto: onnx.ModelProto, image: SourceInput) -> onnx.ModelProto:
    """Return a copy with float32 throughout, batch 1 and static shapes, at opset 17 or later.

    Raises FileFormatError for a version of the operators that was not tried.
    """
    opset = opset_of(proto)
    if not _OLDEST <= opset <= _NEWEST:
        raise FileFormatError(f"opset {opset} is not one of {_OLDEST} to {_NEWEST}")
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    batch = _fix_input(copy, image)
    _fix_outputs(copy)
    _in_float32(copy.graph)
    _let_batch_open(copy.graph, batch)
    if opset < OPSET:
        copy = _upgraded(copy)
    return copy


def _upgraded(proto: onnx.ModelProto) -> onnx.ModelProto:
    try:
        return version_converter.convert_version(proto, OPSET)
    except Exception as error:
        reason = str(error).strip().splitlines()[-1]
        raise FileFormatError(
            f"operators of opset {opset_of(proto)} cannot be converted to {OPSET}: {reason}"
        ) from error


def _fix_input(proto: onnx.ModelProto, image: SourceInput) -> int:
    """Give the input its shape, remove weights from the inputs; return the old batch, 0 if open."""
    (value,) = (each for each in proto.graph.input if each.name == image.name)
    batch = value.type.tensor_type.shape.dim[0].dim_value
    kept = onnx.helper.make_tensor_value_info(image.name, TensorProto.FLOAT, image.shape)
    del proto.graph.input[:]
    proto.graph.input.append(kept)
    del proto.graph.value_info[:]
    proto.ir_version = max(proto.ir_version, 8)
    return int(batch)


def _fix_outputs(proto: onnx.ModelProto) -> None:
    """Leave the shapes of outputs open: those in a file are often wrong for batch 1."""
    for value in proto.graph.output:
        if not value.type.HasField("tensor_type"):
            raise FileFormatError(f"the output {value.name} is not a tensor")
        kind = value.type.tensor_type.elem_type
        value.type.tensor_type.Clear()
        value.type.tensor_type.elem_type = TensorProto.FLOAT if kind in _FLOATS else kind


def _in_float32(graph: onnx.GraphProto) -> None:
    """Let everything that computes in another float type compute in float32."""
    for tensor in graph.initializer:
        if tensor.data_type in _FLOATS:
            tensor.CopyFrom(_as_float32(tensor))
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type in _FLOATS:
                attribute.t.CopyFrom(_as_float32(attribute.t))
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i in _FLOATS:
                attribute.i = TensorProto.FLOAT


def _as_float32(tensor: onnx.TensorProto) -> onnx.TensorProto:
    array = onnx.numpy_helper.to_array(tensor).astype(np.float32)
    return onnx.numpy_helper.from_array(array, tensor.name)


def _let_batch_open(graph: onnx.GraphProto, batch: int) -> None:
    """Have each Reshape that names a fixed batch above 1 find it instead."""
    if batch <= 1:
        return
    shapes = {node.input[1] for node in graph.node if node.op_type == "Reshape"}
    for tensor in _int_constants(graph, shapes):
        values = onnx.numpy_helper.to_array(tensor).copy()
        if values.size and values[0] == batch and -1 not in values:
            values[0] = -1
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))


def _int_constants(graph: onnx.GraphProto, names: Iterable[str]) -> Iterator[onnx.TensorProto]:
    wanted = set(names)
    yield from (each for each in graph.initializer if each.name in wanted)
    for node in graph.node:
        if node.op_type == "Constant" and node.output[0] in wanted:
            yield from (each.t for each in node.attribute if each.name == "value")


def folded(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with everything computed that does not depend on the image.

    ONNX Runtime does it; what it would fuse or move as well is left to the passes here, which do
    the same with every version of it.
    """
    import onnxruntime

    from hemline.folders import TemporaryFolder

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3
    with TemporaryFolder() as folder:
        options.optimized_model_filepath = f"{folder}/folded.onnx"
        try:
            onnxruntime.InferenceSession(
                proto.SerializeToString(),
                options,
                providers=["CPUExecutionProvider"],
                disabled_optimizers=_LEFT_OUT,
            )
        except Exception as error:
            raise FileFormatError(f"ONNX Runtime rejects the model: {first_line(error)}") from error
        simplified = onnx.load(options.optimized_model_filepath)
    return onnx.shape_inference.infer_shapes(simplified, data_prop=True)


_LEFT_OUT = ["MatMulAddFusion", "TransposeOptimizer", "ConstantSharing", "PadFusion"]
