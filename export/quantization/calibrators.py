"""The calibrators: every way to find the range of an activation from its values."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hemline.errors import UnknownNameError

Values = Mapping[str, npt.NDArray[np.float32]]  # of each activation, for some images
Ranges = dict[str, tuple[float, float]]
Calibrate = Callable[[Iterable[Values]], Ranges]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrator:
    """A row of the CALIBRATORS table.

    name: of the calibrator.
    summary: one line for help and tables.
    function: "module:function" that turns the values of all images into ranges.
    """

    name: str
    summary: str
    function: str

    def load(self) -> Calibrate:
        """Import the function."""
        module, _, name = self.function.partition(":")
        calibrate: Calibrate = getattr(importlib.import_module(module), name)
        return calibrate


CALIBRATORS: dict[str, Calibrator] = {
    row.name: row
    for row in (
        Calibrator(
            name="min-max",
            summary="the smallest and the largest value: nothing is clipped",
            function="hemline.export.quantization.ranges:min_max",
        ),
    )
}


def find_calibrator(name: str) -> Calibrator:
    """Return a row of CALIBRATORS; raises UnknownNameError with the nearest name."""
    if name not in CALIBRATORS:
        raise UnknownNameError("calibrator", name, CALIBRATORS)
    return CALIBRATORS[name]
