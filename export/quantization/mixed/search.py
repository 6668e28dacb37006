"""Find few layers that must compute in float, by simulation."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from hemline.export.quantization.float_layers import with_float_layers
from hemline.export.quantization.quantized import Quantized
from hemline.export.quantization.simulation import float_logits, logits
from hemline.statistics import paired_drop

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
_RANKED_ON = 256  # images: a divergence is smooth, so that few of them show the order
_TRIED_ON = 1000  # images: enough to refuse most sets without running all


class Search:
    """Judges sets of layers of one model: these in float, all others as they are planned."""

    def __init__(
        self,
        base: Quantized,
        images: Pixels,
        labels: npt.NDArray[np.uint8] | None,
        *,
        budget_points: float,
    ) -> None:
        """Run the float model once on uint8 images (n, h, w, c).

        labels: uint8 (n,); without them the labels of the float model count.
        """
        self._base, self._images, self._budget = base, images, budget_points
        self._reference = float_logits(base.float_graph, images)
        self._labels = self._reference.argmax(axis=1) if labels is None else labels
        self._drops: dict[frozenset[str], float] = {}

    @functools.cached_property
    def ranking(self) -> tuple[str, ...]:
        """Return the layers, the one first that brings most by computing in float alone."""
        few = self._spread(_RANKED_ON)
        left = {
            grid.layer: _divergence(self._logits({grid.layer}, few), self._reference[few])
            for grid in self._base.plan.weights
        }
        return tuple(sorted(left, key=left.__getitem__))

    def smallest(self) -> dict[str, float]:
        """Return layers with which the budget is met; of each, the drop in points without it.

        The shortest beginning of the ranking, found by bisection; then each of its layers goes back
        to 8 bits where the budget allows it, the least important first.
        """
        low, high = 1, len(self.ranking)
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self.fits(self.ranking[:middle]) else (middle + 1, high)
        kept = dict.fromkeys(self.ranking[:low])
        for layer in reversed(tuple(kept)):
            others = kept.keys() - {layer}
            if self.fits(others):
                del kept[layer]
        return {layer: self.drop(kept.keys() - {layer}) for layer in kept}

    def fits(self, layers: Iterable[str]) -> bool:
        """Return whether the budget is met with these layers in float."""
        return self.drop(layers) <= self._budget

    def drop(self, layers: Iterable[str]) -> float:
        """Return the points that are lost with these layers in float.

        Of some images only where they show that it is beyond the budget.
        """
        chosen = frozenset(layers)
        if chosen not in self._drops:
            drop, margin = self._paired_drop(chosen, self._spread(_TRIED_ON))
            if drop - margin <= self._budget and len(self._images) > _TRIED_ON:
                drop, margin = self._paired_drop(chosen, slice(None))
            self._drops[chosen] = drop
        return self._drops[chosen]

    def with_float(self, layers: Iterable[str]) -> Quantized:
        """Return the model with these layers in float."""
        plan = with_float_layers(self._base.plan, self._base.float_graph, layers, "in the search")
        return replace(self._base, plan=plan)

    def _paired_drop(self, layers: Iterable[str], at: Any) -> tuple[float, float]:
        """Return the drop on some images, and half the width of its 95 % interval, in points."""
        labels = self._labels[at]
        found = self._logits(layers, at).argmax(axis=1)
        return paired_drop(self._reference[at].argmax(axis=1) == labels, found == labels)

    def _logits(self, layers: Iterable[str], at: Any) -> Floats:
        return logits(self.with_float(layers), self._images[at])

    def _spread(self, count: int) -> slice:
        """Return about so many of the images, from all parts of the split."""
        return slice(None, None, max(1, len(self._images) // count))


def _divergence(found: Floats, reference: Floats) -> float:
    """Return the mean Kullback-Leibler divergence of softmax probabilities from the reference's."""
    expected, actual = _log_softmax(reference), _log_softmax(found)
    return float((np.exp(expected) * (expected - actual)).sum(axis=1).mean())


def _log_softmax(values: Floats) -> npt.NDArray[np.float64]:
    shifted = values.astype(np.float64) - values.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))
