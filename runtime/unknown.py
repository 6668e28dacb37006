"""Measure how far the embeddings of images are from the classes: far ones are "unknown"."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from hemline.contract.class_distance import ClassDistance
    from hemline.contract.specs import OutputSpec

    Embeddings = npt.NDArray[np.float32]

_AT_ONCE = 1 << 22  # values of a part of many images: 16 MB


class Distances:
    """The distances of embeddings, by the formula of ClassDistance.

    largest: of a known image.
    spec: of the embedding, as the file gives it.
    """

    def __init__(self, distance: ClassDistance, spec: OutputSpec) -> None:
        self.largest, self.spec = distance.threshold, spec
        self._mean, self._centers = distance.mean.array(), distance.centers.array()
        self._directions = np.ascontiguousarray(distance.directions.array().T)
        self._variances = np.asarray(distance.variances, np.float32)
        self._inverse = np.float32(1 / distance.rest if distance.rest else 0)

    def __call__(self, embeddings: Embeddings) -> Embeddings:
        """Return distances (n,) of embeddings (n, size), float32."""
        size = max(1, _AT_ONCE // self._centers.size)
        if len(embeddings) <= size:
            return self._of(embeddings)
        starts = range(0, len(embeddings), size)
        return np.concatenate([self._of(embeddings[at : at + size]) for at in starts])

    def _of(self, embeddings: Embeddings) -> Embeddings:
        away = embeddings - self._mean
        along = away @ self._directions
        nearest = ((along[:, :, None] - self._centers) ** 2).sum(axis=1).min(axis=1)
        left_out = (away**2).sum(axis=1) - along**2 @ self._variances
        squares = nearest + self._inverse * np.maximum(left_out, 0)
        return np.asarray(np.sqrt(squares), np.float32)
