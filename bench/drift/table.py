"""Show drift as a table and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hemline.bench.drift.judging import MEASURES, Drift, JudgedPeriod
from hemline.tables import Table, count


def drift_table(periods: Sequence[JudgedPeriod]) -> Table:
    """Return a row for each period: value / threshold of each measure."""
    found = [
        {m.name: f"{m.value:.3f} / {m.threshold:.3f}" for m in each.measures} for each in periods
    ]
    names = [name for name in MEASURES if any(name in each for each in found)]
    rows = (
        (
            each.period.text,
            count(each.period.window.images),
            f"{100 * each.period.window.labels[-1] / each.period.window.images:.1f} %",
            *(shown.get(name, "") for name in names),
            _verdict(each),
        )
        for each, shown in zip(periods, found, strict=True)
    )
    columns = ("period (UTC)", ">images", ">unknown", *(f">{name}" for name in names), "verdict")
    return Table.of(columns, rows)


def _verdict(period: JudgedPeriod) -> str:
    if not period.measures:
        return "too few images"
    return ", ".join(m.name for m in period.measures if m.alarm) or "no drift"


def documents_of(drift: Drift) -> list[Any]:
    """Return what JSON says of each period; `alarm` is null where there are too few images."""
    artifact = drift.artifact
    return [
        {
            "artifact": artifact.name,
            "sha256": artifact.sha256,
            "start": each.period.window.start,
            "end": each.period.end,
            "images": each.period.window.images,
            "labels": dict(zip(artifact.labels, each.period.window.labels, strict=False)),
            "unknown": each.period.window.labels[-1],
            "measures": [
                {"name": m.name, "value": m.value, "threshold": m.threshold, "alarm": m.alarm}
                for m in each.measures
            ],
            "alarm": each.alarm if each.measures else None,
        }
        for each in drift.periods
    ]
