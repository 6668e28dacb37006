"""Tables with a row for each cell, and what a cell is called."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hemline.bench.comparison import Row, settings_of
from hemline.contract.record import LOCAL
from hemline.tables import Table

Column = tuple[str, Callable[[Row], str], bool]  # name, text, shown if all are alike

WHO: tuple[Column, ...] = (
    ("model", lambda each: each.model.name, False),
    ("artifact", lambda each: f"{each.cell.artifact}{' ←' if each.chosen else ''}", True),
    ("device", lambda each: each.cell.device, False),
    ("runtime", lambda each: f"{each.cell.runtime} {each.cell.runtime_version}", True),
    ("settings", lambda each: settings_of(each.cell), False),
)


def table_of(cells: Sequence[Row], columns: Sequence[Column]) -> Table:
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


def title_of(cell: Row) -> str:
    """Return model, artifact, runtime, settings and another device than this machine in a line."""
    what = cell.cell
    ran = f"{what.runtime} {what.runtime_version}"
    device = "" if what.device == LOCAL else what.device
    parts = (cell.model.name, what.artifact, ran, device, settings_of(what))
    return " · ".join(filter(None, parts))
