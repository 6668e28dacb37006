"""Check accuracy on the same images, size and memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Literal

import numpy as np

from hemline.bench.gate.decision import UNKNOWN, Z99, Check, Estimate, decide
from hemline.bench.gate.side import Side, by_date, title_of, unmatched
from hemline.contract.record import Accuracy, Cell, Memory, Record
from hemline.contract.settings import DEFAULT, Settings
from hemline.statistics import paired_margin

_Key = tuple[str, str, Settings]  # artifact, runtime, settings
_Predictions = tuple[Cell, Accuracy]
SPLIT = "validation"  # a gate that is asked often is a choice, and no choice is made on test images


def accuracy_checks(sides: tuple[Side, Side], limit: float) -> list[Check]:
    """Return the points that each artifact lost in each runtime and setting, on the same images.

    Settings that only one side tried (tuning does) are not checked: they are not the defaults.
    """
    before, after = (_predictions(side.records) for side in sides)
    checks = [_accuracy(before[key], after[key], limit) for key in after if key in before]
    titles = [
        {key: _title(cell) for key, (cell, _) in each.items() if key[-1] == DEFAULT}
        for each in (before, after)
    ]
    return [*checks, *unmatched("accuracy", limit, sides, titles)]


def lost_points(before: Accuracy, after: Accuracy) -> Estimate | None:
    """Return the points lost between paired predictions; None without labels.

    What was lost follows from the two counts. Its variance needs the images that only one side
    classifies correctly: no more than those that have another prediction, so that the interval is
    wide enough without the labels.
    """
    if before.correct is None or after.correct is None:
        return None
    lost, images = before.correct - after.correct, before.images
    differ = int(np.count_nonzero(before.classes() != after.classes()))
    half = 100 * paired_margin(differ, lost, images, Z99)
    return Estimate(mean=100 * lost / (images + 2), half=half, count=images, unit="images")


def size_checks(side: Side, limit: float) -> list[Check]:
    """Return the size of each artifact, in units of 1000 bytes."""
    sizes = {r.cell.artifact: r.cell.size_bytes / 1000 for r in by_date(side.records)}
    return [_exact("size", name, size, limit) for name, size in sizes.items()]


def memory_checks(side: Side, limit: float, peaks: Mapping[str, int]) -> list[Check]:
    """Return the peak memory of each cell in units of 1,000,000 bytes.

    `peaks` are those that were measured now, bytes by title.
    """
    recorded = {
        title_of(record.cell): record.payload.peak_bytes
        for record in by_date(side.records)
        if isinstance(record.payload, Memory)
    }
    return [
        _exact("memory", title, peak / 1e6, limit)
        for title, peak in (recorded | dict(peaks)).items()
    ]


def _exact(kind: Literal["size", "memory"], cell: str, value: float, limit: float) -> Check:
    check = decide(kind, cell, Estimate(mean=value, half=0, count=1), limit)
    return replace(check, low=None, high=None)


def _predictions(records: Iterable[Record]) -> dict[_Key, _Predictions]:
    """Return the newest predictions by artifact, runtime and settings, in all of which they differ.

    Cores change no prediction.
    """
    return {
        (
            record.cell.artifact,
            record.cell.runtime,
            replace(record.cell.settings, cores=()),
        ): (record.cell, record.payload)
        for record in by_date(records)
        if isinstance(record.payload, Accuracy) and record.payload.split == SPLIT
    }


def _title(cell: Cell) -> str:
    return title_of(replace(cell, threads=1, batch=1))


def _accuracy(before: _Predictions, after: _Predictions, limit: float) -> Check:
    (old_cell, old), (new_cell, new) = before, after
    name = _title(new_cell)
    unknown = Check(kind="accuracy", cell=name, answer=UNKNOWN, limit=limit)
    if old.images != new.images:
        images = f"{old.images:,} and {new.images:,}"
        return replace(unknown, reason=f"not the same {SPLIT} images: {images}")
    lost = lost_points(old, new)
    if lost is None:
        return replace(unknown, reason=f"the {SPLIT} images have no labels")
    if old_cell.artifact_sha256 == new_cell.artifact_sha256 and old.predictions == new.predictions:
        lost = replace(lost, half=0.0)  # the same file: no image would say otherwise
    return decide("accuracy", name, lost, limit)
