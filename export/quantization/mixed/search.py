"""Find few layers that must compute in float, by simulation."""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from hemline.data.image_rows import ImageRows
from hemline.export.graph.editing import Graph, Node
from hemline.export.quantization.diagnosis.losses import Judge, Labels
from hemline.export.quantization.float_graph import FloatGraph
from hemline.export.quantization.float_layers import with_float_layers
from hemline.export.quantization.quantized import Quantized
from hemline.export.quantization.simulation import logits
from hemline.progress import tracked
from hemline.statistics import paired_drop
from hemline.tables import change

log = logging.getLogger(__name__)

_RANKED_ON = 128  # images: a divergence is smooth, so that few of them show the order
_FIRST = 500  # images: enough to refuse a set that is far from the budget


class Search:
    """Judges sets of layers of one model: these in float, all others as they are planned."""

    def __init__(
        self,
        base: Quantized,
        images: ImageRows,
        labels: Labels | None,
        *,
        budget_points: float,
        source: FloatGraph | None = None,
    ) -> None:
        """Run the float model once on uint8 images (n, h, w, c).

        labels: uint8 (n,); without them the labels of the float model count. Raises DataError where
        its outputs say nothing.
        source: the float model, where the weights or biases of `base` are others.
        """
        judge = Judge(source or base.float_graph, images, labels)
        self._base, self._images, self._budget = base, images, budget_points
        self._expected = judge.reference.argmax(axis=1)
        self._labels = self._expected if labels is None else labels
        self._drops: dict[frozenset[str], float] = {}

    @functools.cached_property
    def before(self) -> float:
        """Return the points that are lost as planned, on all images."""
        return self._measured(self._base, limit=math.inf)

    @functools.cached_property
    def ranking(self) -> tuple[str, ...]:
        """Return the layers, those first that bring most by computing in float.

        Each is tried alone and together with those that read what it gives: a bad range between
        two layers does no harm only when both are in float.
        """
        judge = Judge(self._base.float_graph, self._images[self._parts[0][:_RANKED_ON]], None)
        before = judge.loss(self._base).divergence

        def gain(group: tuple[str, ...]) -> float:
            return (before - judge.loss(self.with_float(group)).divergence) / len(group)

        groups = list(dict.fromkeys(_groups(self._base.float_graph)))
        gains = {group: gain(group) for group in tracked(groups, len(groups), "ranking layers")}
        groups.sort(key=gains.__getitem__, reverse=True)
        return tuple(dict.fromkeys(layer for group in groups for layer in group))

    def smallest(self, say: Callable[[str], None] = log.info) -> dict[str, float]:
        """Return layers with which the budget is met; of each, the drop in points without it.

        A beginning of the ranking, a fifth longer each time; then each of its layers goes back to 8
        bits where the budget allows it, the least important first.
        """
        count = 1
        while count < len(self.ranking) and not self.fits(self.ranking[:count]):
            points = change(self.drop(self.ranking[:count]))
            say(f"{count} in float: accuracy changes by {points} points")
            count = max(count + 1, count * 6 // 5)
        say(f"{count} in float are enough: looking for those that are not needed")
        kept = dict.fromkeys(self.ranking[:count])
        for layer in reversed(tuple(kept)):
            if self.fits(kept.keys() - {layer}):
                del kept[layer]
        return {layer: self.drop(kept.keys() - {layer}) for layer in kept}

    def fits(self, layers: Iterable[str]) -> bool:
        """Return whether the budget is met with these layers in float."""
        return self.drop(layers) <= self._budget

    def drop(self, layers: Iterable[str]) -> float:
        """Return the points that are lost with these layers in float.

        On more and more of the images, until they show that it is more than the budget.
        """
        chosen = frozenset(layers)
        if chosen not in self._drops:
            self._drops[chosen] = self._measured(self.with_float(chosen), limit=self._budget)
        return self._drops[chosen]

    def with_float(self, layers: Iterable[str]) -> Quantized:
        """Return the model with these layers in float."""
        plan = with_float_layers(self._base.plan, self._base.float_graph, layers, "in the search")
        return replace(self._base, plan=plan)

    def _measured(self, quantized: Quantized, *, limit: float) -> float:
        """Return the drop on the images, or on the first of them that show that it is too large."""
        correct: list[npt.NDArray[np.bool_]] = []
        drop = 0.0
        for part in self._parts:
            found = logits(quantized, self._images[part]).argmax(axis=1)
            correct.append(found == self._labels[part])
            done = np.concatenate(self._parts[: len(correct)])
            expected = self._expected[done] == self._labels[done]
            drop, margin = paired_drop(expected, np.concatenate(correct))
            if drop - margin > limit:
                break
        return drop

    @functools.cached_property
    def _parts(self) -> list[npt.NDArray[np.intp]]:
        """Return the positions of the images in parts of 500, 1,000, 2,000, …, each from all."""
        order = np.random.default_rng(0).permutation(len(self._images))
        ends = [_FIRST * (2**each - 1) for each in range(1, 20)]
        return np.split(order, [end for end in ends if end < len(order)])


def _groups(graph: FloatGraph) -> Iterator[tuple[str, ...]]:
    """Yield each layer alone, and with the layers that read what it gives.

    None with one weight for each output, as pixels are centred by: many of its values lie in the
    middle between two steps, and in float the runtimes round these differently.
    """
    layers = [n for n in graph.weighted if graph.graph.constants[n.inputs[1]][0].size > 1]
    weights = {id(node): node.inputs[1] for node in layers}
    for node in layers:
        yield (node.inputs[1],)
        yield (node.inputs[1], *_readers(graph.graph, node, weights))


def _readers(graph: Graph, node: Node, weights: Mapping[int, str]) -> list[str]:
    """Return the next layers behind a node, whatever operators without weights lie between."""
    found: list[str] = []
    for each in (reader for output in node.outputs for reader in graph.consumers(output)):
        found += [weights[id(each)]] if id(each) in weights else _readers(graph, each, weights)
    return list(dict.fromkeys(found))
