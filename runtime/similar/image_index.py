"""Find the indexed images whose embeddings have the smallest angles to that of an image."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from hemline.closing import Closing
from hemline.contract import schema
from hemline.errors import BackendError, FileFormatError, remedy
from hemline.files import sha256_of

Embeddings = npt.NDArray[np.float32]
CARD, VECTORS, IMAGES = "index.json", "vectors.usearch", "images.sqlite"


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexCard:
    """What an index says of itself.

    artifact: name of the file that computes the embeddings, beside the card.
    model_sha256: payload_sha256 of its stamp.
    images: how many are indexed.
    size: values of an embedding.
    width: candidates that a search keeps: more find more of the nearest, and take longer.
    recall: share of the 10 nearest images, by an exact search of the same float16 vectors, that a
        search finds.
    source: what the images were read from.
    hashes: SHA-256 of the other files, by name.
    """

    KIND: ClassVar[str] = "image index"
    SCHEMA: ClassVar[int] = 1

    artifact: str
    model_sha256: str
    images: int
    size: int
    width: int
    recall: float
    source: str
    hashes: dict[str, str]


class Neighbour(NamedTuple):
    """An indexed image, its best class, and the cosine of the angle between the embeddings."""

    name: str
    label: str
    similarity: float


class ImageIndex(Closing):
    """An index in a folder; its vectors are mapped into memory, not read."""

    def __init__(self, folder: Path) -> None:
        """Open an index. Raises FileFormatError for a damaged one, BackendError without usearch."""
        self.card = read_card(folder, VECTORS, IMAGES)
        self._vectors = empty_index(self.card.size)
        self._vectors.view(folder / VECTORS)
        self._vectors.expansion_search = self.card.width
        self._images = sqlite3.connect(folder / IMAGES)

    def find(self, embedding: Embeddings, count: int) -> list[Neighbour]:
        """Return the `count` images most similar to an embedding (size,), best first."""
        found = self._vectors.search(embedding, min(count, self.card.images), threads=1).to_list()
        query = "select name, label from images where key = ?"
        named = [(self._images.execute(query, (key,)).fetchone(), away) for key, away in found]
        return [Neighbour(name, label, 1 - away) for (name, label), away in named]

    def close(self) -> None:
        """Close the files."""
        self._vectors.reset()
        self._images.close()


def read_card(folder: Path, *names: str) -> IndexCard:
    """Return the card of an index; raises FileFormatError where a file differs."""
    if not (folder / CARD).is_file():
        raise FileFormatError(f"{folder} is not an index of images", remedy=remedy("index"))
    card = schema.load(IndexCard, folder / CARD)
    for name in names:  # which native parsers read
        if sha256_of(folder / name) != card.hashes.get(name):
            raise FileFormatError(f"{folder / name} was modified", remedy=remedy("index"))
    return card


def empty_index(size: int) -> Any:
    """Return a usearch index of float16 vectors; raises BackendError without usearch."""
    try:
        from usearch.index import Index
    except ImportError as error:
        raise BackendError("similar images need usearch: pip install usearch") from error
    return Index(ndim=size, metric="cos", dtype="f16")
