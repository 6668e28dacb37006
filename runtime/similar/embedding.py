"""Embed images: those of a source through an artifact, or those of scores that have embeddings."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hemline.data.custom.decoding import in_threads
from hemline.data.sources.items import Item, iterate
from hemline.pictures.pixels import Pixels
from hemline.progress import Progress
from hemline.runtime.backends import LOGITS_ONLY
from hemline.runtime.classification import name_text
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
    side, done = max(classifier.stamp.input.shape[:2]), 0

    def read(item: Item) -> tuple[str, Pixels | str]:
        return item.name, item.prepared(classifier.prepare, side)

    found = in_threads(read, iterate(source))
    with Progress("embed images") as progress:
        while chunk := list(islice(found, _AT_ONCE)):
            faults += [each for _, each in chunk if isinstance(each, str)]
            images = {name: each for name, each in chunk if not isinstance(each, str)}
            if images:
                yield embed(classifier, list(images), np.stack(list(images.values())))
            done += len(chunk)
            progress.show(f"{done:,} images")


def embed(classifier: Classifier, names: list[str], images: Pixels) -> Embedded:
    """Return the best classes and embeddings of uint8 images (n, height, width, channels)."""
    found = classifier.outputs(images, (*LOGITS_ONLY, "embedding"))
    best = found[LOGITS_ONLY[0]].argmax(axis=1)
    labels = [classifier.labels[index] for index in best]
    return Embedded([*map(name_text, names)], labels, found["embedding"], images)
