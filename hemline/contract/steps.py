"""What was done so that a quantized file keeps its model's accuracy: for manifests and tables."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that was done to a quantized model.

    name: of the method, such as calibration, equalization or training.
    detail: how, in plain words; empty where the name says it all.
    gain_points: accuracy that it brought on validation, in percentage points (agreement with the
        float model where there are no labels); None where it was not measured.
    """

    name: str
    detail: str = ""
    gain_points: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FloatLayer:
    """A layer of a quantized file that computes in float.

    layer: its name in the float graph, that of its weights.
    reason: one line.
    """

    layer: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A file that was not made.

    name: of the file.
    reason: one line.
    needed: False where there is nothing to gain by it, True where it could not be made.
    recipe_sha256: of all that it would be made from; the same value needs no new try.
    """

    name: str
    reason: str
    needed: bool
    recipe_sha256: str
