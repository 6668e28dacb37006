"""One table with a row for each device: the artifact that is cheapest there, and what it costs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from hemline.bench.latency_summary import summarize
from hemline.bench.measuring.fleet import DeviceResult
from hemline.contract.record import Accuracy, Arena, Cell, Instructions, Latency, Memory, Record
from hemline.tables import Figure, Table, count, kilobytes, megabytes, microseconds

_FIGURES = ("?>median", "?>instructions", "?>arena", "?>memory", "?>agreement", "?>cells")
_COLUMNS = (
    "device",
    "?processor",
    "?model",
    "?cheapest",
    "?runtime",
    "?runs on",
    *_FIGURES,
    "state",
)


@dataclass(slots=True, kw_only=True)
class _CellFigures:
    """All figures of one cell of a device."""

    cell: Cell
    processor: str
    delegate: str
    latency_us: float | None = None
    instructions: int | None = None
    arena_bytes: int | None = None
    peak_bytes: int | None = None
    agreement: Accuracy | None = None

    @property
    def cost(self) -> tuple[float, float, float]:
        """Return what is compared: time, else instructions, else arena."""
        figures = (self.latency_us, self.instructions, self.arena_bytes)
        time, number, arena = (math.inf if each is None else each for each in figures)
        return time, number, arena


def fleet_table(results: Iterable[DeviceResult]) -> Table:
    """Return the rows of devices in the order of the results.

    Only what passed there competes. Time is shown only where it is a latency of a real device; an
    empty column is left out.
    """
    results = list(results)
    several = len({record.cell.model for result in results for record in result.records}) > 1
    rows = []
    for result in results:
        figures = _figures(_cell_figures(result.records), several=several)
        rows.append((result.device, *figures, "done" if result.error is None else "failed"))
    return Table.of(_COLUMNS, rows)


def _cell_figures(records: Iterable[Record]) -> list[_CellFigures]:
    """Join the records of each cell at batch 1 and one thread."""
    joined: dict[tuple[object, ...], _CellFigures] = {}
    for record in records:
        cell, payload = record.cell, record.payload
        if cell.threads != 1 or cell.batch != 1 or cell.runtime == "keras":
            continue
        key = (cell.artifact_sha256, cell.runtime, cell.runtime_version, cell.settings)
        host, delegate = record.conditions.host, record.conditions.delegate
        figures = joined.setdefault(
            key, _CellFigures(cell=cell, processor=host.processor, delegate=delegate)
        )
        if isinstance(payload, Latency):
            figures.latency_us, figures.delegate = summarize(payload).median_us, delegate
        elif isinstance(payload, Instructions):
            figures.instructions = payload.per_inference
            figures.processor = payload.processor
        elif isinstance(payload, Arena):
            figures.arena_bytes = payload.bytes
        elif isinstance(payload, Memory):
            figures.peak_bytes = payload.peak_bytes
        elif isinstance(payload, Accuracy):
            figures.agreement = payload
    return list(joined.values())


def _figures(cells: list[_CellFigures], *, several: bool) -> tuple[str, ...]:
    costed = [each for each in cells if min(each.cost) < math.inf]
    if not costed:
        checked = count(len(cells)) if cells else ""
        processor = cells[0].processor if cells else ""
        return (processor, *("" for _ in range(9)), checked)
    best = min(costed, key=lambda each: each.cost)
    accuracy = best.agreement
    return (
        best.processor,
        best.cell.model if several else "",
        best.cell.artifact,
        f"{best.cell.runtime} {best.cell.runtime_version}",
        best.delegate.replace("ExecutionProvider", ""),
        microseconds(best.latency_us),
        "" if best.instructions is None else _millions(best.instructions),
        "" if best.arena_bytes is None else kilobytes(best.arena_bytes),
        megabytes(best.peak_bytes),
        "" if accuracy is None else f"{accuracy.agreement} of {accuracy.images:,}",
        count(len(cells)),
    )


def _millions(number: int) -> Figure:
    return Figure(f"{number / 1e6:.2f} M", number)
