"""The layers of a model, as its summary lists them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One line of a model summary.

    name: of the layer in the model.
    kind: its Keras class.
    output: shape of its output for one image.
    parameters: number of scalars.
    macs: multiply-accumulates of one inference.
    """

    name: str
    kind: str
    output: tuple[int, ...]
    parameters: int
    macs: int
