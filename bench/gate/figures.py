"""Check accuracy on the same images, size and memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Literal

import numpy as np

from hemline.bench.gate.decision import UNKNOWN, Z99, Check, Estimate, decide
from hemline.bench.gate.side import Side, by_date, title_of, unmatched
from hemline.contract.record import Accuracy, Memory, Record
from hemline.statistics import paired_margin

SPLIT = "validation"  # a gate that is asked often is a choice, and no choice is made on test images


def accuracy_checks(sides: tuple[Side, Side], limit: float) -> list[Check]:
    """Return the points that each artifact lost in each runtime, on the same images."""
    before, after = (_predictions(side.records) for side in sides)
    checks = [_accuracy(name, before[name], after[name], limit) for name in after if name in before]
    titles = [{name: name for name in each} for each in (before, after)]
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


def _predictions(records: Iterable[Record]) -> dict[str, tuple[str, Accuracy]]:
    """Return hash of the artifact and newest predictions by artifact and runtime."""
    return {
        f"{record.cell.artifact} · {record.cell.runtime}": (
            record.cell.artifact_sha256,
            record.payload,
        )
        for record in by_date(records)
        if isinstance(record.payload, Accuracy) and record.payload.split == SPLIT
    }


def _accuracy(
    name: str, before: tuple[str, Accuracy], after: tuple[str, Accuracy], limit: float
) -> Check:
    unknown = Check(kind="accuracy", cell=name, answer=UNKNOWN, limit=limit)
    if before[1].images != after[1].images:
        images = f"{before[1].images:,} and {after[1].images:,}"
        return replace(unknown, reason=f"not the same {SPLIT} images: {images}")
    lost = lost_points(before[1], after[1])
    if lost is None:
        return replace(unknown, reason=f"the {SPLIT} images have no labels")
    if before[0] == after[0] and before[1].predictions == after[1].predictions:
        lost = replace(lost, half=0.0)  # the same file: no image would say otherwise
    return decide("accuracy", name, lost, limit)
