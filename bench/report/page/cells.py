"""Join what was measured of each cell, on every device."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from hemline.bench.comparison import LOCAL, ComparedModel, settings_of
from hemline.bench.latency_summary import LatencySummary, summarize
from hemline.contract.record import (
    Accuracy,
    Cell,
    Conditions,
    Latency,
    Payload,
    Record,
    newest,
)
from hemline.tables import Table

P = TypeVar("P", bound=Payload)
Column = tuple[str, Callable[["MeasuredCell"], str], bool]  # name, text, shown if all are alike


@dataclass(frozen=True, kw_only=True)
class MeasuredCell:
    """A cell with the newest payload of each kind.

    model: that its artifact is of.
    cell: what was measured.
    conditions: of the latest measurement.
    payloads: one of each kind; of accuracies, that on the test images.
    chosen: whether it is the one to ship.
    """

    model: ComparedModel
    cell: Cell
    conditions: Conditions
    payloads: tuple[Payload, ...]
    chosen: bool = False

    def get(self, kind: type[P]) -> P | None:
        """Return the payload of a kind; None where it was not measured."""
        return next((each for each in self.payloads if isinstance(each, kind)), None)

    @cached_property
    def latency(self) -> LatencySummary | None:
        """Return the percentiles of its latency; None where it was not measured."""
        latency = self.get(Latency)
        return None if latency is None else summarize(latency)

    @property
    def median_us(self) -> float:
        """Return the median latency; infinity where it was not measured."""
        return self.latency.median_us if self.latency else float("inf")

    @property
    def quality(self) -> float:
        """Return the accuracy; for images without labels the agreement; 0 for what was not run."""
        test = self.get(Accuracy)
        if test is None:
            return 0.0
        return test.agreement / test.images if test.share is None else test.share


def measured_cells(
    model: ComparedModel, records: Iterable[Record], chosen: Cell | None
) -> tuple[MeasuredCell, ...]:
    """Join the records of a model's present artifacts, fastest cell first.

    Of each device only the host counts that was measured last. The accuracy of a cell without one
    of its own is that of the same file and runtime version there, or else on this machine.
    """
    found = newest(each for each in records if not each.cell.is_source)
    hosts = {
        record.cell.device: record.cell.host
        for record in sorted(found, key=lambda each: each.conditions.date)
        if not isinstance(record.payload, Accuracy)
    }
    accuracies: dict[tuple[str, ...], Accuracy] = {
        (*_ran(record.cell), record.cell.device): record.payload
        for record in found
        if isinstance(record.payload, Accuracy) and record.payload.split == "test"
    }
    groups: dict[Cell, list[Record]] = {}
    for record in found:
        if record.cell.host == hosts.get(record.cell.device, record.cell.host):
            groups.setdefault(record.cell, []).append(record)
    cells = (_joined(model, cell, group, accuracies, chosen) for cell, group in groups.items())
    return tuple(sorted(cells, key=lambda each: each.median_us))


def _joined(
    model: ComparedModel,
    cell: Cell,
    records: Sequence[Record],
    accuracies: Mapping[tuple[str, ...], Accuracy],
    chosen: Cell | None,
) -> MeasuredCell:
    there = accuracies.get((*_ran(cell), cell.device), accuracies.get((*_ran(cell), LOCAL)))
    last = max(records, key=lambda each: each.conditions.date)
    own = [each.payload for each in records if not isinstance(each.payload, Accuracy)]
    return MeasuredCell(
        model=model,
        cell=cell,
        conditions=last.conditions,
        payloads=tuple(own if there is None else (*own, there)),
        chosen=cell == chosen,
    )


def _ran(cell: Cell) -> tuple[str, str, str]:
    return cell.artifact_sha256, cell.runtime, cell.runtime_version


WHO: tuple[Column, ...] = (
    ("model", lambda each: each.model.name, False),
    ("artifact", lambda each: f"{each.cell.artifact}{' ←' if each.chosen else ''}", True),
    ("device", lambda each: each.cell.device, False),
    ("runtime", lambda each: f"{each.cell.runtime} {each.cell.runtime_version}", True),
    ("settings", lambda each: settings_of(each.cell), False),
)


def table_of(cells: Sequence[MeasuredCell], columns: Sequence[Column]) -> Table:
    """Return a row for each cell; an optional column stands where its texts differ.

    A column without any text has no place either.
    """
    texts = [[text(each) for each in cells] for _, text, _ in columns]
    shown = [
        at
        for at, (_, _, always) in enumerate(columns)
        if any(texts[at]) and (always or len(set(texts[at])) > 1)
    ]
    rows = zip(*(texts[at] for at in shown), strict=True)
    return Table.of((columns[at][0] for at in shown), rows)


def title_of(cell: MeasuredCell) -> str:
    """Return model, artifact, runtime, settings and another device than this machine in a line."""
    what = cell.cell
    ran = f"{what.runtime} {what.runtime_version}"
    device = "" if what.device == LOCAL else what.device
    parts = (cell.model.name, what.artifact, ran, device, settings_of(what))
    return " · ".join(filter(None, parts))
