"""Float ONNX files, with their weights inside or in files beside them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hemline.errors import FileFormatError, first_line, remedy
from hemline.export.importing.opened import ConversionOptions, OpenedModel, Values, image_shape
from hemline.export.pixel_scale import PixelScale
from hemline.provenance import versions

_QUANTIZED = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear")
_CHANNELS = (1, 3)


def open_onnx(path: Path, options: ConversionOptions) -> OpenedModel:
    """Open an ONNX file and, where it names them, the files of its weights in the same folder."""
    import onnx

    proto = read_whole(path)
    try:
        if not all(value.type.tensor_type.HasField("shape") for value in proto.graph.output):
            proto = onnx.shape_inference.infer_shapes(proto)
        onnx.checker.check_model(proto)
    except onnx.checker.ValidationError as error:
        raise FileFormatError(f"is not a valid ONNX model ({first_line(error)})") from error
    _require_float(proto)
    stored = {value.name for value in proto.graph.initializer}
    inputs = [value for value in proto.graph.input if value.name not in stored]
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs) or "none"
        raise FileFormatError(f"has {len(inputs)} inputs ({names}): a classifier has one")
    if len(proto.graph.output) != 1:
        names = ", ".join(value.name for value in proto.graph.output)
        raise FileFormatError(
            f"has {len(proto.graph.output)} outputs ({names}): a classifier has one"
        )
    return _opened(proto, inputs[0], options)


def _opened(proto: Any, source: Any, options: ConversionOptions) -> OpenedModel:
    import onnx

    tensor = source.type.tensor_type
    sizes = tuple(dim.dim_value or None for dim in tensor.shape.dim)
    first = len(sizes) == 4 and sizes[1] in _CHANNELS and sizes[3] not in _CHANNELS
    shape = image_shape(sizes, options.size, channels_first=first)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    whole = np.issubdtype(dtype, np.integer)  # such a model takes the pixels as they are
    return OpenedModel(
        shape=shape,
        run=_Runner(proto, source.name, dtype, sizes[0] or 1),
        to_onnx=lambda: proto,
        versions=versions(("onnx", "onnxruntime")),
        scale=PixelScale.of_range(0, 255) if whole else None,
        whole=whole,
    )


class _Runner:
    """Runs images in ONNX Runtime, by batches of the size that the model has."""

    def __init__(self, proto: Any, name: str, dtype: Any, batch: int) -> None:
        from onnxruntime import InferenceSession, SessionOptions

        options = SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            self._session = InferenceSession(
                proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        # what ONNX Runtime raises shares no base class
        except Exception as error:
            raise FileFormatError(
                f"cannot be opened by ONNX Runtime ({first_line(error)})"
            ) from error
        self._name, self._dtype, self._batch = name, dtype, batch

    def __call__(self, images: Values) -> npt.NDArray[Any]:
        """Return the outputs of images (n, *shape), (n, values)."""
        rows = []
        for at in range(0, len(images), self._batch):
            batch = np.resize(images[at : at + self._batch], (self._batch, *images.shape[1:]))
            part = np.asarray(self._session.run(None, {self._name: batch.astype(self._dtype)})[0])
            rows.append(part.reshape(self._batch, -1))
        found: npt.NDArray[Any] = np.concatenate(rows)[: len(images)]
        return found


def read_whole(path: Path) -> Any:
    """Return a ModelProto with the weights of the files beside it; raises FileFormatError."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        proto = onnx.load(path, load_external_data=False)
    except (DecodeError, OSError, ValueError) as error:
        raise FileFormatError("is not a complete ONNX file") from error
    if not proto.graph.node:
        raise FileFormatError("is not an ONNX model: it has no operators")
    for tensor in _tensors(proto.graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            _require_beside(path, tensor)
    try:
        onnx.load_external_data_for_model(proto, str(path.parent))
    # what onnx raises shares no base class
    except Exception as error:
        raise FileFormatError(f"has unreadable weights ({first_line(error)})") from error
    return proto


def _tensors(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from ([attribute.t] if attribute.HasField("t") else [])
            yield from attribute.tensors
            for inner in ([attribute.g] if attribute.HasField("g") else []) + list(
                attribute.graphs
            ):
                yield from _tensors(inner)


def _require_beside(path: Path, tensor: Any) -> None:
    """Raise FileFormatError for weights in a file outside the model's folder, or a missing one."""
    location = next((each.value for each in tensor.external_data if each.key == "location"), "")
    target = path.parent / location
    inside = target.resolve().is_relative_to(path.parent.resolve())
    if not location or Path(location).is_absolute() or ".." in Path(location).parts or not inside:
        raise FileFormatError(f"reads weights from {location!r}, outside its folder")
    if not target.is_file():
        raise FileFormatError(
            f"reads weights from {location!r}, which is missing", remedy=remedy("weights beside")
        )


def _require_float(proto: Any) -> None:
    for node in proto.graph.node:
        if node.op_type in _QUANTIZED or node.op_type.startswith("QLinear"):
            raise FileFormatError(
                f"is already quantized ({node.op_type} {node.name})".replace(" )", ")"),
                remedy=remedy("admit quantized"),
            )
