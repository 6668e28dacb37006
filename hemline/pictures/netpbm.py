"""Binary PGM and PPM, which need no library: a header in plain text, then the pixels.

Format: https://netpbm.sourceforge.net/doc/pgm.html. Samples of two bytes and other maxima than 255
are brought to 0 … 255.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hemline.errors import DataError
from hemline.pictures.pixels import Pixels

MAGICS = (b"P5", b"P6")
_MOST_DIGITS = 9
_LONGEST_COMMENTS = 4096
_BAND = 64  # rows brought to bytes at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What stands before the pixels.

    height, width: pixels.
    channels: 1 for PGM, 3 for PPM.
    largest: sample that stands for full intensity, 1 … 65535.
    start: bytes before the pixels.
    """

    height: int
    width: int
    channels: int
    largest: int
    start: int

    @property
    def size_bytes(self) -> int:
        """Return the size of header and pixels."""
        wide = 2 if self.largest > 255 else 1
        return self.start + self.height * self.width * self.channels * wide


def read_header(byte_at: Callable[[int], int]) -> Header:
    """Return the header of what begins with P5 or P6, told one byte at a time.

    Raises DataError for what is none, and what `byte_at` raises when there is no such byte.
    """
    channels = 1 if byte_at(1) == ord("5") else 3
    at, numbers = 2, []
    for _ in range(3):
        number, at = _number(byte_at, at)
        numbers.append(number)
    width, height, largest = numbers
    if min(numbers) < 1 or largest > 65535 or not _is_space(byte_at(at)):
        raise DataError("a damaged PGM or PPM header")
    return Header(height=height, width=width, channels=channels, largest=largest, start=at + 1)


def _number(byte_at: Callable[[int], int], at: int) -> tuple[int, int]:
    """Return the next number, behind spaces and comments, and the place of what follows it."""
    before = at
    while _is_space(byte_at(at)) or byte_at(at) == ord("#"):
        if byte_at(at) == ord("#"):
            while byte_at(at) != ord("\n") and at < _LONGEST_COMMENTS:
                at += 1
        at += 1
        if at > _LONGEST_COMMENTS:
            break
    start, number = at, 0
    while at - start < _MOST_DIGITS and ord("0") <= byte_at(at) <= ord("9"):
        number, at = number * 10 + byte_at(at) - ord("0"), at + 1
    if start == before or at == start:
        raise DataError("a damaged PGM or PPM header")
    return number, at


def _is_space(byte: int) -> bool:
    return byte in b" \t\r\n\v\f"


def read_netpbm(content: bytes) -> Pixels:
    """Return the uint8 (height, width, channels) pixels of a binary PGM or PPM. Raises DataError.

    What follows the first picture is left alone.
    """
    try:
        header = read_header(content.__getitem__)
    except IndexError as error:
        raise DataError("a damaged PGM or PPM header") from error
    if len(content) < header.size_bytes:
        raise DataError(f"{header.size_bytes - len(content)} bytes of pixels are missing")
    shape = (header.height, header.width, header.channels)
    count = header.height * header.width * header.channels
    dtype = ">u2" if header.largest > 255 else np.uint8
    samples = np.frombuffer(content, dtype, count, header.start).reshape(shape)
    if header.largest == 255:
        return samples
    full = np.arange(65536 if header.largest > 255 else 256, dtype=np.uint32)
    shades = np.minimum((full * 255 + header.largest // 2) // header.largest, 255).astype(np.uint8)
    brought = np.empty(shape, np.uint8)
    for top in range(0, header.height, _BAND):  # numpy makes 8 bytes of each index
        brought[top : top + _BAND] = shades[samples[top : top + _BAND]]
    return brought
