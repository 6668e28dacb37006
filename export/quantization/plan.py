"""What is quantized how: the grid of every layer's weights and the range of every activation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from hemline.contract.specs import Format
from hemline.errors import HemlineError

Bits = Literal[4, 7, 8, 32]
Scope = Literal["channel", "tensor"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightGrid:
    """The grid of one layer's weights.

    layer: its name in the float graph.
    bits: 8; 7 or 4 for values stored in 8 bits that keep to the inner part of the grid; 32 for
        float.
    scope: whether each output channel has a scale of its own, or the whole tensor one.
    """

    layer: str
    bits: Bits
    scope: Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivationRange:
    """The real values that an activation's 8 bits span.

    tensor: its name in the float graph.
    low, high: real values; what lies outside is clipped.
    """

    tensor: str
    low: float
    high: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low <= self.high):
            raise ValueError(f"{self.tensor} has no range: {self.low} … {self.high}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeOrigin:
    """Where the ranges come from.

    calibrator: name in the CALIBRATORS table.
    images: how many calibration images.
    images_sha256: of their bytes.
    seed: that they were drawn with from the training images.
    """

    calibrator: str
    images: int
    images_sha256: str
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizationPlan:
    """All that a quantized file is made by, beside the float model.

    graph: format of the float graph that names the layers and tensors.
    weights: grid of each layer with weights, in the order of the graph.
    activations: range of each activation, in the order of the graph, the input first.
    origin: of the ranges.
    """

    KIND: ClassVar[str] = "quantization plan"
    SCHEMA: ClassVar[int] = 1

    graph: Format
    weights: tuple[WeightGrid, ...]
    activations: tuple[ActivationRange, ...]
    origin: RangeOrigin

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """Return the range of each activation by name."""
        return {each.tensor: (each.low, each.high) for each in self.activations}

    def require_fitting(self, graph: Format, grids: tuple[WeightGrid, ...]) -> None:
        """Raise HemlineError for a plan of another graph, or with grids that its writer lacks."""
        if self.graph != graph:
            raise HemlineError(f"the plan is of a graph in {self.graph}, not {graph}")
        own = {grid.layer: grid for grid in grids}
        for grid in self.weights:
            if own.get(grid.layer) != grid:
                can = "no such layer" if grid.layer not in own else _described(own[grid.layer])
                raise HemlineError(
                    f"the plan wants {_described(grid)} in {grid.layer}; {graph} has {can}"
                )


def _described(grid: WeightGrid) -> str:
    return f"{grid.bits} bits per {grid.scope}"
