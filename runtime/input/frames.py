"""Cut a stream of bytes into the images that follow one another in it.

PNG, JPEG (so also motion JPEG), binary PGM and PPM, and .npy tell by their own structure where they
end, so a frame is whole as soon as its last byte has come. What is damaged is told once; the
next signature begins the next frame, if only that of a thumbnail inside a JPEG that is cut short.
Raw frames have a size and nothing else.

Formats: W3C PNG (chunks), ITU-T T.81 (JPEG markers), hemline/pictures/netpbm.py, numpy.lib.format.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from math import prod

from hemline.errors import DataError, remedy
from hemline.pictures import netpbm
from hemline.pictures.npy import npy_errors, read_npy_header

LARGEST_BYTES = 64 << 20  # of one frame: more is an error, and is never held in memory
_CHUNK_BYTES = 1 << 16
_PNG, _JPEG, _NPY = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"\x93NUMPY"
_SPACES = b" \t\r\n\v\f"
_PADDING = _SPACES + b"\0"  # some cameras fill up their frames
_SIGNATURES = re.compile(rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|\x93NUMPY|P[56][\s#]")
_LONGEST_SIGNATURE = 8
# in the pixels of a JPEG, 0xFF with one of these behind it is no marker (T.81, B.1.1.2)
_SCAN_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_MAY_HOLD_IMAGES = {*range(0xE1, 0xF0), 0xFE}  # metadata and comments
_CUT_JPEG = "a damaged or truncated JPEG"
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD8)}
_FIRST_MARKER, _START, _END, _SCAN = 0xC0, 0xD8, 0xD9, 0xDA
_UNKNOWN = "not an image format for streams (PNG, JPEG, PGM, PPM or .npy)"

Read = Callable[[int], bytes]  # returns at most so many bytes, as soon as there are any


class _BrokenError(Exception):
    """A frame that goes wrong; behind `intact` bytes another one may begin."""

    def __init__(self, reason: str, intact: int) -> None:
        super().__init__(reason)
        self.intact = intact


class _TooLargeError(Exception):
    """A frame that tells its size, and it is too large."""

    def __init__(self, size: int) -> None:
        super().__init__(f"the frame has {size} bytes, but at most {LARGEST_BYTES} can be read")
        self.size = size


class _Buffer:
    """What was read and not yet given out."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self.held = bytearray()

    def more(self) -> bool:
        """Read once; False at the end."""
        chunk = self._read(_CHUNK_BYTES)
        self.held += chunk
        return bool(chunk)

    def require(self, count: int, intact: int) -> None:
        """Hold `count` bytes. Raises _BrokenError if they do not come or are many."""
        if count > LARGEST_BYTES:
            raise _BrokenError(f"the frame is longer than {LARGEST_BYTES} bytes", intact)
        while len(self.held) < count:
            if not self.more():
                raise _BrokenError(f"the frame is truncated after {len(self.held)} bytes", intact)

    def drop(self, count: int) -> None:
        """Forget the first bytes."""
        del self.held[:count]

    def take(self, count: int) -> bytes:
        """Return the first bytes and forget them."""
        with memoryview(self.held) as held:
            taken = bytes(held[:count])
        self.drop(count)
        return taken

    def skip(self, count: int) -> int:
        """Forget so many bytes, read in pieces; return how many are missing."""
        while count > len(self.held):
            count -= len(self.held)
            self.held.clear()
            if not self.more():
                return count
        self.drop(count)
        return 0


def image_frames(read: Read) -> Iterator[bytes | DataError]:
    """Yield each image of a stream as its bytes, or the error that stands in its place."""
    buffer = _Buffer(read)
    lost = False  # behind a broken frame: what is left of it is no frame of its own
    while True:
        skipped, measure = _next_frame(buffer)
        if skipped and not lost:
            yield DataError(f"{skipped} bytes are {_UNKNOWN}", remedy=remedy("raw frames"))
        if measure is None:
            return
        try:
            size = measure(buffer)
        except _BrokenError as broken:
            if not lost or broken.intact > 2:  # two: no more than a magic number that came along
                yield DataError(str(broken))
            buffer.drop(max(1, broken.intact))
            lost = True
        except _TooLargeError as large:
            missing = buffer.skip(large.size)
            yield DataError(f"{large}{', and it is truncated' if missing else ''}")
            lost = False
        else:
            yield buffer.take(size)
            lost = False


def raw_frames(read: Read, size: int) -> Iterator[bytes | DataError]:
    """Yield each `size` bytes of a stream; an error in place of a last frame that is shorter."""
    buffer = _Buffer(read)
    while True:
        while len(buffer.held) < size:
            if not buffer.more():
                if buffer.held:
                    yield DataError(f"the last frame has {len(buffer.held)} of {size} bytes")
                return
        yield buffer.take(size)


def _next_frame(buffer: _Buffer) -> tuple[int, Callable[[_Buffer], int] | None]:
    """Go to the next signature; return how many bytes that are none lay before, and its measure.

    The measure is None at the end of the stream.
    """
    skipped = 0
    while True:
        if not skipped:
            buffer.drop(len(buffer.held) - len(buffer.held.lstrip(_PADDING)))
        found = _SIGNATURES.search(buffer.held)
        if found is not None:
            skipped += found.start()
            buffer.drop(found.start())
            return skipped, _MEASURES[bytes(buffer.held[:2])]
        # the last bytes may be the beginning of a signature
        idle = max(0, len(buffer.held) - _LONGEST_SIGNATURE + 1)
        skipped += idle
        buffer.drop(idle)
        if not buffer.more():
            return skipped + len(buffer.held.strip(_PADDING)), None


def _png_size(buffer: _Buffer) -> int:
    at = len(_PNG)
    while True:
        buffer.require(at + 8, intact=at)
        length = int.from_bytes(buffer.held[at : at + 4], "big")
        kind = bytes(buffer.held[at + 4 : at + 8])
        if not kind.isalpha() or not kind.isascii():
            raise _BrokenError("a damaged PNG", at)
        end = at + 12 + length
        buffer.require(end, intact=at)
        with memoryview(buffer.held) as held:
            right = zlib.crc32(held[at + 4 : end - 4]) == int.from_bytes(held[end - 4 : end], "big")
        if not right:
            raise _BrokenError("a damaged PNG", at)
        if kind == b"IEND":
            return end
        at = end


def _jpeg_size(buffer: _Buffer) -> int:
    at = sure = 2  # a segment is sure when a marker follows it: its length may be a lie
    scanned = False
    while True:
        buffer.require(at + 2, intact=sure)
        first, code = buffer.held[at], buffer.held[at + 1]
        if first != 0xFF or code == _START or 0x01 < code < _FIRST_MARKER or code == 0:
            raise _BrokenError(_CUT_JPEG, sure)
        if code == 0xFF:  # a marker may be filled up with these
            at += 1
            continue
        if code == _END:
            return at + 2
        if not scanned:  # what looks like a marker behind pixels may be those of another image
            sure = at
        start, at = at, at + 2
        if code in _WITHOUT_LENGTH:
            continue
        buffer.require(at + 2, intact=sure)
        at += max(2, int.from_bytes(buffer.held[at : at + 2], "big"))
        buffer.require(at + 2, intact=sure)
        if code not in _MAY_HOLD_IMAGES:
            another = buffer.held.find(_JPEG, start, at + 2)
            if another > 0:
                raise _BrokenError(_CUT_JPEG, another)
        scanned = code == _SCAN
        if scanned:
            sure, at = at, _scan_end(buffer, at)


def _scan_end(buffer: _Buffer, start: int) -> int:
    """Return where the compressed pixels that begin at `start` end: at the next marker."""
    at = start
    while True:
        found = _SCAN_END.search(buffer.held, at)
        if found is not None:
            return found.start()
        at = max(start, len(buffer.held) - 1)
        buffer.require(len(buffer.held) + 1, intact=start)


def _netpbm_size(buffer: _Buffer) -> int:
    try:
        header = netpbm.read_header(lambda at: _at(buffer, at))
    except DataError as error:
        raise _BrokenError(str(error), 2) from error
    return _whole(buffer, header.size_bytes)


def _npy_size(buffer: _Buffer) -> int:
    wide = 2 if _at(buffer, 6) == 1 else 4
    buffer.require(8 + wide, intact=2)
    start = 8 + wide + int.from_bytes(buffer.held[8 : 8 + wide], "little")
    if start > _CHUNK_BYTES:
        raise _BrokenError("a damaged .npy header", 2)
    buffer.require(start, intact=2)
    try:
        shape, dtype, _ = read_npy_header(BytesIO(buffer.held[:start]))
    except npy_errors() as error:
        raise _BrokenError("a damaged .npy header", 2) from error
    count = prod(shape)
    if count < 0:
        raise _BrokenError("a damaged .npy header", 2)
    if dtype.hasobject:
        raise _BrokenError("a .npy that contains Python objects, which are never loaded", start)
    return _whole(buffer, start + count * dtype.itemsize)


def _at(buffer: _Buffer, place: int) -> int:
    buffer.require(place + 1, intact=2)
    return buffer.held[place]


def _whole(buffer: _Buffer, size: int) -> int:
    """Read all of a frame that tells its size. Raises _TooLargeError."""
    if size > LARGEST_BYTES:
        raise _TooLargeError(size)
    while len(buffer.held) < size:
        if not buffer.more():
            held = len(buffer.held)
            raise _BrokenError(f"the frame is truncated after {held} of {size} bytes", held)
    return size


# by the first two bytes of a signature
_MEASURES: dict[bytes, Callable[[_Buffer], int]] = {
    _PNG[:2]: _png_size,
    _JPEG[:2]: _jpeg_size,
    _NPY[:2]: _npy_size,
    b"P5": _netpbm_size,
    b"P6": _netpbm_size,
}
