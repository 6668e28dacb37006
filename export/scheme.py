"""One way to write a model down, how exact its files are, and the runtimes that they support."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hemline.contract.specs import Format, SupportedRuntime

_LARGEST_SHARE = 0.5  # of the largest |logit|: a file that is off by more is broken in any case


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """How far the logits of a file may lie from its reference's.

    share: largest difference of a logit, as a share of the largest |logit|, for one layer.
    growth: power of the number of layers with weights that the share grows with (0: not at all).
    agreement: least share of images with the reference's label, 0 … 1.
    least: difference that is accepted in any case, where all logits are small.
    """

    share: float
    growth: float = 0.0
    agreement: float
    least: float = 0.0

    def share_of(self, weighted_layers: int) -> float:
        """Return the share for a model with so many layers with weights."""
        return min(self.share * math.pow(max(1, weighted_layers), self.growth), _LARGEST_SHARE)

    def bound(self, largest_logit: float, weighted_layers: int) -> float:
        """Return the largest difference of a logit, by the largest |logit| of the reference."""
        return max(self.share_of(weighted_layers) * largest_logit, self.least)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """One way to write a model down: a row of the SCHEMES table.

    name: decodes itself (int8: weights and activations; dynamic: int8 weights, float activations).
    format: file format, also the file's ending.
    summary: one line for help and tables.
    converter: "module:function" that makes the file.
    planner: "module:function" that says how it is quantized; None for one that needs no plan.
    tolerance: how far its logits may lie from the source model's.
    supported_runtimes: runtimes in which its files must pass verification.
    searches: whether the planner also reads all training and validation images, labels and budget.
    default: whether it is exported where no scheme is named.
    """

    name: str
    format: Format
    summary: str
    converter: str
    planner: str | None
    tolerance: Tolerance
    supported_runtimes: tuple[SupportedRuntime, ...]
    searches: bool = False
    default: bool = True

    @property
    def calibrated(self) -> bool:
        """Return whether it needs calibration images."""
        return self.planner is not None

    @property
    def file_name(self) -> str:
        """Return the artifact's file name, which is also its name in every table."""
        return f"{self.name}.{self.format}"
