"""Count what a file predicts on validation images, for monitoring to compare with."""

from __future__ import annotations

import numpy as np

from hemline.contract.monitoring import Counts, Reference
from hemline.contract.stamp import StampedFile
from hemline.data.image_rows import ImageRows, blocks, selected
from hemline.export.embedding_check import opened
from hemline.silence import silenced
from hemline.statistics import evenly_spaced

_MOST_IMAGES = 2000  # more lower the thresholds for windows of 500 images by a tenth at most
_BINS = 20  # of 25 images each in such a window
_DIGITS = 6  # runtimes, and batches of other sizes, differ in the seventh


def reference_of(file: StampedFile, images: ImageRows) -> Reference:
    """Return what a file predicts on uint8 images (n, h, w, c), evenly spaced ones of many."""
    spaced = selected(images, evenly_spaced(len(images), _MOST_IMAGES))
    with silenced(), opened(file) as classifier:
        found = [each for some in blocks(spaced) for each in classifier.classify_batch(some)]
    unknown = len(file.stamp.labels)
    labels = np.bincount([x.index if x.known else unknown for x in found], minlength=unknown + 1)
    score_edges, scores = binned([each.score for each in found])
    away = [each.distance for each in found if each.distance is not None]
    distance_edges, distances = binned(away) if away else ((), ())
    counts = Counts(labels=tuple(labels.tolist()), scores=scores, distances=distances)
    return Reference(counts=counts, score_edges=score_edges, distance_edges=distance_edges)


def binned(values: list[float]) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Return edges of bins with about as many values in each, and the counts.

    Edges lie between values that differ: rounding in another runtime moves none to the next bin.
    """
    found, counts = np.unique(np.round(np.nan_to_num(values), _DIGITS), return_counts=True)
    sums = counts.cumsum()
    at = np.unique(np.searchsorted(sums, np.arange(1, _BINS) * len(values) / _BINS))
    last = at[at < len(found) - 1]  # the value below each edge
    edges = np.round((found[last] + found[last + 1]) / 2, _DIGITS + 1)
    return tuple(edges.tolist()), tuple(np.diff([0, *sums[last], len(values)]).tolist())
