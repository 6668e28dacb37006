"""Count what a file predicts on validation images, for monitoring to compare with."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hemline.contract.monitoring import Histogram, Reference
from hemline.contract.stamp import StampedFile
from hemline.export.embedding_check import opened

_MOST_IMAGES = 2000  # more hardly lower an alarm's threshold, of windows of 500 images by 1/10
_BINS = 20  # of 25 images each in such a window
_DIGITS = 6  # runtimes and batches of other sizes differ in the seventh


def reference_of(file: StampedFile, images: npt.NDArray[np.uint8]) -> Reference:
    """Return what a file predicts on uint8 images (n, h, w, c), evenly spaced ones of many."""
    spaced = np.linspace(0, len(images) - 1, min(len(images), _MOST_IMAGES)).astype(int)
    with opened(file) as classifier:
        predictions = classifier.classify_batch(images[spaced])
    unknown = len(file.stamp.labels)
    labels = [each.index if each.known else unknown for each in predictions]
    away = [each.distance for each in predictions if each.distance is not None]
    return Reference(
        labels=tuple(np.bincount(labels, minlength=unknown + 1).tolist()),
        scores=histogram_of([each.score for each in predictions]),
        distances=histogram_of(away) if away else None,
    )


def histogram_of(values: list[float]) -> Histogram:
    """Return a histogram with about as many values in each bin.

    Edges lie between values that differ: rounding in another runtime moves none to the next bin.
    """
    found, counts = np.unique(np.round(np.nan_to_num(values), _DIGITS), return_counts=True)
    targets = np.arange(1, _BINS) * len(values) / _BINS
    at = np.unique(np.searchsorted(counts.cumsum(), targets))
    last = at[at < len(found) - 1]  # the value below each edge
    edges = np.round((found[last] + found[last + 1]) / 2, _DIGITS + 1)
    sums = np.diff([0, *counts.cumsum()[last], len(values)])
    return Histogram(edges=tuple(edges.tolist()), counts=tuple(sums.tolist()))
