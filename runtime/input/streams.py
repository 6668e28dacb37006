"""Where frames come from that are no named files: standard input, a folder, a camera, a video.

A source yields each frame as it comes: its pixels, or why it has none. One frame is held at a
time, so a stream may last for ever.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any, TypeVar

import numpy as np

from hemline.contract.specs import InputSpec
from hemline.errors import DataError, HemlineError, UsageError
from hemline.files import reason_of
from hemline.pictures.images import read_array, read_stream
from hemline.pictures.pixels import NO_MEMORY, Pixels
from hemline.runtime.input.frames import LARGEST_BYTES, Read, image_frames, raw_frames

S = TypeVar("S")
_RAW = re.compile(r"(\d{1,5})x(\d{1,5})(?:x([134])|:(yuv420))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One frame of a stream.

    pixels: uint8 (height, width[, channels]); None where there are none.
    error: why there are none.
    image: the file it was read from; None where there is no file.
    """

    pixels: Pixels | None = None
    error: HemlineError | None = None
    image: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RawFormat:
    """How the bytes of a raw frame are arranged.

    height, width, channels: of the pixels, channels last.
    size_bytes: of a frame; more than its pixels where color follows in planes of its own.
    """

    height: int
    width: int
    channels: int
    size_bytes: int

    def pixels(self, content: bytes) -> Pixels:
        """Return the uint8 pixels (height, width, channels) of a frame."""
        shape = (self.height, self.width, self.channels)
        count = self.height * self.width * self.channels
        return np.frombuffer(content, np.uint8, count).reshape(shape)


def raw_format(text: str, spec: InputSpec) -> RawFormat:
    """Read WIDTHxHEIGHT[xCHANNELS] or WIDTHxHEIGHT:yuv420; an empty text is the model's own size.

    Without CHANNELS there are as many as the model takes. Of yuv420 the first plane is taken, the
    gray image. Raises UsageError.
    """
    if not text:
        text = f"{spec.width}x{spec.height}"
    found = _RAW.fullmatch(text)
    if found is None or not (int(found[1]) and int(found[2])):
        raise UsageError(
            f"{text!r} is not a size of raw frames: write 640x480, 640x480x3 or 640x480:yuv420"
        )
    width, height = int(found[1]), int(found[2])
    if found[4] is not None:
        if spec.channels != 1:
            raise UsageError(
                "only the gray image of yuv420 frames is read, but this model needs colour"
            )
        # two planes of colour, each half as wide and half as high, rounded up
        colour = 2 * ((width + 1) // 2) * ((height + 1) // 2)
        raw = RawFormat(height=height, width=width, channels=1, size_bytes=width * height + colour)
    else:
        channels = int(found[3] or spec.channels)
        size = width * height * channels
        raw = RawFormat(height=height, width=width, channels=channels, size_bytes=size)
    if raw.size_bytes > LARGEST_BYTES:
        raise UsageError(f"a raw frame can have at most {LARGEST_BYTES} bytes, {text} has more")
    return raw


def from_bytes(read: Read, raw: RawFormat | None, side: int = 0) -> Iterator[Frame]:
    """Yield the raw frames, or the images, that `read` brings; `side` as in read_picture.

    Raises BackendError at the first image that needs a library which is not there.
    """
    contents = image_frames(read) if raw is None else raw_frames(read, raw.size_bytes)
    decode = raw.pixels if raw else lambda content: decoded(content, "the frame", side)
    for content in contents:
        if isinstance(content, DataError):
            yield Frame(error=content)
        else:
            yield frame_of(decode, content, "the frame")


def frame_of(read: Callable[[S], Pixels], source: S, name: str, image: str | None = None) -> Frame:
    """Return the frame that `read` gets of a source, or the error that it raises."""
    try:
        return Frame(pixels=read(source), image=image)
    except DataError as error:
        return Frame(error=error, image=image)
    except MemoryError:
        return Frame(error=DataError(f"{name} {NO_MEMORY}"), image=image)


def decoded(content: bytes, name: str, side: int, most_pixels: int = 0) -> Pixels:
    """Return the pixels of an image file's bytes; see read_stream."""
    if content.startswith(b"\x93NUMPY"):
        return read_array(BytesIO(content), name)
    return read_stream(BytesIO(content), name, side, most_pixels)


def standard_input() -> Read:
    """Return what reads standard input as soon as something comes. Raises UsageError, DataError."""
    if sys.stdin is None:
        raise UsageError("standard input is closed: pipe frames into it")
    if sys.stdin.isatty():
        raise UsageError("standard input is a terminal: pipe frames into it")
    stream: Any = sys.stdin.buffer
    os.set_blocking(stream.fileno(), True)  # else a pause would look like the end

    def read(count: int) -> bytes:
        try:
            chunk: bytes = stream.read1(count)
            return chunk
        except OSError as error:
            raise DataError(f"cannot read standard input: {reason_of(error)}") from error

    return read


@contextlib.contextmanager
def until_stopped() -> Iterator[Callable[[float], bool]]:
    """Yield a function that waits for some seconds and tells whether the process was told to end.

    Inside, SIGINT and SIGTERM let a source end behind the frame in hand; a second one ends at once.
    """
    stopped = threading.Event()
    before: dict[int, Any] = {}

    def on_signal(number: int, _: object) -> None:
        stopped.set()
        signal.signal(number, before[number])

    for each in (signal.SIGINT, signal.SIGTERM):
        before[each] = signal.signal(each, on_signal)
    try:
        yield stopped.wait
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
