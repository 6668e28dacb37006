"""The float graph that plans are made for: what they name, and where ranges are observed."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import onnx

from hemline.export.graph.editing import Graph, Node, with_batch_of_one
from hemline.export.graph.points import Points, find_points
from hemline.export.graph.reading import read_ranges
from hemline.export.graph.running import run_batches
from hemline.export.quantization.calibration import Calibration, pixel_statistics
from hemline.export.quantization.calibrators.table import Ranges, Values, ranges_by
from hemline.export.quantization.plan import (
    ActivationRange,
    QuantizationPlan,
    RangeOrigin,
    WeightGrid,
)

Pixels = npt.NDArray[np.uint8]
_WEIGHTS_AT = 1  # of their inputs
_BATCH = 10  # images that are observed at once: their activations are in memory together


class FloatGraph:
    """A normalized model, still in float, and its points."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        """Find the points of a model that `normalized` made."""
        self.proto = proto
        self.graph = Graph(with_batch_of_one(proto))
        self.points: Points = find_points(self.graph)

    @functools.cached_property
    def weighted(self) -> tuple[Node, ...]:
        """Return the convolutions and dense layers."""
        return tuple(node for node in self.graph.nodes if _has_weights(self.graph, node))

    @functools.cached_property
    def grids(self) -> tuple[WeightGrid, ...]:
        """Return 7 bits for each layer: a scale a channel for convolutions, one for dense layers.

        x86 without VNNI adds two products in 16 bits, which 2 · 255 · 127 does not fit into: with 7
        bits no two weights of a channel add up to more than 128. TFLite's converter knows no scale
        a channel for dense layers here, and older runtimes none at all.
        """
        return tuple(
            WeightGrid(
                layer=node.inputs[_WEIGHTS_AT],
                bits=7,
                scope="channel" if node.op == "Conv" else "tensor",
            )
            for node in self.weighted
        )

    def observe(self, images: Pixels, names: Sequence[str] | None = None) -> Iterator[Values]:
        """Yield values by name, those at the points if none are named, for some images at a time.

        images: uint8 (n, h, w, c).
        """
        opened = onnx.ModelProto()
        opened.CopyFrom(self.proto)
        given = {value.name for value in opened.graph.output}
        names = list(dict.fromkeys(self.points.observed if names is None else names))
        opened.graph.output.extend(
            onnx.ValueInfoProto(name=each) for each in names if each not in given
        )
        yield from run_batches(opened, names, images, batch=_BATCH)

    def as_read(self, values: Values) -> Values:
        """Return values as their readers tell them apart, which no grid needs to exceed."""
        return {
            name: np.clip(each, *self._read[name]) if name in self._read else each
            for name, each in values.items()
        }

    @functools.cached_property
    def _read(self) -> dict[str, tuple[float, float]]:
        return read_ranges(self.graph, self.points)


def _has_weights(graph: Graph, node: Node) -> bool:
    if node.op not in ("Conv", "Gemm", "MatMul"):
        return False
    weights = graph.constant(node.input(_WEIGHTS_AT))
    return weights is not None and (node.op != "MatMul" or weights.ndim == 2)


def calibrated_plan(
    graph: FloatGraph, calibration: Calibration, calibrator: str = "min-max"
) -> QuantizationPlan:
    """Return the plan of a graph with the ranges that a calibrator finds on images.

    Raises DataError for images that the graph does not take.
    """
    calibration.require_fitting(graph.graph.shape(graph.graph.image)[1:])
    found = ranges_by(calibrator, observed(graph, calibration.images))
    return plan_by(graph, found, calibration, calibrator)


def observed(graph: FloatGraph, images: Pixels) -> Iterator[Values]:
    """Yield the values that calibrators are given, for some images at a time."""
    return map(graph.as_read, graph.observe(with_extremes(images)))


def plan_by(
    graph: FloatGraph, found: Ranges, calibration: Calibration, calibrator: str
) -> QuantizationPlan:
    """Return the plan of a graph with ranges that were found."""
    ranges = _shared(graph.points, found)
    return QuantizationPlan(
        weights=graph.grids,
        activations=tuple(
            ActivationRange(tensor=name, low=ranges[name][0], high=ranges[name][1])
            for name in graph.points.owners
        ),
        origin=RangeOrigin(
            calibrator=calibrator,
            images=len(calibration.images),
            images_sha256=calibration.sha256,
            seed=calibration.seed,
            pixels=pixel_statistics(calibration.images),
        ),
    )


def recalibrated(plan: QuantizationPlan, graph: FloatGraph, images: Pixels) -> QuantizationPlan:
    """Return a plan with ranges of a graph that was changed, by its calibrator on its images."""
    ranges = _shared(graph.points, ranges_by(plan.origin.calibrator, observed(graph, images)))
    activations = (
        replace(each, low=ranges[each.tensor][0], high=ranges[each.tensor][1])
        for each in plan.activations
    )
    return replace(plan, activations=tuple(activations))


def _shared(points: Points, found: Ranges) -> Ranges:
    """Return the range of each grid: of all values that share it."""
    ranges = dict(points.fixed)
    for name, (low, high) in found.items():
        owner = str(points.owner(name))
        other = ranges.get(owner, (low, high))
        ranges[owner] = (min(low, other[0]), max(high, other[1]))
    return ranges


def with_extremes(images: Pixels) -> Pixels:
    """Return the images with one black and white one in front, so that pixels go in unchanged.

    Half of the image is black: convolutions see flat areas only, as in real images.
    """
    extreme = np.zeros_like(images[:1])
    extreme[:, : extreme.shape[1] // 2] = 255
    return np.concatenate([extreme, images])
