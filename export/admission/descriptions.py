"""A model as a runtime describes it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorFacts:
    """An input or output, as a runtime describes it.

    name: of the tensor.
    shape: sizes; −1 where one is free. None where the runtime does not know the number of axes.
    dtype: numpy's name, or the runtime's own where numpy has none.
    scale: value of one stored step; 0.0 where the file does not say.
    zero_point: stored value of 0.
    """

    name: str
    shape: tuple[int, ...] | None
    dtype: str
    scale: float = 0.0
    zero_point: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """A model, as a runtime describes it.

    version: of the runtime's package.
    refused: why it does not open the model, one line; empty when it does.
    inputs, outputs: in the model's order; empty when refused.
    """

    version: str
    refused: str = ""
    inputs: tuple[TensorFacts, ...] = ()
    outputs: tuple[TensorFacts, ...] = ()
