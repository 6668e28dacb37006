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
_BLOCK_BYTES = 2048  # whose table has 2 MB
_STARTS = 256 * np.arange(_BLOCK_BYTES)  # of the rows of the table
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
    """Return the masked CRC-32C of some bytes.

    The checksum is linear: each byte of a block adds what it is after the bytes behind it. The
    register before a block acts as if it were added to the first four bytes.
    """
    table, crc = _contributions(), 0xFFFFFFFF
    for at in range(0, len(data), _BLOCK_BYTES):
        block = np.frombuffer(data[at : at + _BLOCK_BYTES], np.uint8).astype(np.intp)
        size = len(block)
        block[:4] ^= np.frombuffer(crc.to_bytes(4, "little"), np.uint8)[:size]
        places = block + _STARTS[-size:]
        crc = int(np.bitwise_xor.reduce(table[places])) ^ crc >> 8 * size
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


@functools.cache
def _contributions() -> npt.NDArray[np.uint32]:
    """Return what each byte adds at each place of a block, the last place last, flat."""
    byte = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        byte = byte >> 1 ^ np.where(byte & 1, np.uint32(_POLYNOMIAL), np.uint32(0))
    rows = [byte]
    while len(rows) < _BLOCK_BYTES:
        rows.append(byte[rows[-1] & 255] ^ rows[-1] >> 8)
    return np.concatenate(rows[::-1])
