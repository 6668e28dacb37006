"""Read image files into the pixels that a model takes."""

from __future__ import annotations

from pathlib import Path
from tokenize import TokenError
from zipfile import BadZipFile

import numpy as np

from hemline.errors import BackendError, DataError
from hemline.runtime.pixels import Pixels
from hemline.specs import InputSpec

_LARGEST_PIXELS = 50_000_000  # a 50-megapixel photograph; more is refused before it is unpacked


def read_image(path: Path, spec: InputSpec) -> Pixels:
    """Return the uint8 (height, width, channels) pixels of an image file or .npy array.

    An image of another size is scaled to the model's, after its EXIF rotation was applied and
    transparency was laid on black, as the backgrounds of Fashion-MNIST are. Raises DataError.
    """
    if path.suffix == ".npy":
        return _read_npy(path)
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError as error:
        raise BackendError(
            f"reading {path.suffix or path} needs pillow: pip install 'hemline[image]'"
        ) from error
    try:
        with Image.open(path) as image:
            if image.width * image.height > _LARGEST_PIXELS:
                raise DataError(
                    f"{path} has {image.width} × {image.height} pixels: scale it down first"
                )
            upright = ImageOps.exif_transpose(image)
            return _fitted(upright, spec)
    except (UnidentifiedImageError, Image.DecompressionBombError, SyntaxError) as error:
        raise DataError(f"{path} is not an image that can be read: {error}") from error
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DataError:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return DataError(f"cannot read {path}: {reason[0].lower()}{reason[1:]}")


def _fitted(image, spec: InputSpec) -> Pixels:  # type: ignore[no-untyped-def]
    from PIL import Image

    if image.mode.startswith("I;16"):
        # pillow clips 16-bit gray to 255 when it converts: keep the high byte instead
        image = Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    if "A" in image.getbands() or "transparency" in image.info:
        opaque = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", opaque.size, "black"), opaque)
    image = image.convert("L" if spec.channels == 1 else "RGB")
    if image.size != (spec.width, spec.height):
        image = image.resize((spec.width, spec.height), Image.Resampling.LANCZOS)
    return np.asarray(image, np.uint8).reshape(spec.shape)


def _read_npy(path: Path) -> Pixels:
    try:
        array = np.load(path, allow_pickle=False)
    # numpy's header parser and its zip reader let these through as they are
    except (
        OSError,
        ValueError,
        EOFError,
        MemoryError,
        SyntaxError,
        TokenError,
        BadZipFile,
    ) as error:
        raise _unreadable(path, error) from error
    if not isinstance(array, np.ndarray):
        raise DataError(f"{path} is no single array: save one with numpy.save")
    return array
