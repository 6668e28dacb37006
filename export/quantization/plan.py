"""What is quantized how: the grid of every layer's weights and the range of every activation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

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

    weights: grid of each layer with weights, in the order of the graph.
    activations: range of each activation, in the order of the graph, the input first.
    origin: of the ranges.
    """

    KIND: ClassVar[str] = "quantization plan"
    SCHEMA: ClassVar[int] = 2

    weights: tuple[WeightGrid, ...]
    activations: tuple[ActivationRange, ...]
    origin: RangeOrigin

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """Return the range of each activation by name."""
        return {each.tensor: (each.low, each.high) for each in self.activations}

    @staticmethod
    def upgraded(document: dict[str, Any], schema: int) -> dict[str, Any]:
        """Bring a plan of schema 1 to this one: each format had a graph, and a plan, of its own."""
        del schema
        del document["graph"]
        return document

    def require_fitting(self, grids: tuple[WeightGrid, ...]) -> None:
        """Raise HemlineError for a plan of another graph, or with grids that the writers lack."""
        own = {grid.layer: grid for grid in grids}
        planned = {grid.layer: grid for grid in self.weights}
        if other := sorted(own.keys() ^ planned.keys()):
            which = "no grid for" if other[0] in own else "one for a layer that is not there,"
            raise HemlineError(f"the plan has {which} {other[0]}")
        for name, grid in planned.items():
            if grid.bits == 32 or grid.scope != own[name].scope:
                raise HemlineError(
                    f"the plan wants {grid.bits} bits per {grid.scope} in {name}; the writers have "
                    f"4, 7 and 8 bits per {own[name].scope}"
                )
