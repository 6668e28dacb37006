"""The images of an index that a page shows: 8-bit vectors and one picture with all images.

They are a random sample, so that the page stays small however many images are indexed.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hemline.contract.stamp import Stamp
from hemline.errors import UsageError, remedy
from hemline.files import read_bytes, read_json, write_bytes, write_json
from hemline.pictures.pixels import Pixels
from hemline.progress import say
from hemline.runtime.similar.embedding import Embedded
from hemline.runtime.similar.image_index import IndexCard, read_card

FACTS, VECTORS, SHEET = "similar.json", "similar.bin", "similar.webp"
_MOST = 1000  # images
_SIDE = 64  # of an image at most, pixels
_COLUMNS = 32
_QUALITY = 80  # of WebP: pictures of 28 × 28 take half of the bytes of PNG


class PageImages:
    """A random sample of the images that are added, each equally likely."""

    def __init__(self) -> None:
        self._random, self._seen = random.Random(0), 0  # noqa: S311 — it guards no secret
        self._kept = list[tuple[Any, ...]]()

    def add(self, batch: Embedded) -> None:
        """Add images; those without pixels are left out."""
        if (pixels := batch.pixels) is None:
            return
        names, labels, embeddings, _ = batch
        for image in zip(names, labels, embeddings, pixels, strict=True):
            at = self._seen if self._seen < _MOST else self._random.randrange(self._seen + 1)
            self._kept[at : at + 1] = [image] if at < _MOST else []
            self._seen += 1

    def write(self, folder: Path) -> None:
        """Write the files of a page; none without images."""
        if not self._kept:
            return
        names, labels, embeddings, pixels = zip(*self._kept, strict=True)
        sheet, (width, height) = _sheet(pixels)
        sheet.save(folder / SHEET, quality=_QUALITY)
        vectors = np.stack(embeddings)  # each has a scale of its own: only angles are compared
        largest = np.maximum(np.abs(vectors).max(axis=1, keepdims=True), np.finfo("f4").tiny)
        write_bytes(folder / VECTORS, np.rint(127 * (vectors / largest)).astype(np.int8).tobytes())
        short = [Path(name).name for name in names]
        size = {"width": width, "height": height, "columns": _COLUMNS}
        write_json(folder / FACTS, {"names": short, "labels": labels, **size})


def _sheet(pixels: Sequence[Pixels]) -> tuple[Any, tuple[int, int]]:
    """Return a picture of all images, row by row, and the size of each in it."""
    from PIL import Image  # here, because an index of scores needs no pillow

    tiles = [Image.fromarray(each.squeeze()) for each in pixels]
    for tile in tiles:
        tile.thumbnail((_SIDE, _SIDE))
    width, height = tiles[0].size
    size = (width * _COLUMNS, height * -(-len(tiles) // _COLUMNS))
    sheet = Image.new(tiles[0].mode, size)
    for at, tile in enumerate(tiles):
        sheet.paste(tile, (width * (at % _COLUMNS), height * (at // _COLUMNS)))
    return sheet, (width, height)


class SimilarImages(NamedTuple):
    """What a page shows similar images with: facts for its JSON, and contents of files by name."""

    card: IndexCard
    facts: dict[str, Any]
    files: dict[str, bytes]

    def made_by(self, stamp: Stamp) -> bool:
        """Return whether the artifact of a stamp made the index."""
        return self.card.model_sha256 == stamp.payload_sha256


def page_images(folder: Path, stamps: Sequence[Stamp]) -> SimilarImages:
    """Return the images of an index for a page of the artifact that made it, and report their size.

    Raises UsageError for an index without pictures, or that none of the artifacts made.
    """
    card = read_card(folder)
    if FACTS not in card.hashes:
        raise UsageError(f"{folder} has no pictures", remedy=remedy("index pictures"))
    read_card(folder, FACTS, VECTORS, SHEET)
    files = {name: read_bytes(folder / name) for name in (VECTORS, SHEET)}
    found = SimilarImages(card, read_json(folder / FACTS), files)
    if not any(map(found.made_by, stamps)):
        names = " or ".join(stamp.name for stamp in stamps)
        what = f"{folder} was made with another file ({card.artifact}) than {names}"
        raise UsageError(what, remedy=remedy("index with it"))
    size = sum(map(len, files.values()))
    shown = f"{len(found.facts['names']):,} of {card.images:,}"
    say(f"similar images: the page has {shown}, {size / 1e6:.1f} MB")
    return found
