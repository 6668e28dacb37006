"""Find few layers that must compute in float, by simulation."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from hemline.export.graph.editing import Graph, Node
from hemline.export.quantization.diagnosis.losses import Judge, Labels, Pixels
from hemline.export.quantization.float_graph import FloatGraph
from hemline.export.quantization.float_layers import with_float_layers
from hemline.export.quantization.quantized import Quantized
from hemline.export.quantization.simulation import logits
from hemline.statistics import paired_drop

_RANKED_ON = 128  # images: a divergence is smooth, so that few of them show the order
_TRIED_ON = 1000  # images: enough to refuse most sets without running all


class Search:
    """Judges sets of layers of one model: these in float, all others as they are planned."""

    def __init__(
        self, base: Quantized, images: Pixels, labels: Labels | None, *, budget_points: float
    ) -> None:
        """Run the float model once on uint8 images (n, h, w, c).

        labels: uint8 (n,); without them the labels of the float model count. Raises DataError where
        its outputs say nothing.
        """
        judge = Judge(base.float_graph, images, labels)
        self._base, self._images, self._budget = base, images, budget_points
        self._expected = judge.reference.argmax(axis=1)
        self._labels = self._expected if labels is None else labels
        self._drops: dict[frozenset[str], float] = {}

    @functools.cached_property
    def ranking(self) -> tuple[str, ...]:
        """Return the layers, those first that bring most by computing in float.

        Each is tried alone and together with those that read what it gives: a bad range between
        two layers does no harm only when both are in float.
        """
        judge = Judge(self._base.float_graph, self._images[self._spread(_RANKED_ON)], None)
        before = judge.loss(self._base).divergence

        def gain(group: tuple[str, ...]) -> float:
            return (before - judge.loss(self.with_float(group)).divergence) / len(group)

        groups = sorted(dict.fromkeys(_groups(self._base.float_graph)), key=gain, reverse=True)
        return tuple(dict.fromkeys(layer for group in groups for layer in group))

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

    def _paired_drop(self, layers: Iterable[str], at: slice) -> tuple[float, float]:
        """Return the drop on some images, and half the width of its 95 % interval, in points."""
        found = logits(self.with_float(layers), self._images[at]).argmax(axis=1)
        labels = self._labels[at]
        return paired_drop(self._expected[at] == labels, found == labels)

    def _spread(self, count: int) -> slice:
        """Return about so many of the images, from all parts of the split."""
        return slice(None, None, max(1, len(self._images) // count))


def _groups(graph: FloatGraph) -> Iterator[tuple[str, ...]]:
    """Yield each layer alone, and with the layers that read what it gives."""
    weights = {id(node): node.inputs[1] for node in graph.weighted}
    for node in graph.weighted:
        yield (node.inputs[1],)
        yield (node.inputs[1], *_readers(graph.graph, node, weights))


def _readers(graph: Graph, node: Node, weights: Mapping[int, str]) -> list[str]:
    """Return the next layers behind a node, whatever operators without weights lie between."""
    found: list[str] = []
    for each in (reader for output in node.outputs for reader in graph.consumers(output)):
        found += [weights[id(each)]] if id(each) in weights else _readers(graph, each, weights)
    return list(dict.fromkeys(found))
