"""A graph with the numbers of a plan: scale and zero point at each point, weights as integers."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx

from hemline.errors import HemlineError
from hemline.export.graph.editing import Node
from hemline.export.graph.points import LAYOUT
from hemline.export.quantization.float_graph import FloatGraph
from hemline.export.quantization.plan import QuantizationPlan

Floats = npt.NDArray[np.float32]
_STEPS = {8: 255, 16: 65_535}  # by bits
_FULL = 127  # largest weight of 8 bits
# weight, by bits: the inner part of the same grid
LARGEST = {8: 127, 7: 127, 6: 31, 5: 15, 4: 7, 3: 3}
LEAST = 2.0**-16  # of the largest weight: a channel of zeros needs a scale too
LEAST_SCALE = float(np.finfo(np.float32).tiny) * 2.0**20
_LARGEST_BIAS = 2.0**30  # int32, with room for the sum


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """The values of an activation: (integer − zero_point) · scale, integers 0 … 255 or 65,535.

    low, high: the ends as TensorFlow's fake quantization takes them, from which its converter
    calculates the very same scale.
    bits: 8 or 16.
    """

    low: float
    high: float
    zero_point: int
    bits: int = 8

    @property
    def scale(self) -> np.float32:
        """Return the distance of two values."""
        return np.float32((self.high - self.low) / _STEPS[self.bits])

    @classmethod
    def of(cls, low: float, high: float, bits: int = 8) -> Grid:
        """Return the grid that spans a range, widened so that it holds 0 exactly."""
        steps = _STEPS[bits]
        low, high = min(low, 0.0), max(high, 0.0)
        scale = np.float32((high - low) / steps) or np.float32(1 / steps)
        zero_point = round(float(np.clip(-low / scale, 0, steps)))
        first, last = (np.float32(each * scale) for each in (-zero_point, steps - zero_point))
        return cls(low=float(first), high=float(last), zero_point=zero_point, bits=bits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """Weights on their grid.

    bound: the largest |value| that 8 bits would hold, one or one for each channel.
    axis: of the channels in `integers`; None for one scale.
    integers: int8, in the order of the graph.
    """

    bound: Floats
    axis: int | None
    integers: npt.NDArray[np.int8]

    @property
    def scale(self) -> Floats:
        """Return the scale, or that of each channel, as TensorFlow's converter calculates it."""
        return np.asarray(self.bound.astype(np.float64) / _FULL, np.float32)


class AnnotatedGraph:
    """A float graph and what a plan makes of its values."""

    def __init__(self, graph: FloatGraph, plan: QuantizationPlan) -> None:
        """Raise HemlineError for a plan of another graph."""
        plan.require_fitting(graph.grids)
        if missing := [name for name in graph.points.owners if name not in plan.ranges]:
            raise HemlineError(f"the plan has no range for {missing[0]}")
        self.float_graph = graph
        self.graph = graph.graph
        self._activations = {each.tensor: each for each in plan.activations}
        self._grids = {grid.layer: grid for grid in plan.weights}
        if self._activations[self.graph.image].bits != 8:
            raise HemlineError("the plan does not take pixels as 8 bits")

    def is_point(self, value: str) -> bool:
        """Return whether a value is rounded, to 8 or 16 bits."""
        return value in self._quantized

    def stays_float(self, value: str) -> bool:
        """Return whether a value would be rounded, did the plan not say 32 bits."""
        owner = self.float_graph.points.owner(value)
        return owner is not None and self._activations[owner].bits == 32

    @functools.cached_property
    def _quantized(self) -> frozenset[str]:
        points = self.float_graph.points
        return frozenset(
            each
            for each in points.quantized
            if self._activations[str(points.owner(each))].bits != 32
        )

    def grid(self, value: str) -> Grid:
        """Return the grid of a value that has one."""
        found = self._activations[str(self.float_graph.points.owner(value))]
        return Grid.of(found.low, found.high, found.bits)

    @functools.cached_property
    def kernels(self) -> dict[str, Kernel]:
        """Return the weights of each layer on their grid, by the name of the weights.

        None of a layer in float.
        """
        return {
            node.inputs[1]: self._kernel(node)
            for node in self.float_graph.weighted
            if self._grids[node.inputs[1]].bits != 32
        }

    def _kernel(self, node: Node) -> Kernel:
        weights = self.graph.constants[node.inputs[1]].astype(np.float64)
        plan = self._grids[node.inputs[1]]
        largest = LARGEST[plan.bits]
        per_channel = plan.scope == "channel"
        found = _reach(weights.T if node.op != "Conv" else weights, plan.bits)
        found = found if per_channel else found.max()
        scale = np.maximum(found, LEAST * np.abs(weights).max()) / largest
        scale = np.maximum(scale, self._least_for_bias(node, per_channel))
        bound = np.asarray(scale * _FULL, np.float32)
        kernel = Kernel(bound=bound, axis=0 if per_channel else None, integers=np.zeros(0, np.int8))
        spread = (
            kernel.scale.reshape(-1, *(1,) * (weights.ndim - 1)) if per_channel else kernel.scale
        )
        integers = np.clip(np.round(weights / spread), -largest, largest).astype(np.int8)
        return Kernel(bound=bound, axis=kernel.axis, integers=integers)

    def _least_for_bias(self, node: Node, per_channel: bool) -> npt.NDArray[np.float64]:
        """Return the least scale of weights with which the bias fits into its integers."""
        if not self.has_integer_bias(node):
            return np.asarray(LEAST_SCALE)
        bias = self.graph.constants.get(node.input(2), np.zeros(1, np.float32)).reshape(-1)
        sizes = np.abs(bias.astype(np.float64)) / self.grid(node.inputs[0]).scale / _LARGEST_BIAS
        least = sizes if per_channel else sizes.max()
        return np.maximum(least, LEAST_SCALE)

    def has_integer_bias(self, node: Node) -> bool:
        """Return whether the bias of a layer is integers: those of its input and weights are."""
        on_grid = self._grids[node.inputs[1]].bits != 32
        return on_grid and bool(node.input(2)) and self.reads_integers(node)

    def reads_integers(self, node: Node) -> bool:
        """Return whether the first input of a node is on a grid, directly or moved."""
        value = node.inputs[0]
        while (maker := self.graph.maker(value)) is not None and not self.is_point(value):
            if maker.op not in LAYOUT:
                return False
            value = maker.inputs[0]
        return self.is_point(value)

    def bias(self, node: Node) -> tuple[npt.NDArray[np.int32], Floats]:
        """Return the bias of a layer as integers, and their scales."""
        kernel = self.kernels[node.inputs[1]]
        bias = self.graph.constants[node.inputs[2]].reshape(-1).astype(np.float64)
        scale = self.grid(node.inputs[0]).scale * kernel.scale
        integers = np.round((bias + self._off_ties(node, kernel, bias)) / scale.astype(np.float64))
        return integers.astype(np.int32), scale

    def _off_ties(
        self, node: Node, kernel: Kernel, bias: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        """Return a quarter of a step where all outputs would lie in the middle between two steps.

        Such a layer subtracts 127.5 from pixels. How a runtime rounds halves, and its last bit,
        would decide each output.
        """
        if kernel.integers[0].size != 1 or kernel.axis is None:
            return np.zeros_like(bias)
        output = self.rounded(node)
        if output is None:
            return np.zeros_like(bias)
        step = self.grid(output).scale
        ratio = self.grid(node.inputs[0]).scale * kernel.scale * kernel.integers.reshape(-1) / step
        whole = np.abs(ratio - np.round(ratio)) < 1e-3
        half = np.abs((bias / step) % 1 - 0.5) < 1 / 8
        return np.where(whole & half, step / 4, 0.0)

    def rounded(self, node: Node) -> str | None:
        """Return the value that a layer is rounded at, behind its activation; None if nowhere."""
        following = self.graph.only_consumer(node.output)
        activated = following is not None and following.op in ("Relu", "Clip")
        values = (node.output, following.output if activated and following else "")
        return next((value for value in values if self.is_point(value)), None)

    @functools.cached_property
    def proto(self) -> onnx.ModelProto:
        """Return the float model with every bias that one layer alone has rounded to its grid."""
        rounded = onnx.ModelProto()
        rounded.CopyFrom(self.float_graph.proto)
        biases = [node.input(2) for node in self.float_graph.weighted]
        tensors = {tensor.name: tensor for tensor in rounded.graph.initializer}
        for node in self.float_graph.weighted:
            if biases.count(name := node.input(2)) == 1 and self.has_integer_bias(node):
                integers, scale = self.bias(node)
                found = np.asarray(integers * scale.astype(np.float64), np.float32)
                shape = self.graph.constants[name].shape
                tensors[name].CopyFrom(onnx.numpy_helper.from_array(found.reshape(shape), name))
        return rounded


def _reach(weights: npt.NDArray[np.float64], bits: int) -> npt.NDArray[np.float64]:
    """Return what the largest integer of each channel, the first axis, stands for.

    With 7 bits that is as much as any two weights of one sign add up to: then two products with
    uint8 fit into the 16 bits in which x86 without VNNI adds them, in whatever order.
    """
    flat = weights.reshape(len(weights), -1)
    largest: npt.NDArray[np.float64] = np.abs(flat).max(axis=1)
    if bits != 7 or flat.shape[1] == 1:
        return largest
    pairs = [np.partition(np.maximum(each, 0), -2)[:, -2:].sum(axis=1) for each in (flat, -flat)]
    return np.maximum(largest, np.maximum(*pairs))
