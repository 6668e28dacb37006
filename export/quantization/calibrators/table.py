"""The calibrators: every way to find the range of an activation from its values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hemline.errors import HemlineError, UnknownNameError
from hemline.export.quantization.calibrators.histogram import Histogram
from hemline.export.quantization.calibrators.observations import Observations, Range
from hemline.runtime.backends import attribute

Values = Mapping[str, npt.NDArray[np.float32]]  # of each activation, for some images
Ranges = dict[str, Range]

_HERE = "hemline.export.quantization.calibrators"


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrator:
    """A row of the CALIBRATORS table.

    name: of the calibrator.
    summary: one line for help and tables.
    function: "module:function" that turns the Observations of an activation into its range.
    histogram: whether it reads a histogram of the values.
    synthetic: whether its images are made from the model, not taken from the data.
    """

    name: str
    summary: str
    function: str
    histogram: bool = True
    synthetic: bool = False

    def ranges(self, seen: Mapping[str, Observations]) -> Ranges:
        """Return the range of each activation from what was observed of it."""
        function = attribute(self.function)
        return {name: function(each) for name, each in seen.items()}


def observe(
    batches: Iterable[Values], seen: dict[str, Observations], *, histogram: bool
) -> dict[str, Observations]:
    """Add the values of some images to what was observed, and return that.

    Raises HemlineError naming an activation with values that are not numbers.
    """
    for batch in batches:
        for name, values in batch.items():
            if name not in seen:
                seen[name] = Observations(histogram=Histogram() if histogram else None)
            try:
                seen[name].add(values)
            except ValueError as error:
                raise HemlineError(
                    f"{name} has {error} for a calibration image: the model overflows, or its "
                    "weights are damaged"
                ) from error
    return seen


def ranges_by(name: str, batches: Iterable[Values]) -> Ranges:
    """Return the ranges that a calibrator finds in the values of all images."""
    calibrator = find_calibrator(name)
    return calibrator.ranges(observe(batches, {}, histogram=calibrator.histogram))


CALIBRATORS: dict[str, Calibrator] = {
    row.name: row
    for row in (
        Calibrator(
            name="min-max",
            summary="the smallest and the largest value: nothing is clipped",
            function=f"{_HERE}.min_max:min_max",
            histogram=False,
        ),
        Calibrator(
            name="moving-average",
            summary="the mean of each image's smallest and largest value",
            function=f"{_HERE}.moving_average:moving_average",
            histogram=False,
        ),
        Calibrator(
            name="percentile",
            summary="all but the largest 0.01 % of the values",
            function=f"{_HERE}.percentile:percentile",
        ),
        Calibrator(
            name="entropy",
            summary="the least divergence of the distribution on the grid",
            function=f"{_HERE}.entropy:entropy",
        ),
        Calibrator(
            name="mse",
            summary="the least mean squared error of clipping and rounding",
            function=f"{_HERE}.mse:mse",
        ),
        Calibrator(
            name="synthetic",
            summary="min-max without data: on images made from the model's batch normalization",
            function=f"{_HERE}.min_max:min_max",
            histogram=False,
            synthetic=True,
        ),
    )
}


def find_calibrator(name: str) -> Calibrator:
    """Return a row of CALIBRATORS; raises UnknownNameError with the nearest name."""
    if name not in CALIBRATORS:
        raise UnknownNameError("calibrator", name, CALIBRATORS)
    return CALIBRATORS[name]
