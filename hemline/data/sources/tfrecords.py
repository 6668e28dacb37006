"""Read TFRecord files of tf.train.Example without TensorFlow.

A record is its length (uint64), the length's checksum, the data and their checksum: masked CRC-32C
(https://www.tensorflow.org/tutorials/load_data/tfrecord). The names of features are those that
TensorFlow Datasets and TensorFlow's own scripts write.
"""

from __future__ import annotations

import functools
import gzip
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hemline.contract.stamp import message_fields, varint
from hemline.data.sources.items import LARGEST_BYTES, Item
from hemline.errors import DataError

_IMAGES = ("image/encoded", "image", "image_raw", "jpeg", "png", "img", "image_bytes", "bytes")
_LABELS = ("image/class/text", "label_name", "image/class/label", "label", "class", "cls", "y")
_POLYNOMIAL = 0x82F63B78  # of CRC-32C, bits reversed
Features = dict[str, bytes | int]


def read_tfrecords(path: Path, name: str) -> Iterator[Item]:
    """Yield the images in a TFRecord file. Raises DataError where it is damaged or cut short."""
    for at, record in enumerate(_records(path)):
        where = f"{path}: record {at}"
        try:
            features = dict(_features(record))
        except (ValueError, IndexError) as error:
            raise DataError(f"{where} is not a tf.train.Example: {error}") from error
        content = next((features[key] for key in _IMAGES if key in features), None)
        if not isinstance(content, bytes):
            names = ", ".join(sorted(features))
            raise DataError(f"{where} has features {names}: name the image's {_IMAGES[0]!r}")
        label = next((features[key] for key in _LABELS if key in features), None)
        text = label.decode(errors="replace") if isinstance(label, bytes) else label
        yield Item(f"{name}/{at}", content, text)


def _records(path: Path) -> Iterator[bytes]:
    at, count = 0, 0
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            stream = gzip.GzipFile(fileobj=file) if packed else file
            while head := stream.read(12):
                size, checksum = struct.unpack("<QI", head)
                if masked_crc32c(head[:8]) != checksum or size > LARGEST_BYTES:
                    raise ValueError("the length is damaged")
                data = stream.read(size + 4)
                if len(data) != size + 4:
                    raise EOFError("it is cut short")
                if masked_crc32c(data[:-4]) != int.from_bytes(data[-4:], "little"):
                    raise ValueError("the data are damaged")
                yield data[:-4]
                at, count = at + len(head) + len(data), count + 1
            if not count:
                raise EOFError("it is empty")
    except (OSError, EOFError, ValueError, struct.error, zlib.error) as error:
        where = f"record {count} at byte {at:,}"
        raise DataError(f"{path}: {where} cannot be read ({error}): copy it again") from error


def _features(example: bytes) -> Iterator[tuple[str, bytes | int]]:
    """Yield name and first value of the features that are bytes or whole numbers."""
    for _, *features in message_fields(example, 0, len(example)):
        for _, *entry in message_fields(example, *features):
            pair = {number: (a, b) for number, a, b in message_fields(example, *entry)}
            if {1, 2} <= pair.keys():
                key = example[slice(*pair[1])].decode(errors="replace")
                for kind, *values in message_fields(example, *pair[2]):
                    for _, a, b in [*message_fields(example, *values)][:1]:
                        if kind == 1:
                            yield key, example[a:b]
                        elif kind == 3:
                            yield key, varint(example, a)[0]


def masked_crc32c(data: bytes) -> int:
    """Return the masked CRC-32C of at least 4 bytes.

    The checksum is linear in the bytes: those of neighbours are joined pair by pair, by numpy.
    """
    size = 1 << (len(data) - 1).bit_length()
    sums = np.zeros(size, np.uint32)
    sums[size - len(data) :] = np.frombuffer(data, np.uint8)
    sums[size - len(data) :][:4] ^= 0xFF  # the register is all ones at the start
    sums = _byte_table()[sums]
    for level in range(size.bit_length() - 1):
        table = _advance_table(level)
        left, right = sums[0::2], sums[1::2]
        moved = table[0][left & 255] ^ table[1][left >> 8 & 255]
        sums = moved ^ table[2][left >> 16 & 255] ^ table[3][left >> 24] ^ right
    crc = int(sums[0]) ^ 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


@functools.cache
def _byte_table() -> npt.NDArray[np.uint32]:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = table >> 1 ^ np.where(table & 1, np.uint32(_POLYNOMIAL), np.uint32(0))
    return table


@functools.cache
def _advance_table(level: int) -> npt.NDArray[np.uint32]:
    """Return (4, 256): what each byte of the register becomes after 2 ** level zero bytes."""
    shifts = np.arange(0, 32, 8, dtype=np.uint32)[:, np.newaxis]
    table: npt.NDArray[np.uint32] = np.arange(256, dtype=np.uint32) << shifts
    if level == 0:
        return np.asarray(_byte_table()[table & 255] ^ table >> 8)
    before = _advance_table(level - 1)
    for _ in range(2):
        parts = [before[at][table >> 8 * at & 255] for at in range(4)]
        table = parts[0] ^ parts[1] ^ parts[2] ^ parts[3]
    return table
