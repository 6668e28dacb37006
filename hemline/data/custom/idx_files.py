"""Read four IDX files that are not of a published data set, with class names of the user's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from hemline.data.custom.array_file import resized
from hemline.data.custom.reading import CustomImages, ReadOptions, require_labels, require_room
from hemline.data.datasets import DATASETS, assemble, read_folder


def read_idx(folder: Path, reading: ReadOptions) -> CustomImages:
    """Return the images of a folder of IDX files, whose classes `reading` names.

    Raises DataError for damaged files, and for classes without a name.
    """
    labels = reading.labels or ()
    require_labels(labels, where=str(folder))
    named = replace(DATASETS["mnist"], labels=labels)
    found = assemble(named, read_folder(named, folder), source=str(folder), verified=False)
    parts = (np.asarray(found.train_images), np.asarray(found.test_images))
    _, height, width, channels = found.train_images.shape
    (height, width), channels = reading.size or (height, width), reading.channels or channels
    counts = [len(part) for part in parts]
    require_room(sum(counts), (height, width), channels, where=str(folder))
    images, contents = resized(parts, (sum(counts), height, width, channels))
    sizes = zip(("train", "test"), counts, strict=True)
    return CustomImages(
        labels=labels,
        images=images,
        classes=np.concatenate([found.train_labels, found.test_labels]),
        names=tuple(f"{part}[{at}]" for part, n in sizes for at in range(n)),
        test_from=counts[0],
        contents=contents,
    )
