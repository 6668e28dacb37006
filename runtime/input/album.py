"""Draw what a model saw: the image beside the model's pixels, with the prediction below."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hemline import files
from hemline.errors import BackendError
from hemline.pictures.pixels import Pixels
from hemline.pictures.preprocessing import as_picture, laid_on

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont

_SIDE, _MARGIN, _CAPTION = 280, 12, 64  # pixels
_NAME = 50  # characters of a name that stay in that of its picture: systems allow 255 bytes
_PAPER, _INK = (236, 236, 236), (20, 20, 20)
_TILES = (210, 240)  # grays of the squares that show through where an image is transparent


class Album:
    """A folder of pictures, one for each prediction. Raises BackendError without pillow."""

    def __init__(self, folder: Path) -> None:
        try:
            import PIL  # noqa: F401 — to say at once that it is missing
        except ImportError as error:
            raise BackendError("drawing pictures needs pillow: pip install pillow") from error
        self._folder, self._count = folder, 0

    def add(self, name: str, image: Pixels, seen: Pixels, prediction: str) -> Path:
        """Write the picture of one prediction; return its path.

        `image` is uint8 (height, width[, channels]) as it came, `seen` what the model was given,
        `prediction` a line or two.
        Pictures are numbered, so that equal names do not meet. Raises HemlineError.
        """
        path = self._folder / f"{self._count:06d}-{name[:_NAME]}.png"
        self._count += 1
        picture = _composed(as_picture(image), seen, prediction)
        with files.replacing(path) as partial:
            picture.save(partial)
        return path


def _composed(image: Pixels, seen: Pixels, prediction: str) -> Image.Image:
    from PIL import Image, ImageDraw

    size = (2 * _SIDE + 3 * _MARGIN, _SIDE + 2 * _MARGIN + _CAPTION)
    sheet = Image.new("RGB", size, _PAPER)
    second = _SIDE + 2 * _MARGIN
    for pixels, at in ((_on_tiles(image), _MARGIN), (seen, second)):
        tile = _fitted(pixels)
        sheet.paste(tile, (at + (_SIDE - tile.width) // 2, _MARGIN + (_SIDE - tile.height) // 2))
    draw = ImageDraw.Draw(sheet)
    below, (best, _, others) = _SIDE + _MARGIN + 6, prediction.partition("\n")
    for pixels, at, what in ((image, _MARGIN, "original"), (seen, second, "model input")):
        _write(draw, (at, below), f"{what}, {pixels.shape[1]} x {pixels.shape[0]}", 13)
    _write(draw, (_MARGIN, below + 22), best, 20, width=2 * _SIDE + _MARGIN)
    _write(draw, (_MARGIN, below + 48), others, 13, width=2 * _SIDE + _MARGIN)
    return sheet


def _fitted(pixels: Pixels) -> Image.Image:
    """Return a picture whose longer side is _SIDE; enlarged pixels stay squares."""
    from PIL import Image

    gray = pixels.shape[2] < 3
    picture = Image.fromarray(np.ascontiguousarray(pixels[..., 0] if gray else pixels[..., :3]))
    share = _SIDE / max(picture.size)
    size = (max(1, round(picture.width * share)), max(1, round(picture.height * share)))
    way = Image.Resampling.LANCZOS if share < 1 else Image.Resampling.NEAREST
    return picture.resize(size, way)


def _on_tiles(image: Pixels) -> Pixels:
    """Return an image laid on a pattern of squares where it is transparent."""
    if image.shape[2] != 4:
        return image
    rows, columns = np.arange(image.shape[0]), np.arange(image.shape[1])
    square = max(1, max(image.shape[:2]) // 20)
    dark = (rows[:, np.newaxis] // square + columns // square) % 2 == 0
    light, shade = (laid_on(image, gray) for gray in (_TILES[1], _TILES[0]))
    return np.where(dark[..., np.newaxis], shade, light)


def _write(
    draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, size: int, *, width: int = _SIDE
) -> None:
    """Write one line, cut off where it would leave its column."""
    font = _font(size)
    # pillow's own font has little more, and the plain one fails at the rest
    text = " ".join(text.encode("latin-1", "replace").decode("latin-1").split())
    while len(text) > 1 and draw.textlength(text, font) > width:
        text = f"{text[:-2]}~"
    draw.text(at, text, _INK, font)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return pillow's own font, of a size where this pillow can."""
    from PIL import ImageFont, features

    if features.check("freetype2") and hasattr(ImageFont, "load_default_imagefont"):
        return ImageFont.load_default(size)
    return ImageFont.load_default()
