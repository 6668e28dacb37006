"""Turn an image of any size into the pixels that a model was trained on.

An image of exactly the model's size goes in as it is. Another one is converted as the artifact's
stamp says:

stretch: scaled to the model's size, height and width each on their own.

product-photo: the conversion by which Fashion-MNIST was made (arXiv 1708.07747, section 2). The
edges whose colour is close to the corners' are trimmed; the long side is fitted to the model; a
Gaussian of radius and deviation 1 sharpens; background is laid round the short side; a picture on
a light background is negated; gray is made. Three things differ from the paper, each measured on
photographs made of validation images (docs/on-device.md): pixels are averaged, not skipped, because
a camera's picture is much larger than the paper's thumbnails; what is background is judged on a
small copy, in which a camera's noise has been averaged away; and the background becomes quite
black, as it is in the data set, where gray paper would stay gray.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from hemline.contract.specs import InputSpec, Preprocessing
from hemline.errors import DataError
from hemline.pictures.pixels import Pixels, require_uint8
from hemline.pictures.scaling import LARGEST_SIDE, Values, area, lanczos, scaled

Preprocess = Preprocessing | Literal["none"]  # none: an image of another size is an error

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R 601, as pillow and JPEG have it
_CLOSE = 0.05 * 255  # of the largest distance in RGB, as a mean over the channels
_JUDGED = 128  # pixels of the longer side of the copy on which the background is judged
_LIGHT = 127.5
# Of 0 … 255: a drawing whose mean differs less from the ground can hardly be seen on it. It is a
# quarter of the range, so that photographs that were cut out keep the usual ground.
_HIDDEN = 64
_CHANNELS = (1, 3, 4)  # gray, red-green-blue, and the same with opacity
_BLOCK = 1 << 18  # pixels laid on a background at a time


def as_picture(array: Pixels) -> Pixels:
    """Return a view (height, width, 1, 3 or 4) of an image array. Raises DataError."""
    require_uint8(array)
    picture = array[..., np.newaxis] if array.ndim == 2 else array
    if picture.ndim == 3 and picture.size and picture.shape[2] in _CHANNELS:
        if max(picture.shape) > LARGEST_SIDE:
            raise DataError(
                f"an image can have at most {LARGEST_SIDE} pixels on a side, not shape "
                f"{array.shape}: scale it down first"
            )
        return picture
    if array.ndim == 3 and array.shape[0] in _CHANNELS:
        raise DataError(
            f"the channels of an image must come last, not shape {array.shape}: use "
            "numpy.moveaxis(image, 0, -1)"
        )
    raise DataError(
        f"an image must have shape (height, width) or (height, width, 1, 3 or 4), not {array.shape}"
    )


def model_pixels(image: Pixels, spec: InputSpec, preprocess: Preprocess) -> Pixels:
    """Return the uint8 (height, width, channels) pixels that a model sees of an image of any size.

    `image` is uint8 (h, w[, 1, 3 or 4]); a fourth channel is opacity: the image is laid on white
    where it becomes a product photo, else on black, unless it could hardly be seen there; then on
    the other. Raises DataError.
    """
    require_uint8(image)
    if image.shape == spec.shape:
        return image
    picture = as_picture(image)
    if picture.shape[:2] == (spec.height, spec.width):
        return _in_channels(_opaque(picture, 0), spec.channels)
    if preprocess == "product-photo":
        return _product_photo(_opaque(picture, 255), spec)
    if preprocess == "stretch":
        return _stretched(_opaque(picture, 0), spec)
    size = " × ".join(map(str, spec.shape))
    raise DataError(
        f"images have {size} values here, not shape {image.shape}: "
        "give one of that size, or preprocess otherwise than by none"
    )


def _opaque(picture: Pixels, background: int) -> Pixels:
    """Return an image without its opacity, on `background` (0 or 255) or where it can be seen."""
    if picture.shape[2] != 4:
        return picture
    opacity = picture[..., 3]
    weight = int(opacity.sum(dtype=np.int64))
    if weight == 255 * opacity.size or weight == 0:
        return laid_on(picture, background)
    # the mean luma of what is drawn: sums of products, in float64, without a copy of the picture
    sums = np.einsum("hwc,hw->c", picture[..., :3], opacity, dtype=np.float64)
    hidden = abs(float(sums @ _LUMA) / weight - background) < _HIDDEN
    return laid_on(picture, 255 - background if hidden else background)


def laid_on(picture: Pixels, background: int) -> Pixels:
    """Return an image (height, width, 1 or 3) without its opacity, laid on a gray of 0 … 255."""
    if picture.shape[2] != 4:
        return picture
    height, width, _ = picture.shape
    opaque = np.empty((height, width, 3), np.uint8)
    step = max(1, _BLOCK // width)
    for at in range(0, height, step):
        part = picture[at : at + step].astype(np.uint16)
        opacity = part[..., 3:]
        mixed = part[..., :3] * opacity + background * (255 - opacity)
        opaque[at : at + step] = (mixed + 127) // 255
    return opaque


def _in_channels(picture: Pixels, channels: int) -> Pixels:
    """Return an image of the model's size in the model's channels, gray or colour."""
    have = picture.shape[2]
    if have == channels:
        return picture
    if have == 1:
        return np.repeat(picture, channels, axis=2)
    if channels == 1:
        return _rounded(_gray(picture))
    raise DataError(f"the model needs {channels} channels: the image has {have}")


def _stretched(picture: Pixels, spec: InputSpec) -> Pixels:
    height, width, _ = picture.shape
    values = scaled(picture, lanczos(height, spec.height), lanczos(width, spec.width))
    return _in_channels(_rounded(values), spec.channels)


def _product_photo(picture: Pixels, spec: InputSpec) -> Pixels:
    background, inside = _trimmed(picture)
    values = _sharpened(_fitted(inside, spec))
    if spec.channels == 1 and values.shape[2] == 3:
        values, background = _gray(values), _gray(background)
    canvas = np.empty((spec.height, spec.width, values.shape[2]), np.float32)
    canvas[...] = background
    height, width, _ = values.shape
    top, left = (spec.height - height) // 2, (spec.width - width) // 2
    canvas[top : top + height, left : left + width] = values
    return _in_channels(_rounded(_on_black(canvas, background)), spec.channels)


def _trimmed(picture: Pixels) -> tuple[Values, Pixels]:
    """Return the background (channels,) and what lies inside it; all of a picture of one colour."""
    height, width, _ = picture.shape
    share = min(1.0, _JUDGED / max(height, width))
    rows, columns = max(1, round(height * share)), max(1, round(width * share))
    small = scaled(picture, area(height, rows), area(width, columns))
    # the median: one corner may be covered
    background = np.asarray(np.median(small[[0, 0, -1, -1], [0, -1, 0, -1]], axis=0), np.float32)
    seen = np.sqrt(np.square(small - background).mean(axis=2)) > _CLOSE
    if not seen.any():
        return background, picture
    top, bottom = _span(seen.any(axis=1), height)
    left, right = _span(seen.any(axis=0), width)
    return background, picture[top:bottom, left:right]


def _span(seen: np.ndarray[tuple[int], np.dtype[np.bool_]], size: int) -> tuple[int, int]:
    """Return the first and the last pixel, of `size`, that the seen parts of a side cover."""
    found = np.flatnonzero(seen)
    first, last = int(found[0]), int(found[-1]) + 1
    return first * size // len(seen), -(-last * size // len(seen))


def _fitted(picture: Pixels, spec: InputSpec) -> Values:
    """Return the picture scaled, its shape kept, so that it just fits into the model's size."""
    height, width, _ = picture.shape
    share = min(spec.height / height, spec.width / width)
    rows, columns = max(1, round(height * share)), max(1, round(width * share))
    weights = area if share < 1 else lanczos
    return scaled(picture, weights(height, rows), weights(width, columns))


def _sharpened(values: Values) -> Values:
    """Return the values with their difference from a blurred copy added: it is large at edges."""
    height, width, _ = values.shape
    lines = (_blur(height) @ values.reshape(height, -1)).reshape(values.shape)
    return np.asarray(np.clip(2 * values - _blur(width) @ lines, 0, 255), np.float32)


def _blur(size: int) -> Values:
    """Return the weights (size, size) of a Gaussian of radius and deviation 1; edges repeat."""
    beside = np.exp(np.float32(-0.5))
    weights = np.zeros((size, size), np.float32)
    at = np.arange(size)
    for offset, weight in ((-1, beside), (0, 1.0), (1, beside)):
        weights[at, np.clip(at + offset, 0, size - 1)] += weight
    return weights / np.float32(1 + 2 * beside)


def _on_black(values: Values, background: Values) -> Values:
    """Return values on a black background: negated if it is light, and drawn out to 0 … 255."""
    light = float(np.mean(_gray(background) if background.size == 3 else background)) >= _LIGHT
    if light:
        values, background = 255 - values, 255 - background
    # at most twofold: one channel of a coloured background may have no room left at all
    return (values - background) * (255 / np.maximum(255 - background, _LIGHT))


def _gray(values: Values | Pixels) -> Values:
    """Return the luma (…, 1) of red, green and blue (…, 3)."""
    return np.asarray((values @ _LUMA)[..., np.newaxis], np.float32)


def _rounded(values: Values) -> Pixels:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
