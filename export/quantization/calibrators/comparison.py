"""Every calibrator on more and more images, judged on validation: which one, and how many."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from hemline.export.quantization.calibration import Calibration
from hemline.export.quantization.calibrators.observations import Observations
from hemline.export.quantization.calibrators.table import CALIBRATORS, Ranges, observe
from hemline.export.quantization.float_graph import FloatGraph, plan_by, with_extremes
from hemline.export.quantization.quantized import Quantized
from hemline.export.quantization.simulation import Fidelity, fidelity, float_logits, logits
from hemline.tables import CHANGE, Table, change

Pixels = npt.NDArray[np.uint8]
COUNTS = (16, 64, 256, 1024, 2048)


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationTrial:
    """A calibrator on so many images.

    agreement: share of validation images with the label of the float model, 0 … 1.
    drop_points: accuracy lost on them, in percentage points; None without labels.
    """

    calibrator: str
    images: int
    agreement: float
    drop_points: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationComparison:
    """What each calibrator makes of a model.

    model: its name.
    parent_sha256: of its file.
    validation_images: that it was judged on.
    float_accuracy: of the float model on them, 0 … 1; None without labels.
    trials: by calibrator in the order of the table, then by images.
    versions: of packages that matter.
    """

    KIND: ClassVar[str] = "calibration comparison"
    SCHEMA: ClassVar[int] = 1

    model: str
    parent_sha256: str
    validation_images: int
    float_accuracy: float | None
    trials: tuple[CalibrationTrial, ...]
    versions: dict[str, str]

    def of(self, calibrator: str) -> tuple[CalibrationTrial, ...]:
        """Return the trials of a calibrator."""
        return tuple(each for each in self.trials if each.calibrator == calibrator)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """Validation images uint8 (n, h, w, c), their labels (n,) or None, and the float logits."""

    images: Pixels
    labels: Pixels | None
    reference: npt.NDArray[np.float32]

    @classmethod
    def of(cls, graph: FloatGraph, images: Pixels, labels: Pixels | None) -> Judge:
        """Run the float model on images."""
        return cls(images=images, labels=labels, reference=float_logits(graph, images))

    def fidelity(self, quantized: Quantized) -> Fidelity:
        """Judge a quantized model."""
        return fidelity(logits(quantized, self.images), self.reference, self.labels)


def trials(
    graph: FloatGraph, calibration: Calibration, judge: Judge, say: Callable[[str], None]
) -> Iterator[CalibrationTrial]:
    """Yield a trial for each calibrator that takes images and each of COUNTS that there are.

    All of them read the same pass over the images, a random part of them first.
    """
    order = np.random.default_rng(calibration.seed).permutation(len(calibration.images))
    images = calibration.images[order]
    seen: dict[str, Observations] = {}
    done = 0
    for count in _counts(len(images)):
        say(f"calibrate on {count:,} images")
        part = images[done:count] if done else with_extremes(images[:count])
        observe(map(graph.as_read, graph.observe(part)), seen, histogram=True)
        done = count
        for row in CALIBRATORS.values():
            if not row.synthetic:
                yield trial(graph, calibration, row.name, count, row.ranges(seen), judge)


def trial(
    graph: FloatGraph,
    calibration: Calibration,
    calibrator: str,
    count: int,
    ranges: Ranges,
    judge: Judge,
) -> CalibrationTrial:
    """Judge the ranges that a calibrator found on `count` images."""
    plan = plan_by(graph, ranges, calibration, calibrator)
    found = judge.fidelity(Quantized(float_graph=graph, plan=plan))
    return CalibrationTrial(
        calibrator=calibrator,
        images=count,
        agreement=found.agreement,
        drop_points=None if found.accuracy is None else found.drop_points,
    )


def _counts(available: int) -> list[int]:
    return [each for each in COUNTS if each < available] + [min(available, COUNTS[-1])]


def comparison_table(comparison: CalibrationComparison) -> Table:
    """Return a row for each trial, with the change of accuracy where there are labels."""
    labelled = comparison.float_accuracy is not None
    columns = (
        "calibrator",
        ">images",
        *((f">{CHANGE}",) if labelled else ()),
        ">agreement (%)",
    )
    rows = []
    for each in comparison.trials:
        drop = () if each.drop_points is None else (change(each.drop_points),)
        rows.append((each.calibrator, f"{each.images:,}", *drop, f"{100 * each.agreement:.2f}"))
    return Table.of(columns, rows)
