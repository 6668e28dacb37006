"""What the causes are found from: measured layers, and what calibration images do in them."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from hemline.export.quantization.annotation import AnnotatedGraph
from hemline.export.quantization.calibration import Calibration
from hemline.export.quantization.correction.equalization import equalized
from hemline.export.quantization.diagnosis.document import LayerReport, Loss
from hemline.export.quantization.diagnosis.losses import Judge, Pixels
from hemline.export.quantization.diagnosis.measures import Observation, float_values
from hemline.export.quantization.diagnosis.parts import Part
from hemline.export.quantization.float_graph import recalibrated
from hemline.export.quantization.float_layers import with_float_layers
from hemline.export.quantization.quantized import Quantized

_HARMFUL = 0.1  # of the losses of all layers alone
_IMAGES = 500  # of calibration that are looked at


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """A quantized model that was measured.

    parts, reports: of the same layers, by name and in the order of the graph.
    observed: what each part's value is, by the value's name.
    judge, loss: the images, and what the model loses on them.
    calibration: images that the ranges come from; None where they are not known.
    other_format_points: labels that differ in the file of the other format, percentage points.
    """

    quantized: Quantized
    parts: dict[str, Part]
    reports: tuple[LayerReport, ...]
    observed: dict[str, Observation]
    judge: Judge
    loss: Loss
    calibration: Calibration | None = None
    other_format_points: float | None = None

    @functools.cached_property
    def annotated(self) -> AnnotatedGraph:
        """Return the graph with the numbers of the plan."""
        return self.quantized.annotated

    @functools.cached_property
    def harmful(self) -> tuple[LayerReport, ...]:
        """Return the layers that lose much: alone, or as what the whole model gets back."""
        whole = sum(each.alone.divergence for each in self.reports if each.alone)
        return tuple(
            each
            for each in self.reports
            if each.alone
            and each.without
            and (
                each.alone.divergence > _HARMFUL * whole
                or self.loss.divergence - each.without.divergence > _HARMFUL * self.loss.divergence
            )
        )

    @functools.cached_property
    def calibration_values(self) -> dict[str, Observation]:
        """Return what each value is on the calibration images; nothing without these."""
        if self.calibration is None:
            return {}
        images = self.calibration.images[:_IMAGES]
        names = tuple(self.observed)
        exact = float_values(self.quantized.float_graph, names, images)
        found = {name: Observation(*self.observed[name].ends) for name in names}
        for name in names:
            found[name].add(exact[name])
        return found

    def is_fixed(self, report: LayerReport) -> bool:
        """Return whether a layer's range is given by its operator, not by calibration."""
        return report.range in self.quantized.float_graph.points.fixed

    def needed(self, owner: str) -> tuple[float, float]:
        """Return the range that the images need in all values of one grid."""
        seen = [self.observed[part.value] for part in self.parts.values() if part.owner == owner]
        return min(float(s.low.min()) for s in seen), max(float(s.high.max()) for s in seen)

    def with_needed_ranges(self, owners: Iterable[str]) -> Quantized:
        """Return the model with the ranges of some values as wide as the images need."""
        found = {owner: self.needed(owner) for owner in owners}
        plan = self.quantized.plan
        activations = tuple(
            replace(each, low=found[each.tensor][0], high=found[each.tensor][1])
            if each.tensor in found
            else each
            for each in plan.activations
        )
        return replace(self.quantized, plan=replace(plan, activations=activations))

    def calibrated_by(self, calibrator: str) -> Quantized:
        """Return the model with ranges by another calibrator on the same images."""
        origin = replace(self.quantized.plan.origin, calibrator=calibrator)
        changed = replace(self.quantized, plan=replace(self.quantized.plan, origin=origin))
        return self._calibrated(changed, self.calibration_images)

    def calibrated_without(self, numbers: list[int]) -> Quantized:
        """Return the model with ranges by the same calibrator without some of its images."""
        kept = np.delete(self.calibration_images, numbers, axis=0)
        return self._calibrated(self.quantized, kept)

    @staticmethod
    def _calibrated(model: Quantized, images: Pixels) -> Quantized:
        return replace(model, plan=recalibrated(model.plan, model.float_graph, images))

    def equalized(self) -> Quantized:
        """Return the model with like ranges in the channels of each value."""
        return equalized(self.quantized, self.calibration_images)

    @property
    def calibration_images(self) -> Pixels:
        """Return the calibration images; where they are not known, those of the diagnosis."""
        known = self.calibration
        return np.asarray(self.judge.images) if known is None else known.images

    def in_float(self, reports: Iterable[LayerReport]) -> Quantized:
        """Return the model with layers, and the layers that read their output, in float."""
        graph, plan = self.quantized.float_graph, self.quantized.plan
        chosen = {each.layer for each in plan.weights if each.bits == 32}
        for report in reports:
            chosen |= {report.weights or "", *self.readers(report)} - {""}
        changed = with_float_layers(plan, graph, chosen, "diagnosis")
        return replace(self.quantized, plan=changed)

    def readers(self, report: LayerReport) -> tuple[str, ...]:
        """Return the weights of the layers that read a layer's output, also through others."""
        graph = self.quantized.float_graph
        weighted = {id(node): node.inputs[1] for node in graph.weighted}
        waiting, found, seen = [report.value], list[str](), set[str]()
        while waiting:
            for node in graph.graph.consumers(waiting.pop()):
                if id(node) in weighted:
                    found.append(weighted[id(node)])
                elif node.output not in seen:
                    seen.add(node.output)
                    waiting += node.outputs
        return tuple(dict.fromkeys(found))


def histogram_distance(first: Pixels, second: Pixels) -> float:
    """Return the total variation distance of two sets of pixels, 0 … 1, over 16 levels of gray."""
    both = (first, second)
    shares = [np.bincount(each.reshape(-1) // 16, minlength=16) / each.size for each in both]
    return float(np.abs(shares[0] - shares[1]).sum() / 2)
