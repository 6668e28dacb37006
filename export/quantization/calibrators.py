"""The calibrators: every way to find the range of an activation from its values."""

from __future__ import annotations

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
    function: turns the values of all images into ranges.
    """

    name: str
    summary: str
    function: Calibrate


def min_max(values: Iterable[Values]) -> Ranges:
    """Return the smallest and the largest value of each activation."""
    ranges: Ranges = {}
    for batch in values:
        for name, each in batch.items():
            low, high = ranges.get(name, (float("inf"), float("-inf")))
            ranges[name] = (min(low, float(each.min())), max(high, float(each.max())))
    return ranges


CALIBRATORS: dict[str, Calibrator] = {
    row.name: row
    for row in (
        Calibrator(
            name="min-max",
            summary="the smallest and the largest value: nothing is clipped",
            function=min_max,
        ),
    )
}


def find_calibrator(name: str) -> Calibrator:
    """Return a row of CALIBRATORS; raises UnknownNameError with the nearest name."""
    if name not in CALIBRATORS:
        raise UnknownNameError("calibrator", name, CALIBRATORS)
    return CALIBRATORS[name]
