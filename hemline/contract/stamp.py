"""The stamp that makes an artifact describe itself, and the check that it was not altered.

TFLite: a zip archive with one member, hemline.json, behind the flatbuffer (interpreters ignore what
follows it); the hash covers the bytes before the archive. ONNX: the JSON is the metadata property
"hemline"; the hash covers the whole file with its own 64 digits set to zero. It finds damage and
accidental changes before a native parser sees a byte; it is no signature: whoever crafts a file can
stamp it too.

Formats: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT (zip),
https://protobuf.dev/programming-guides/encoding/ (the wire format), ModelProto.metadata_props = 14.
"""

import dataclasses
import hashlib
import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from hemline.contract.class_distance import ClassDistance
from hemline.contract.frozen import dataclass
from hemline.contract.monitoring import Reference
from hemline.contract.schema import added, from_document, to_document
from hemline.contract.specs import (
    Format,
    InputSpec,
    NamedOutputs,
    OutputSpec,
    Preprocessing,
    SupportedRuntime,
    upgrade_outputs,
)
from hemline.contract.test_vector import TestVector
from hemline.errors import FileFormatError, UnstampedError, UnsupportedRuntimeError, remedy
from hemline.files import parse_json, read_bytes
from hemline.version import VERSION

MEMBER = "hemline.json"
ONNX_KEY = "hemline"
_UNHASHED = "0" * 64
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can hold: equal files for equal input
LARGEST_STAMP_BYTES = 1 << 20  # a stamp has a few kB; more is an attack or an accident


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp(NamedOutputs):
    """What an artifact says of itself.

    name: file name at export, <scheme>.<format>.
    scheme: name of the scheme; foreign for a file made elsewhere.
    format: tflite or onnx.
    model: name in the MODELS table; of a foreign file, its name without the ending.
    labels: class names in the order of the logits.
    input: how pixels become the input tensor.
    outputs: what the model gives: the logits, and perhaps an embedding and taps.
    supported_runtimes: runtimes in which it must be right; the loader refuses others.
    temperature: divides the logits before softmax.
    unknown_threshold: highest score of a prediction that is "unknown"; unused with a distance.
    tolerance: largest difference from the test vectors' logits that is still right; from their
        probabilities where the model gives these.
    test_vectors: images of a published data set with the source model's logits; else generated
        ones with the file's own, from the first runtime it ran in.
    parent_sha256: of the checkpoint; of the foreign file as it came.
    calibration_sha256: of the calibration images; None where none were needed.
    payload_sha256: of the model bytes (see the module's text); empty until they are stamped.
    hemline_version: that wrote the file.
    preprocessing: how images of another size become the model's.
    takes_batches: whether several images may go in at once; False for a foreign model made for one.
    distance: to the classes in the space of the embedding, which then decides what is "unknown";
        None where the score decides.
    reference: what it predicts on validation images, for monitoring; None without such images.
    """

    KIND: ClassVar[str] = "stamp"
    SCHEMA: ClassVar[int] = 6

    name: str
    scheme: str
    format: Format
    model: str
    labels: tuple[str, ...]
    input: InputSpec
    outputs: tuple[OutputSpec, ...]
    supported_runtimes: tuple[SupportedRuntime, ...]
    temperature: float = 1.0
    unknown_threshold: float = 0.0
    tolerance: float = 0.0
    test_vectors: tuple[TestVector, ...] = ()
    parent_sha256: str
    calibration_sha256: str | None = None
    payload_sha256: str = ""
    hemline_version: str = VERSION
    preprocessing: Preprocessing = added("stretch")
    takes_batches: bool = added(True)
    distance: ClassDistance | None = added(None)
    reference: Reference | None = added(None)

    def __post_init__(self) -> None:
        self.require_outputs()
        if len(self.labels) != self.output.size:
            raise ValueError(f"{len(self.labels)} labels for {self.output.size} classes")
        if not self.temperature > 0:
            raise ValueError("temperature must be positive")
        for vector in self.test_vectors:
            if len(vector.logits) != self.output.size:
                raise ValueError(
                    f"a test vector has {len(vector.logits)} logits for {self.output.size} classes"
                )
        if self.distance is not None:
            self.distance.require_fit(self.embedding, len(self.labels))
        if self.reference is not None and len(self.reference.counts.labels) != len(self.labels) + 1:
            raise ValueError(f"the reference must count {len(self.labels)} classes, and unknown")
        if Path(self.name).name != self.name or self.name == "..":  # files are written under it
            raise ValueError("the name must be that of a file, without folders")
        digest = self.payload_sha256
        if len(digest) not in (0, 64) or digest.strip("0123456789abcdef"):
            raise ValueError("payload_sha256 must be 64 hexadecimal digits")
        try:
            "".join((self.name, self.scheme, self.model, *self.labels)).encode()
        except UnicodeEncodeError as error:
            raise ValueError("a name or a label is not valid text") from error

    @staticmethod
    def upgraded(document: dict[str, Any], schema: int) -> dict[str, Any]:
        """Bring a stamp of schema 1 to 5 to this one.

        Supported runtimes were called claims; there was one output, perhaps with an embedding; mean
        and std were one number for all channels, which they still may be.
        """
        if schema < 3:
            document["supported_runtimes"] = document.pop("claims")
        if schema < 4:
            upgrade_outputs(document)
        return document

    def supports(self, runtime: str, version: str) -> bool:
        """Tell whether the file supports `runtime` at `version`."""
        return any(each.admits(runtime, version) for each in self.supported_runtimes)

    def require_supported(self, runtime: str, version: str) -> None:
        """Raise UnsupportedRuntimeError unless the file supports `runtime` at `version`."""
        if self.supports(runtime, version):
            return
        supported = ", ".join(
            f"{each.runtime} >= {each.minimum}" for each in self.supported_runtimes
        )
        raise UnsupportedRuntimeError(
            f"{self.name} does not support {runtime} {version}: "
            f"use {supported or 'another artifact'}"
        )


class StampedFile(NamedTuple):
    """An artifact whose stamp and hash were checked: its stamp and the model bytes to open."""

    stamp: Stamp
    model: bytes


def read_stamped(path: Path) -> StampedFile:
    """Read an artifact, check its hash against its stamp.

    Raises UnstampedError for a file without a stamp, FileFormatError for one that was altered.
    """
    content = read_bytes(path)
    if path.suffix == ".tflite" or content[4:8] == b"TFL3":
        return _read_tflite(path, content)
    if path.suffix == ".onnx":
        return _read_onnx(path, content)
    raise FileFormatError(f"{path} is neither a .tflite nor an .onnx file: name an artifact")


def stamp_tflite(model: bytes, stamp: Stamp) -> bytes:
    """Return the TFLite flatbuffer `model` with `stamp` behind it."""
    import io
    import zipfile

    stamp = dataclasses.replace(stamp, payload_sha256=hashlib.sha256(model).hexdigest())
    stream = io.BytesIO(model)
    stream.seek(0, io.SEEK_END)
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr(zipfile.ZipInfo(MEMBER, _ZIP_EPOCH), _text(stamp), zipfile.ZIP_DEFLATED)
    return stream.getvalue()


def stamp_onnx(model: bytes, stamp: Stamp) -> bytes:
    """Return the serialized ONNX ModelProto `model` with `stamp` as a metadata property.

    The property is appended: a repeated field may stand anywhere in a protobuf message.
    """
    text = _text(dataclasses.replace(stamp, payload_sha256=_UNHASHED)).encode()
    entry = _field(1, ONNX_KEY.encode()) + _field(2, text)
    zeroed = model + _field(14, entry)
    at = len(zeroed) - len(text) + text.index(_UNHASHED.encode())
    digest = hashlib.sha256(zeroed).hexdigest().encode()
    return zeroed[:at] + digest + zeroed[at + 64 :]


def stamp_bytes(stamp: Stamp) -> int:
    """Return the size of a stamp's text in a file; above LARGEST_STAMP_BYTES it is not read."""
    return len(_text(dataclasses.replace(stamp, payload_sha256=_UNHASHED)))  # JSON in ASCII


def _text(stamp: Stamp) -> str:
    return json.dumps(to_document(stamp), separators=(",", ":"), allow_nan=False)


def _parse(text: bytes, path: Path) -> Stamp:
    if len(text) > LARGEST_STAMP_BYTES:
        raise FileFormatError(f"the stamp of {path} has {len(text)} bytes: not a Hemline stamp")
    where = f"the stamp of {path}"
    return from_document(Stamp, parse_json(text, where=where), where=where)


def _unstamped(path: Path) -> UnstampedError:
    return UnstampedError(f"{path} has no Hemline stamp", remedy=remedy("admit", path=path))


def _altered(path: Path) -> FileFormatError:
    return FileFormatError(
        f"{path} was modified: its bytes differ from the stamped hash; copy it again"
    )


def _read_tflite(path: Path, content: bytes) -> StampedFile:
    try:
        model, text = _split_archive(content)
    except (struct.error, zlib.error, ValueError) as error:
        raise _unstamped(path) from error
    stamp = _parse(text, path)
    if hashlib.sha256(model).hexdigest() != stamp.payload_sha256:
        raise _altered(path)
    return StampedFile(stamp=stamp, model=model)


def _split_archive(content: bytes) -> tuple[bytes, bytes]:
    """Return the bytes before a zip archive of one member, and that member's content.

    By hand, because importing zipfile takes longer than all the rest of reading an artifact.
    Raises ValueError, struct.error or zlib.error for anything but what stamp_tflite writes.
    """
    end = struct.unpack("<4s4H2LH", content[-22:])
    at = end[6]
    entry = struct.unpack("<4s6H3L5H2L", content[at : at + 46])
    name = content[at + 46 : at + 46 + entry[10]]
    if end[0] != b"PK\5\6" or entry[0] != b"PK\1\2" or end[4] != 1 or name != MEMBER.encode():
        raise ValueError("not an archive of one member")
    checksum, packed, size, start = entry[7], entry[8], entry[9], entry[16]
    local = struct.unpack("<4s5H3L2H", content[start : start + 30])
    body = start + 30 + local[9] + local[10]
    if local[0] != b"PK\3\4" or size > LARGEST_STAMP_BYTES or body + packed != at:
        raise ValueError("the member is not at the offset in the directory")
    text = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content[body:at], size + 1)
    if len(text) != size or zlib.crc32(text) != checksum:
        raise ValueError("the member is damaged")
    return content[:start], text


def _read_onnx(path: Path, content: bytes) -> StampedFile:
    start, end = _onnx_stamp_span(content, path)
    stamp = _parse(content[start:end], path)
    at = content.find(stamp.payload_sha256.encode(), start, end)
    if len(stamp.payload_sha256) != 64 or at < 0:
        raise _altered(path)
    zeroed = content[:at] + _UNHASHED.encode() + content[at + 64 :]
    if hashlib.sha256(zeroed).hexdigest() != stamp.payload_sha256:
        raise _altered(path)
    return StampedFile(stamp=stamp, model=content)


def _onnx_stamp_span(content: bytes, path: Path) -> tuple[int, int]:
    try:
        for number, start, end in message_fields(content, 0, len(content)):
            if number != 14:
                continue
            entry = {n: (a, b) for n, a, b in message_fields(content, start, end)}
            if 1 in entry and content[slice(*entry[1])] == ONNX_KEY.encode() and 2 in entry:
                return entry[2]
    except (IndexError, ValueError) as error:
        raise _unstamped(path) from error
    raise _unstamped(path)


def message_fields(content: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield (field number, start, end) of each length-delimited field of a protobuf message."""
    while at < end:
        tag, at = varint(content, at)
        wire = tag & 7
        if wire == 0:
            _, at = varint(content, at)
        elif wire == 2:
            size, at = varint(content, at)
            if at + size > end:
                raise ValueError("a field is longer than its message")
            yield tag >> 3, at, at + size
            at += size
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")


def varint(content: bytes, at: int) -> tuple[int, int]:
    """Return a number of a protobuf message, and where it ends."""
    value = shift = 0
    while True:
        byte = content[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number is longer than 64 bits")


def _field(number: int, payload: bytes) -> bytes:
    return _as_varint(number << 3 | 2) + _as_varint(len(payload)) + payload


def _as_varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
