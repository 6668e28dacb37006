"""The table of instructions per inference on emulated devices."""

from __future__ import annotations

from collections.abc import Iterable

from hemline.contract.record import Instructions, Record
from hemline.tables import Table


def counts_by_cell(records: Iterable[Record]) -> dict[tuple[str, str, str], int]:
    """Return the newest count of each artifact, runtime and device; its host decides nothing."""
    by_date = sorted(records, key=lambda record: record.conditions.date)
    return {
        (r.cell.artifact, f"{r.cell.runtime} {r.cell.runtime_version}", r.cell.device): (
            r.payload.per_inference
        )
        for r in by_date
        if isinstance(r.payload, Instructions)
    }


def instruction_table(records: Iterable[Record]) -> Table:
    """Return one row for each artifact and runtime: millions of instructions, by device."""
    counts = counts_by_cell(records)
    devices = list(dict.fromkeys(device for _, _, device in counts))
    cells = list(dict.fromkeys((artifact, runtime) for artifact, runtime, _ in counts))
    return Table.of(
        ("artifact", "runtime", *(f">{name.partition(':')[2]}" for name in devices)),
        (
            (*cell, *(f"{n / 1e6:.3f}" if (n := counts.get((*cell, d))) else "" for d in devices))
            for cell in cells
        ),
    )
