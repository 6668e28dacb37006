"""A source in its own runtime, as a converter opens it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hemline.errors import FileFormatError, remedy
from hemline.export.pixel_scale import PixelScale

Values = npt.NDArray[np.float32]
_CHANNELS = (1, 3)
_LARGEST_SIDE = 4096  # pixels; an image classifier for a small device has a tenth


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionOptions:
    """How to read a source.

    size: (height, width) where the source leaves them open; None otherwise.
    trust: run code that is in the file.
    """

    size: tuple[int, int] | None = None
    trust: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedModel:
    """A source that has been read.

    shape: of one input in the source's layout, without the batch.
    run: outputs of inputs float32 (n, *shape), in the source's own runtime.
    to_onnx: makes the float ONNX model.
    versions: packages that read it.
    labels: class names in the file.
    scale: what pixels become, where the file says so.
    whole: whether it accepts whole numbers only.
    """

    shape: tuple[int, ...]
    run: Callable[[Values], npt.NDArray[Any]]
    to_onnx: Callable[[], Any]
    versions: dict[str, str]
    labels: tuple[str, ...] = ()
    scale: PixelScale | None = None
    whole: bool = False


def image_shape(
    shape: tuple[int | None, ...], size: tuple[int, int] | None, *, channels_first: bool = False
) -> tuple[int, ...]:
    """Return an input's shape without the batch, with `size` where height and width are open.

    Raises FileFormatError for open sizes without one, and for a shape that no image has.
    """
    rank = len(shape)
    if rank not in (3, 4):
        raise FileFormatError(f"accepts an input of {rank} axes: an image batch has 3 or 4")
    sizes = list(shape[1:])
    places = (1, 2) if channels_first and rank == 4 else (0, 1)
    for place, given in zip(places, size or (None, None), strict=True):
        sizes[place] = sizes[place] or given
    if any(not each for each in sizes):
        shown = ", ".join(str(each or "any") for each in sizes)
        raise FileFormatError(
            f"accepts ({shown}): the image size is not fixed",
            remedy=remedy("image size of model"),
        )
    known = tuple(int(each or 0) for each in sizes)
    if len(known) == 3 and not {known[0], known[2]} & set(_CHANNELS):
        raise FileFormatError(f"accepts {known}: an image has 1 or 3 channels")
    if max(known) > _LARGEST_SIDE:
        raise FileFormatError(f"accepts {known}: an axis is longer than {_LARGEST_SIDE}")
    return known
