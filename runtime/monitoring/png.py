"""Write PNG files without pillow, which a device need not have."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hemline.pictures.pixels import Pixels

_COLOURS = (0, 4, 2, 6)  # of the format, by number of channels: gray, with alpha, RGB, with alpha


def png_bytes(image: Pixels) -> bytes:
    """Return a PNG of uint8 pixels (height, width, 1 to 4 channels).

    Format: https://www.w3.org/TR/png/; each row is preceded by its filter, 0 for none.
    """
    image = image.reshape(*image.shape[:2], -1)
    height, width, channels = image.shape
    head = struct.pack(">IIBBBBB", width, height, 8, _COLOURS[channels - 1], 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in image)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*part) for part in parts)


def _chunk(kind: bytes, content: bytes) -> bytes:
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))
