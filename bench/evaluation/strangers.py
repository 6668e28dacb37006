"""How well a model tells images of no class from those of its classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hemline.bench.evaluation.images import SplitImages
from hemline.bench.evaluation.measures import predictions_of
from hemline.bench.evaluation.result import Separation
from hemline.bench.evaluation.running import Logits, outputs_of
from hemline.bench.evaluation.target import EvaluationTarget
from hemline.contract.class_distance import METHODS, Method
from hemline.contract.specs import LOGITS
from hemline.contract.stamp import Stamp
from hemline.data.image_rows import ImageRows
from hemline.data.strangers import Strangers
from hemline.runtime.unknown import Distances
from hemline.statistics import accepted_strangers, auroc

Values = dict[Method, npt.NDArray[np.float64]]  # by method: the higher, the stranger an image


def separations_of(
    target: EvaluationTarget, split: SplitImages, logits: Logits, sets: Sequence[Strangers]
) -> tuple[Separation, ...]:
    """Measure a target on the second halves of sets of strangers; `logits` are of the split."""
    if not sets:
        return ()
    measure = _Strangeness(target)
    known = measure(split.pixels, logits)
    decides: Method = "distance" if "distance" in known else "score"
    return tuple(
        Separation(
            strangers=each.name,
            images=len(each.second),
            method=method,
            decides=method == decides,
            auroc=auroc(known[method], far[method]),
            false_positive_rate=accepted_strangers(known[method], far[method]),
            unknown_strangers=measure.unknown(method, far),
            unknown_images=measure.unknown(method, known),
        )
        for each in sets
        for far in [measure(each.second)]
        for method in METHODS
        if method in known
    )


class _Strangeness:
    """The values of a target by each method that it has, and its thresholds."""

    def __init__(self, target: EvaluationTarget) -> None:
        self._target, spec = target, target.spec
        self._limits: dict[Method, float] = {"score": -spec.unknown_threshold}
        self._distances: Distances | None = None
        if isinstance(spec, Stamp) and spec.distance is not None and spec.embedding is not None:
            self._distances = Distances(spec.distance, spec.embedding)
            self._limits["distance"] = spec.distance.threshold

    def __call__(self, images: ImageRows, logits: Logits | None = None) -> Values:
        """Return the values of uint8 images (n, h, w, c), whose logits may be known."""
        found = {} if logits is None else {LOGITS: logits}
        names = (LOGITS,) if self._distances is None else (LOGITS, self._distances.spec.name)
        if missing := [name for name in names if name not in found]:
            found |= outputs_of(self._target, images, missing)
        scaled = predictions_of(found[LOGITS], self._target.spec.temperature).scaled
        values: Values = {"score": -scaled.max(axis=1)}
        if self._distances is not None:
            embeddings = found[self._distances.spec.name]
            values["distance"] = self._distances(embeddings).astype(np.float64)
        return values

    def unknown(self, method: Method, values: Values) -> float:
        """Return the share of images that are unknown by the threshold of a method."""
        limit = self._limits[method]
        far = values[method] >= limit if method == "score" else values[method] > limit
        return float(far.mean())
