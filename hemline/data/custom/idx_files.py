"""Read four IDX files that are not of a published data set, with class names of the user's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np

from hemline.data.custom.array_file import array_rows, decoded_rows
from hemline.data.custom.reading import CustomImages, ReadOptions, require_labels
from hemline.data.datasets import DATASETS, assemble, read_folder
from hemline.data.sources.items import Item


def read_idx(folder: Path, reading: ReadOptions, cache: Path | None) -> CustomImages:
    """Return the images of a folder of IDX files, whose classes `reading` names.

    Raises DataError for damaged files, and for classes without a name.
    """
    labels = reading.labels or ()
    require_labels(labels, where=str(folder))
    named = replace(DATASETS["mnist"], labels=labels)
    found = assemble(named, read_folder(named, folder), source=str(folder), verified=False)
    parts = (found.train_images, found.test_images)
    classes = np.concatenate([found.train_labels, found.test_labels])
    rows = array_rows(folder, labels, ["train", "test"], [len(part) for part in parts], classes)
    _, height, width, channels = found.train_images.shape

    def items() -> Iterator[Item]:
        images = zip(rows.files, chain(*parts), strict=True)
        yield from (Item(file.name, image) for file, image in images)

    return decoded_rows(rows, [(height, width, channels)], items, reading, cache)
