"""Float TFLite files."""

from __future__ import annotations

import io
import logging
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hemline.errors import FileFormatError, remedy
from hemline.export.importing.opened import ConversionOptions, OpenedModel, Values, image_shape
from hemline.provenance import versions

_OPSET = 17
_IDENTIFIER = b"TFL3"


def open_tflite(path: Path, options: ConversionOptions) -> OpenedModel:
    """Open a TFLite file with float weights."""
    from ai_edge_litert.interpreter import Interpreter

    content = path.read_bytes()
    if content[4:8] != _IDENTIFIER:
        raise FileFormatError("is not a TFLite file")
    try:
        interpreter = Interpreter(model_content=content, num_threads=1)
    except (ValueError, RuntimeError) as error:
        raise FileFormatError(f"cannot be opened by LiteRT ({error})") from error
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    if len(inputs) != 1 or len(outputs) != 1:
        raise FileFormatError(
            f"has {len(inputs)} inputs and {len(outputs)} outputs: a classifier has one of each"
        )
    _require_float(interpreter)
    free = tuple(None if size < 0 else int(size) for size in inputs[0]["shape_signature"])
    known = free or tuple(int(size) for size in inputs[0]["shape"])
    shape = image_shape(known, options.size)
    runner = _Runner(interpreter, shape)
    return OpenedModel(
        shape=shape,
        run=runner,
        to_onnx=lambda: _to_onnx(path, shape),
        versions=versions(("ai-edge-litert", "tf2onnx")),
        labels=_labels(content),
    )


class _Runner:
    """Runs images one at a time."""

    def __init__(self, interpreter: Any, shape: tuple[int, ...]) -> None:
        self._interpreter = interpreter
        self._input = interpreter.get_input_details()[0]["index"]
        self._output = interpreter.get_output_details()[0]["index"]
        interpreter.resize_tensor_input(self._input, (1, *shape))
        interpreter.allocate_tensors()

    def __call__(self, images: Values) -> npt.NDArray[Any]:
        """Return the outputs of images (n, *shape), float32 (n, values)."""
        rows = []
        for image in images:
            self._interpreter.set_tensor(self._input, image[np.newaxis])
            self._interpreter.invoke()
            rows.append(self._interpreter.get_tensor(self._output).reshape(-1).copy())
        return np.stack(rows)


def _require_float(interpreter: Any) -> None:
    eight_bit = [
        detail["name"]
        for detail in interpreter.get_tensor_details()
        if detail["dtype"] in (np.int8, np.uint8) and detail["quantization"][0] > 0
    ]
    if eight_bit:
        raise FileFormatError(
            f"is already quantized (tensor {eight_bit[0]})", remedy=remedy("admit quantized")
        )
    dtype = np.dtype(interpreter.get_input_details()[0]["dtype"]).name
    if dtype != "float32":
        raise FileFormatError(f"accepts {dtype}: a float model accepts float32")


class _Errors(logging.Handler):
    """Keeps what tf2onnx logs of operators that it leaves out."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(" ".join(record.getMessage().split()))


def _to_onnx(path: Path, shape: tuple[int, ...]) -> Any:
    import onnx
    import tf2onnx

    errors = _Errors()
    logger = logging.getLogger("tf2onnx")
    logger.addHandler(errors)
    try:
        proto, _ = tf2onnx.convert.from_tflite(str(path), opset=_OPSET)
    finally:
        logger.removeHandler(errors)
    domains = sorted(
        {node.op_type for node in proto.graph.node if node.domain not in ("", "ai.onnx")}
    )
    known = {schema.name for schema in onnx.defs.get_all_schemas()}
    unknown = domains or sorted({node.op_type for node in proto.graph.node} - known)
    if unknown:
        raise FileFormatError(f"has the operator {unknown[0]}, which has no ONNX form")
    if errors.lines:
        raise FileFormatError(f"cannot be converted to ONNX ({errors.lines[0][:200]})")
    for axis, size in enumerate(shape, start=1):
        proto.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = size
    return proto


def _labels(content: bytes) -> tuple[str, ...]:
    """Return the lines of the label file that TFLite metadata appends to a model, if any."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = [each for each in archive.namelist() if each.endswith(".txt")]
            if len(names) != 1 or archive.getinfo(names[0]).file_size > 1 << 20:
                return ()
            text = archive.read(names[0]).decode("utf-8", "replace")
    except (zipfile.BadZipFile, OSError, RuntimeError):
        return ()
    return tuple(line.strip() for line in text.splitlines() if line.strip())
