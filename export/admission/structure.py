"""What can be seen in a model file without a native parser: its format, whether it is whole.

TFLite: the tables of its flatbuffer are followed (https://flatbuffers.dev/internals; the numbers of
fields are those of TensorFlow Lite's schema.fbs). ONNX: the fields of its protobuf message
(onnx.proto3). Everything here is plain Python, which a crafted file cannot crash.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hemline.contract.specs import Format
from hemline.contract.stamp import message_fields
from hemline.errors import FileFormatError

# BuiltinOperator: CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED, TRANSPOSE_CONV, BATCH_MATMUL
_TFLITE_WEIGHTED = {3, 4, 9, 67, 126}
_TFLITE_EIGHT_BIT = {3, 9, 17}  # TensorType: UINT8, INT8, INT4
_ONNX_WEIGHTED = ("Conv", "Gemm", "MatMul")  # in QLinearConv and MatMulInteger too
_ONNX_EIGHT_BIT = ("Quantize", "QLinear", "QGemm", "Integer")
# message to its fields that can hold tensors, by number
_ONNX_NESTED: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
    "node": {5: "attribute"},
    "attribute": {
        5: "tensor",
        6: "graph",
        10: "tensor",
        11: "graph",
        22: "sparse tensor",
        23: "sparse tensor",
    },
    "sparse tensor": {1: "tensor", 2: "tensor"},
}
_ONNX_DEEPEST = 100  # messages in each other; protobuf's own parsers go no deeper

# first bytes: what such a file is, and what to do
_KINDS: tuple[tuple[bytes, str], ...] = (
    (b"PK\3\4", "a zip archive (.keras files are zip archives too): unpack or convert it first"),
    (b"\x1f\x8b", "a gzip archive: unpack it first"),
    (b"\x89HDF", "an HDF5 file, as Keras writes: convert it to .tflite or .onnx first"),
    (b"version https://git-lfs", "a Git LFS pointer, not the model: run `git lfs pull`"),
    (b"<", "an HTML or XML page: the download returned no model; download it again"),
    (b"{", "a JSON file: name the model file itself"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Structure:
    """What a model file is made of.

    format: tflite or onnx.
    model: its bytes, without an archive behind them.
    external: whether an ONNX model has weights in other files.
    weighted_layers: number of convolutions and matrix products.
    eight_bit: whether there are 8-bit numbers in it.
    """

    format: Format
    model: bytes
    weighted_layers: int
    eight_bit: bool
    external: bool = False


def structure_of(path: Path, content: bytes) -> Structure:
    """Return what the bytes of `path` are; raises FileFormatError for anything but a model."""
    if not content:
        raise FileFormatError(f"{path} is empty: copy it again")
    if content[4:8] == b"TFL3":
        return _tflite(path, _without_archive(content))
    if content[4:8] == b"3LFT":
        raise FileFormatError(f"{path} has swapped bytes: export it as little-endian")
    for start, kind in _KINDS:
        if content[:64].lstrip().startswith(start):
            raise FileFormatError(f"{path} is {kind}")
    if all(byte > 31 or byte in b"\t\n\r\f" for byte in content[:512]):
        raise FileFormatError(f"{path} is a text file: name the model file itself")
    if path.suffix == ".onnx":
        return _onnx(path, content)
    raise FileFormatError(f"{path} is not a TFLite model (no TFL3 identifier); copy it again")


def _damaged(path: Path) -> FileFormatError:
    return FileFormatError(f"{path} is truncated or damaged: copy it again")


def _without_archive(content: bytes) -> bytes:
    """Return a flatbuffer without the archive of labels that some tools put behind it."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            start = min(entry.header_offset for entry in archive.infolist())
    # zipfile lets all of these through when it reads a directory that was made up
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError, struct.error):
        return content
    return content[:start] if start > 8 else content


def _tflite(path: Path, content: bytes) -> Structure:
    try:
        if _unsigned(content, 0) >= len(content) > int.from_bytes(content[:4], "big"):
            raise FileFormatError(f"{path} stores big-endian numbers: export it as little-endian")
        model = _Table(content, _unsigned(content, 0))
        codes = [max(table.byte(0), table.integer(3)) for table in model.tables(1)]
        graph = next(model.tables(2))
        for buffer in model.tables(4):
            buffer.require_bytes(0)
        operators = [codes[table.integer(0)] for table in graph.tables(3)]
        types = {table.byte(1) for table in graph.tables(0)}
    except (struct.error, IndexError, ValueError, StopIteration) as error:
        raise _damaged(path) from error
    return Structure(
        format="tflite",
        model=content,
        weighted_layers=sum(code in _TFLITE_WEIGHTED for code in operators),
        eight_bit=bool(types & _TFLITE_EIGHT_BIT),
    )


class _Table:
    """A flatbuffer table; every reader raises ValueError or struct.error outside the file."""

    def __init__(self, content: bytes, at: int) -> None:
        self._content, self._at = content, at
        self._fields = at - struct.unpack_from("<i", content, at)[0]
        if self._fields < 0:
            raise ValueError("a table points before the start of the file")
        self._size = struct.unpack_from("<H", content, self._fields)[0]

    def _field(self, number: int) -> int | None:
        """Return where a field is stored; None where it has its default."""
        entry = 4 + 2 * number
        if entry + 2 > self._size:
            return None
        offset = struct.unpack_from("<H", self._content, self._fields + entry)[0]
        return self._at + offset if offset else None

    def byte(self, number: int) -> int:
        """Return a byte field."""
        at = self._field(number)
        return 0 if at is None else self._content[at]

    def integer(self, number: int) -> int:
        """Return a 32-bit field."""
        at = self._field(number)
        return 0 if at is None else _unsigned(self._content, at)

    def tables(self, number: int) -> Iterator[_Table]:
        """Yield the tables of a vector field."""
        at = self._field(number)
        if at is None:
            return
        start, count = self._vector(at, 4)
        for each in range(start, start + 4 * count, 4):
            yield _Table(self._content, each + _unsigned(self._content, each))

    def require_bytes(self, number: int) -> None:
        """Raise ValueError unless all of a vector of bytes is there."""
        at = self._field(number)
        if at is not None:
            self._vector(at, 1)

    def _vector(self, at: int, size: int) -> tuple[int, int]:
        """Return where the first item of a vector is, and the number of items."""
        start = at + _unsigned(self._content, at)
        count = _unsigned(self._content, start)
        if start + 4 + size * count > len(self._content):
            raise ValueError("a vector extends beyond the end of the file")
        return start + 4, count


def _unsigned(content: bytes, at: int) -> int:
    value: int = struct.unpack_from("<I", content, at)[0]
    return value


def _onnx(path: Path, content: bytes) -> Structure:
    try:
        graphs = [span for number, *span in message_fields(content, 0, len(content)) if number == 7]
        fields = [each for start, end in graphs for each in message_fields(content, start, end)]
        operators = [_operator(content, start, end) for number, start, end in fields if number == 1]
        external = _names_a_file(content, "model", 0, len(content))
    except (IndexError, ValueError) as error:
        raise _damaged(path) from error
    if not operators:
        raise FileFormatError(f"{path} is not an ONNX model (no graph); copy it again")
    return Structure(
        format="onnx",
        model=content,
        weighted_layers=sum(any(word in name for word in _ONNX_WEIGHTED) for name in operators),
        eight_bit=any(word in name for name in operators for word in _ONNX_EIGHT_BIT),
        external=external,
    )


def _operator(content: bytes, start: int, end: int) -> str:
    """Return the op_type of a NodeProto."""
    fields = {number: span for number, *span in message_fields(content, start, end)}
    at, to = fields.get(4, (0, 0))
    return content[at:to].decode("utf-8", "replace")


def _names_a_file(content: bytes, message: str, start: int, end: int, depth: int = 1) -> bool:
    """Tell whether a tensor anywhere in a message lies in another file (external_data)."""
    if depth > _ONNX_DEEPEST:
        raise ValueError("messages are nested too deeply")
    fields = message_fields(content, start, end)
    if message == "tensor":
        return any(number == 13 for number, _, _ in fields)
    nested = _ONNX_NESTED[message]
    return any(
        _names_a_file(content, nested[number], at, to, depth + 1)
        for number, at, to in fields
        if number in nested
    )
