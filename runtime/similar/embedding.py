"""Embed images: those of a source through an artifact, or those of scores that have embeddings."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hemline.data.sources.items import Item, iterate
from hemline.errors import DataError
from hemline.host import cores
from hemline.pictures.pixels import NO_MEMORY, Pixels
from hemline.progress import Progress
from hemline.runtime.backends import LOGITS_ONLY
from hemline.runtime.classifier import Classifier

_AT_ONCE = 256  # images in memory


class Embedded(NamedTuple):
    """Some images: their names, best classes and float32 embeddings (n, size).

    pixels: uint8 (n, height, width, channels) as the model sees them; None where only scores are.
    """

    names: list[str]
    labels: list[str]
    embeddings: npt.NDArray[np.float32]
    pixels: Pixels | None = None


def embedded(classifier: Classifier, source: str, faults: list[str]) -> Iterator[Embedded]:
    """Yield the images of a source; what is wrong with the others is added to `faults`."""
    items, done = iterate(source), 0
    side = max(classifier.stamp.input.shape[:2])

    def read(item: Item) -> Pixels | str:
        try:
            return classifier.prepare(item.picture(side))
        except DataError as error:
            return str(error)
        except MemoryError:
            return f"{item.name} {NO_MEMORY}"

    with ThreadPoolExecutor(cores()) as pool, Progress("embed images") as progress:
        while chunk := list(islice(items, _AT_ONCE)):
            pixels = list(pool.map(read, chunk))
            faults += [each for each in pixels if isinstance(each, str)]
            names = [
                x.name for x, each in zip(chunk, pixels, strict=True) if not isinstance(each, str)
            ]
            if names:
                images = np.stack([each for each in pixels if not isinstance(each, str)])
                yield embed(classifier, names, images)
            done += len(chunk)
            progress.show(f"{done:,} images")


def embed(classifier: Classifier, names: list[str], images: Pixels) -> Embedded:
    """Return the best classes and embeddings of uint8 images (n, height, width, channels)."""
    found = classifier.outputs(images, (*LOGITS_ONLY, "embedding"))
    best = found[LOGITS_ONLY[0]].argmax(axis=1)
    labels = [classifier.labels[index] for index in best]
    texts = [name.encode(errors="replace").decode() for name in names]  # a file's need not be text
    return Embedded(texts, labels, found["embedding"], images)
