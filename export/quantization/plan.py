"""What is quantized how: the grid of every layer's weights and the range of every activation."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from hemline.contract.schema import added
from hemline.contract.steps import FloatLayer
from hemline.errors import HemlineError

Bits = Literal[3, 4, 5, 6, 7, 8, 32]
ActivationBits = Literal[8, 16, 32]
Scope = Literal["channel", "tensor"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightGrid:
    """The grid of one layer's weights.

    layer: its name in the float graph.
    bits: 8; 7 for 8 of which no two of one sign add up to more than 128; 6 … 3 for values stored
        in 8 bits that keep to the inner part of the grid; 32 for float.
    scope: whether each output channel has a scale of its own, or the whole tensor one.
    reason: why the layer computes in float; empty for one on a grid.
    """

    layer: str
    bits: Bits
    scope: Scope
    reason: str = added("")


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivationRange:
    """The real values that an activation's grid spans.

    tensor: its name in the float graph; all values that share the grid share range and bits.
    low, high: real values; what lies outside is clipped.
    bits: 8 or 16; 32 where the values are not rounded.
    """

    tensor: str
    low: float
    high: float
    bits: ActivationBits = added(8)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low <= self.high):
            raise ValueError(f"{self.tensor} has no range: {self.low} … {self.high}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelStatistics:
    """What calibration images are like, so that others can be compared with them.

    means, deviations: of the pixels 0 … 255, one number a channel.
    darkest, brightest: pixels of all.
    """

    means: tuple[float, ...]
    deviations: tuple[float, ...]
    darkest: int
    brightest: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeOrigin:
    """Where the ranges come from.

    calibrator: name in the CALIBRATORS table.
    images: how many calibration images.
    images_sha256: of their bytes.
    seed: that they were drawn with from the training images.
    pixels: what they are like; None where an earlier Hemline made the plan.
    """

    calibrator: str
    images: int
    images_sha256: str
    seed: int
    pixels: PixelStatistics | None = added(None)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizationPlan:
    """All that a quantized file is made by, beside the float model.

    weights: grid of each layer with weights, in the order of the graph.
    activations: range of each activation, in the order of the graph, the input first.
    origin: of the ranges.
    """

    KIND: ClassVar[str] = "quantization plan"
    SCHEMA: ClassVar[int] = 3

    weights: tuple[WeightGrid, ...]
    activations: tuple[ActivationRange, ...]
    origin: RangeOrigin

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """Return the range of each activation by name."""
        return {each.tensor: (each.low, each.high) for each in self.activations}

    @property
    def float_layers(self) -> tuple[FloatLayer, ...]:
        """Return the layers that compute in float, with the reasons."""
        return tuple(
            FloatLayer(layer=grid.layer, reason=grid.reason)
            for grid in self.weights
            if grid.bits == 32
        )

    @property
    def is_plain(self) -> bool:
        """Return whether every layer and every activation has 8 bits or fewer."""
        return not self.float_layers and all(each.bits == 8 for each in self.activations)

    def in_integers(self) -> QuantizationPlan:
        """Return the same plan without layers and values in float."""
        return replace(
            self,
            weights=tuple(
                replace(grid, bits=7, reason="") if grid.bits == 32 else grid
                for grid in self.weights
            ),
            activations=tuple(
                replace(each, bits=8) if each.bits == 32 else each for each in self.activations
            ),
        )

    @staticmethod
    def upgraded(document: dict[str, Any], schema: int) -> dict[str, Any]:
        """Bring a plan of schema 1 or 2 to this one.

        Until 1 each format had a graph, and a plan, of its own.
        """
        if schema < 2:
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
            if grid.bits != 32 and grid.scope != own[name].scope:
                raise HemlineError(
                    f"the plan wants {grid.bits} bits per {grid.scope} in {name}; the writers have "
                    f"3 to 8 bits per {own[name].scope}"
                )
