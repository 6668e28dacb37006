"""From 8-bit pixels to the input tensor, through a 256-entry table made from the InputSpec."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from hemline.errors import DataError
from hemline.pictures.pixels import Pixels, require_uint8
from hemline.runtime.backends import Tensor

if TYPE_CHECKING:
    from hemline.contract.specs import InputSpec

_HIGHEST_BIT = np.uint8(0x80)  # a plain number takes numpy longer than a small image


class PixelEncoder:
    """Turn uint8 images into one model's input tensor.

    Not for two threads at once: encode_one writes into a buffer of its own.
    """

    def __init__(self, spec: InputSpec) -> None:
        self.spec = spec
        self.tables = pixel_tables(spec)
        self._shapes = {spec.shape} | ({spec.shape[:2]} if spec.channels == 1 else set())
        self._tensor: Tensor = np.empty((1, *spec.shape), spec.dtype)
        self._write = _writer(self.tables, spec)

    def encode(self, images: Pixels) -> Tensor:
        """Return a new tensor of uint8 images (n, height, width, channels).

        The channel axis may be left out of gray images. Raises DataError for another dtype or
        shape.
        """
        images = self.as_images(images)
        tensor: Tensor = np.empty(images.shape, self.spec.dtype)
        self._write(images, tensor)
        return tensor

    def as_images(self, images: Pixels) -> Pixels:
        """Return checked images (n, height, width, channels), the same memory. Raises DataError."""
        require_uint8(images)
        if images.ndim == 3 and self.spec.channels == 1:
            images = images[..., np.newaxis]
        if images.shape[1:] != self.spec.shape:
            raise self._misfit(images.shape[1:])
        return images

    def as_batch(self, image: Pixels) -> Pixels:
        """Return one checked image as a batch (1, height, width, channels). Raises DataError."""
        require_uint8(image)
        if image.shape not in self._shapes:
            raise self._misfit(image.shape)
        return image.reshape((1, *self.spec.shape))

    def encode_one(self, image: Pixels) -> Tensor:
        """Return the tensor (1, height, width, channels) of one uint8 image.

        The channel axis may be left out of a gray image. The tensor is valid until the next call.
        Raises DataError for another dtype or shape.
        """
        self._write(self.as_batch(image), self._tensor)
        return self._tensor

    def _misfit(self, shape: tuple[int, ...]) -> DataError:
        height, width, channels = self.spec.shape
        message = f"images have {height} × {width} × {channels} values here, not shape {shape}"
        if shape == (channels, height, width):
            message += ": the channels come last, numpy.moveaxis(image, 0, -1) puts them there"
        elif shape[:1] == (1,) and len(shape) == 4:
            message += ": a batch of one is image[0]"
        elif shape[2:] in ((), (1,), (3,), (4,)):
            what = "convert its channels" if shape[:2] == (height, width) else "resize it"
            message += (
                f": {what}, or use classifier.prepare(image), which takes any size, gray, RGB "
                "or RGBA (of an OpenCV frame: frame[..., ::-1])"
            )
        return DataError(message)


def pixel_tables(spec: InputSpec) -> list[Tensor]:
    """Return the stored value of each of the 256 pixel values, in the spec's dtype.

    One table for all channels of the tensor, or one for each where mean or std differ.
    """
    return [_table(spec, mean, std) for mean, std in spec.levels]


def _table(spec: InputSpec, mean: float, std: float) -> Tensor:
    real = (np.arange(256, dtype=np.float64) - mean) / std
    if spec.dtype == "float32":
        return real.astype(np.float32)
    limits = np.iinfo(spec.dtype)
    stored = np.round(real / spec.scale) + spec.zero_point
    table: Tensor = np.clip(stored, limits.min, limits.max).astype(spec.dtype)
    return table


def _writer(tables: list[Tensor], spec: InputSpec) -> Callable[[Pixels, Tensor], object]:
    """Return the fastest function that writes the tensor of pixels into another of their shape."""
    if spec.bgr or len(tables) > 1:
        return _writer_by_channel(tables, spec)
    pixels, table = np.arange(256), tables[0]
    if np.array_equal(table, pixels):

        def write(images: Pixels, tensor: Tensor) -> None:
            tensor[...] = images

    # in two's complement, 128 less is the pixel with its highest bit flipped
    elif spec.dtype == "int8" and np.array_equal(table, pixels - 128):

        def write(images: Pixels, tensor: Tensor) -> None:
            np.bitwise_xor(images, _HIGHEST_BIT, out=tensor.view(np.uint8))

    else:

        def write(images: Pixels, tensor: Tensor) -> None:
            table.take(images, out=tensor, mode="clip")

    return write


def _writer_by_channel(tables: list[Tensor], spec: InputSpec) -> Callable[[Pixels, Tensor], object]:
    """Return the writer for channels that differ in their table, or come in another order."""
    count = spec.channels
    sources = range(count)[::-1] if spec.bgr else range(count)
    steps = list(zip(range(count), sources, tables * (count // len(tables)), strict=True))

    def write(images: Pixels, tensor: Tensor) -> None:
        for channel, source, table in steps:
            tensor[..., channel] = table.take(images[..., source])

    return write
