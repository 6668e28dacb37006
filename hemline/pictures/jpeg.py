"""Unpack plain JPEG photographs at once: the pixels that pillow gives, in two thirds of its time.

Both call libjpeg-turbo; simplejpeg, which need not be installed, does so without pillow's blocks of
64 kB and its pixels of four bytes. Whatever needs more than that is left to pillow.
"""

from __future__ import annotations

import functools
from types import ModuleType

from hemline.pictures.pixels import Pixels
from hemline.pictures.scaling import LARGEST_SIDE

SIGNATURE = b"\xff\xd8\xff"
_TURNED, _PIXELS = 0xE1, 0xDA  # segments: Exif or XMP, which may turn it; what follows is pixels
_SPACES = {"YCbCr": "RGB", "Gray": "GRAY"}  # of the file: of the pixels


def plain_jpeg(
    data: bytes, most_pixels: int, shorter_side: int, place: Pixels | None = None
) -> Pixels | None:
    """Return uint8 (height, width, 1 or 3); None for what pillow should read, or complain about.

    It is unpacked to `place`, which is returned, if that has its shape.

    That is a photograph of more pixels, or with a shorter side that long or longer, one that may
    have to be turned, one in other colours, a damaged one; and all without simplejpeg.
    """
    decoder = _decoder()
    if decoder is None or _may_be_turned(data):
        return None
    try:
        height, width, space, _ = decoder.decode_jpeg_header(data)
        small = height * width <= most_pixels and min(height, width) < shorter_side
        if not small or max(height, width) > LARGEST_SIDE or space not in _SPACES:
            return None
        colours = _SPACES[space]
        if place is not None and place.shape == (height, width, 1 if colours == "GRAY" else 3):
            decoder.decode_jpeg(data, colours, buffer=place)
            return place
        found: Pixels = decoder.decode_jpeg(data, colours)
    except ValueError:
        return None
    return found


def _may_be_turned(data: bytes) -> bool:
    """Return whether a segment before the pixels may say so, or the segments cannot be read."""
    at = len(SIGNATURE) - 1
    while data[at : at + 1] == b"\xff" and len(data) > at + 4:
        if data[at + 1] == _PIXELS:
            return False
        if data[at + 1] == _TURNED:
            break
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return True


@functools.cache
def _decoder() -> ModuleType | None:
    try:
        import simplejpeg
    except ImportError:
        return None
    module: ModuleType = simplejpeg
    return module
