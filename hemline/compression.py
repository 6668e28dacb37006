"""How large a file is on its way to a device."""

from __future__ import annotations

import zlib


def compressed_size(content: bytes) -> int:
    """Return the bytes of `content` by deflate, as gzip, zip and HTTP compress it."""
    return len(zlib.compress(content, 9))
