"""Read frames of a camera or of a video file through OpenCV."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from hemline.errors import BackendError, DataError
from hemline.pictures.pixels import Pixels
from hemline.runtime.input.streams import Frame
from hemline.silence import silenced

_TRIES = 10  # reads that may fail one after the other before a camera counts as gone
_PAUSE_SECONDS = 0.1  # between them


def camera_frames(source: str, wait: Callable[[float], bool]) -> Iterator[Frame]:
    """Yield the frames of a camera, by number, device or address, until `wait` says to end.

    Raises BackendError without OpenCV; DataError for a camera that cannot be opened, and for one
    that is gone.
    """
    capture = _opened(int(source) if source.isdecimal() else source, f"camera {source}")
    try:
        failed = 0
        while not wait(0):
            pixels = _next(capture)
            if pixels is not None:
                failed = 0
                yield Frame(pixels=pixels)
                continue
            failed += 1
            if failed == _TRIES:
                raise DataError(
                    f"camera {source} is gone: no frame in {_TRIES} tries; plug it in, or end "
                    "other programs that use it"
                )
            wait(_PAUSE_SECONDS)
    finally:
        capture.release()


def video_frames(path: str) -> Iterator[Frame]:
    """Yield the frames of a video file. Raises BackendError, DataError."""
    capture = _opened(path, path)
    try:
        count = 0
        while (pixels := _next(capture)) is not None:
            count += 1
            yield Frame(pixels=pixels)
        if count == 0:
            raise DataError(f"{path} is not a readable video: it has no frame")
    finally:
        capture.release()


def _opened(source: int | str, name: str) -> Any:
    try:
        import cv2
    except ImportError as error:
        raise BackendError(
            f"reading {name} needs OpenCV: pip install opencv-python-headless"
        ) from error
    try:
        with silenced():
            capture = cv2.VideoCapture(source)
    except cv2.error as error:
        raise DataError(f"cannot open {name}: {' '.join(str(error).split())}") from error
    if not capture.isOpened():
        raise DataError(f"cannot open {name}: it is not connected, or another program uses it")
    return capture


def _next(capture: Any) -> Pixels | None:
    """Return the next frame, uint8 (height, width, 1 or 3 of red, green, blue), or None."""
    there, frame = capture.read()
    if not there or frame is None:
        return None
    pixels: Pixels = np.asarray(frame)
    # OpenCV has blue first
    return pixels[..., ::-1] if pixels.ndim == 3 and pixels.shape[2] == 3 else pixels
