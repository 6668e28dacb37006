"""Read image files into pixels: what a camera, a shop or a scanner stores, and arrays."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from hemline.contract.specs import InputSpec
from hemline.errors import BackendError, DataError
from hemline.pictures import netpbm
from hemline.pictures.foreign_formats import FOREIGN_ENDINGS, foreign_format
from hemline.pictures.jpeg import SIGNATURE, plain_jpeg
from hemline.pictures.npy import npy_errors
from hemline.pictures.pixels import Pixels
from hemline.pictures.preprocessing import Preprocess, as_picture, model_pixels
from hemline.pictures.scaling import LARGEST_SIDE

if TYPE_CHECKING:
    from PIL import Image

# Endings of the files that --watch answers; others may be named, their content decides.
ENDINGS = (
    *(".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".avif"),
    *(".pgm", ".ppm", ".pnm", ".npy"),
)
_LARGEST_PIXELS = 50_000_000  # a 50-megapixel photograph; more is refused before it is unpacked
_KEPT_PIXELS = 4_000_000  # of a larger photograph a reduced copy is kept; models take far less
_PLAIN_BYTES = 1 << 23  # of a JPEG of that many: a longer one is cut, and left to pillow
_DRAFT_SIDE = 1024  # pixels of the shorter side that a JPEG is unpacked to at least
_BAND = 256  # rows of a 16-bit image that are brought to 8 bits at a time
# EXIF orientation: how the stored pixels become upright
_UPRIGHT: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: image[::-1].swapaxes(0, 1),
    7: lambda image: image[::-1, ::-1].swapaxes(0, 1),
    8: lambda image: image[:, ::-1].swapaxes(0, 1),
}
_LYING = (5, 6, 7, 8)  # height and width change places
_ORIENTATION = 0x0112  # the EXIF tag
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257  # tags of the stored pixels


def photographs(paths: Sequence[Path]) -> list[Path]:
    """Return those that are named as images, and those of formats that are not read here.

    A camera's raw file (or a HEIC) beside an image of its name is the same photograph.
    """
    named = [(path, path.suffix.lower()) for path in paths]
    foreign = any(ending in FOREIGN_ENDINGS for _, ending in named)
    readable = {path.with_suffix("") for path, ending in named if foreign and ending in ENDINGS}
    return [
        path
        for path, ending in named
        if ending in ENDINGS or (ending in FOREIGN_ENDINGS and path.with_suffix("") not in readable)
    ]


def read_image(path: Path, spec: InputSpec, preprocess: Preprocess = "stretch") -> Pixels:
    """Return the uint8 (height, width, channels) pixels that a model sees of a file.

    Raises DataError, naming the file.
    """
    picture = read_picture(path, max(spec.height, spec.width))
    try:
        return model_pixels(picture, spec, preprocess)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def read_picture(
    path: Path, side: int = 0, place: Pixels | None = None, content: bytes | None = None
) -> Pixels:
    """Return the uint8 pixels of an image file or an array of .npy, in their own size.

    Images are (height, width, 1, 3 or 4 with opacity), upright; arrays are what they are. A very
    large photograph comes reduced to about 4 megapixels, but never below `side` pixels, the longer
    side of the model. It may be unpacked to `place`, which is returned then. `content` is the
    file's, where it was read already. Raises DataError, naming the file.
    """
    try:
        with path.open("rb") if content is None else io.BytesIO(content) as stream:
            if path.suffix.lower() != ".npy":
                return read_stream(stream, str(path), side, place=place)
            size = path.stat().st_size
            if size > 4 * _LARGEST_PIXELS:
                raise DataError(f"{path} has {size} bytes: scale the image down first")
            return read_array(stream, str(path))
    except OSError as error:
        raise _unreadable(str(path), error) from error


def read_stream(
    stream: BinaryIO,
    name: str,
    side: int = 0,
    most_pixels: int = 0,
    place: Pixels | None = None,
) -> Pixels:
    """Return the uint8 pixels of one whole image in a file that can be wound back.

    `name` stands for it in the DataError; `side` and `place` as in read_picture. An image of
    more than `most_pixels` (0: 50 million) is an error.
    """
    start = stream.read(8)
    stream.seek(0)
    if start.startswith(SIGNATURE):
        most, draft = min(_KEPT_PIXELS, most_pixels or _KEPT_PIXELS), 2 * max(_DRAFT_SIDE, side)
        if (found := plain_jpeg(stream.read(_PLAIN_BYTES), most, draft, place)) is not None:
            return found
        stream.seek(0)
    if start[:2] not in netpbm.MAGICS:
        with _opened(stream, name, most_pixels) as image:
            return _pixels(image, name, side)
    header = _netpbm_header(stream, name, most_pixels)
    stream.seek(0)
    try:
        return netpbm.read_netpbm(stream.read(header.size_bytes))
    except DataError as error:
        raise DataError(f"cannot read {name}: {error}") from error


def read_size(path: Path) -> tuple[int, int]:
    """Return the (height, width) that read_picture gives, reductions aside, from the file's header.

    Raises DataError, naming the file.
    """
    if path.suffix.lower() == ".npy":
        height, width, _ = as_picture(read_picture(path)).shape
        return height, width
    try:
        with path.open("rb") as stream:
            return stream_size(stream, str(path))
    except OSError as error:
        raise _unreadable(str(path), error) from error


def stream_size(stream: BinaryIO, name: str) -> tuple[int, int]:
    """Return the (height, width) of a whole image as read_size does. Raises DataError."""
    start = stream.read(8)
    stream.seek(0)
    if start[:2] in netpbm.MAGICS:
        header = _netpbm_header(stream, name)
        return header.height, header.width
    with _opened(stream, name) as image:
        lying = image.getexif().get(_ORIENTATION, 1) in _LYING
        width, height = _stored_size(image)
        return (width, height) if lying else (height, width)


def _stored_size(image: Image.Image) -> tuple[int, int]:
    """Return (width, height) before an image is turned: pillow's size of a TIFF is that after."""
    if image.format != "TIFF":
        return image.size
    tags = image.tag_v2  # type: ignore[attr-defined]
    return int(tags[_TIFF_WIDTH]), int(tags[_TIFF_HEIGHT])


def _netpbm_header(stream: BinaryIO, name: str, most_pixels: int = 0) -> netpbm.Header:
    try:
        header = netpbm.read_header(stream.read(8192).__getitem__)
    except IndexError as error:
        raise DataError(f"cannot read {name}: it is truncated") from error
    except DataError as error:
        raise DataError(f"cannot read {name}: {error}") from error
    _require_small(header, name, most_pixels)
    return header


@contextlib.contextmanager
def _opened(stream: BinaryIO, name: str, most_pixels: int = 0) -> Iterator[Image.Image]:
    """Yield what pillow reads, its pixels not yet unpacked; what it raises becomes a DataError."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        kind = Path(name).suffix or name
        raise BackendError(f"reading {kind} needs pillow: pip install pillow") from error
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is wrong with metadata is no matter here
            with Image.open(stream) as image:
                _require_small(image, name, most_pixels)
                yield image
    except DataError:
        raise
    except UnidentifiedImageError as error:
        stream.seek(0)
        what = foreign_format(stream.read(32)) or f"is not a readable image: {_reason(error)}"
        raise DataError(f"{name} {what}") from error
    except Image.DecompressionBombError as error:
        count = int(re.findall(r"\d+", str(error))[0])
        raise DataError(f"{name} has {count:,} pixels: scale it down first") from error
    except SyntaxError as error:
        raise DataError(f"{name} is not a readable image: {_reason(error)}") from error
    except Exception as error:  # parsers let anything out when a file was crafted
        raise _unreadable(name, error) from error


def _require_small(image: Image.Image | netpbm.Header, name: str, most_pixels: int) -> None:
    large = image.width * image.height > (most_pixels or _LARGEST_PIXELS)
    if large or max(image.width, image.height) > LARGEST_SIDE:
        raise DataError(f"{name} has {image.width} × {image.height} pixels: scale it down first")


def _pixels(image: Image.Image, name: str, side: int) -> Pixels:
    orientation = image.getexif().get(_ORIENTATION, 1)
    # pillow itself turns a TIFF when it unpacks it, and nothing else
    turned = _UPRIGHT[1 if image.format == "TIFF" or orientation not in _UPRIGHT else orientation]
    _tell_of_more(image, name)
    draft = max(_DRAFT_SIDE, side)
    image.draft(None, (draft, draft))
    if image.mode.startswith("I"):
        return turned(_eight_bits(image))
    if image.mode == "F":
        raise DataError(f"cannot read {name}: it contains floating-point values, save it as 8-bit")
    image.load()
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
    elif image.mode not in ("L", "RGB"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    if (factor := _reduction(image.width, image.height, side)) > 1:
        image = image.reduce(factor)
    array = np.asarray(image, np.uint8)
    return turned(array.reshape(*array.shape[:2], -1))


def _reduction(width: int, height: int, side: int) -> int:
    """Return by how much a photograph is reduced to what is kept of it; 1 is not at all."""
    pixels = width * height
    if pixels <= _KEPT_PIXELS:
        return 1
    factor: int = max(2, round((pixels / _KEPT_PIXELS) ** 0.5))
    return min(factor, min(width, height) // max(1, side))


def _eight_bits(image: Image.Image) -> Pixels:
    """Return 16-bit gray as 8-bit, (height, width, 1): pillow itself would clip it to 255."""
    pixels = np.empty((image.height, image.width, 1), np.uint8)
    for top in range(0, image.height, _BAND):
        band = np.asarray(image.crop((0, top, image.width, min(top + _BAND, image.height))))
        pixels[top : top + _BAND, :, 0] = np.clip(band, 0, 65535).astype(np.uint16) >> 8
    return pixels


def _tell_of_more(image: Image.Image, name: str) -> None:
    """Say that only the first picture of an animation is taken.

    Telephones put a second one behind many photographs (MPO): that needs no mention.
    """
    if image.format != "MPO" and getattr(image, "is_animated", False):
        import logging

        logging.getLogger(__name__).warning("%s is animated: its first picture is used", name)


def read_array(stream: BinaryIO, name: str) -> Pixels:
    """Return the array of a .npy file. Raises DataError."""
    try:
        array = np.load(stream, allow_pickle=False)
    except npy_errors() as error:
        raise _unreadable(name, error) from error
    if not isinstance(array, np.ndarray):
        raise DataError(f"{name} is not a single array: save one with numpy.save")
    return array


def _unreadable(name: str, error: Exception) -> DataError:
    return DataError(f"cannot read {name}: {_reason(error)}")


def _reason(error: Exception) -> str:
    """Return what went wrong in one line, without the name of a file or of a stream."""
    reason = getattr(error, "strerror", None) or str(error).partition(" <_io.")[0]
    line = " ".join(reason.split()) or type(error).__name__
    return f"{line[0].lower()}{line[1:]}"
