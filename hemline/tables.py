"""Tables: one list of rows, written as text, Markdown, CSV or JSON, and the figures in them."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import compress

CHANGE = "accuracy change (points)"  # below 0: worse
_MARKUP = re.compile(r"[\\`*_<\[\]|&~$]")


class Figure(str):
    """The text of a number in a table, with its value and unit for programs that read the table."""

    __slots__ = ("unit", "value")

    unit: str
    value: float

    def __new__(cls, text: str, value: float, unit: str = "") -> Figure:
        """Return a text that knows its number."""
        figure = super().__new__(cls, text)
        figure.value, figure.unit = value, unit
        return figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Columns and rows of text; `numeric` says which columns are aligned right."""

    columns: tuple[str, ...]
    numeric: tuple[bool, ...]
    rows: tuple[tuple[str, ...], ...]

    @staticmethod
    def of(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> Table:
        """Return a table; the names of numeric columns begin with >.

        Names that begin with ? are of columns that are left out where they are empty.
        """
        names, lines = tuple(columns), [tuple(row) for row in rows]
        kept = [
            not name.startswith("?") or any(line[at] for line in lines)
            for at, name in enumerate(names)
        ]
        shown = [name.removeprefix("?") for name in compress(names, kept)]
        return Table(
            columns=tuple(name.removeprefix(">") for name in shown),
            numeric=tuple(name.startswith(">") for name in shown),
            rows=tuple(tuple(compress(line, kept)) for line in lines),
        )


def as_text(table: Table) -> str:
    """Return aligned plain text."""
    lines = [table.columns, *table.rows]
    widths = [max(len(line[at]) for line in lines) for at in range(len(table.columns))]
    rule = tuple("─" * width for width in widths)
    return "\n".join(
        "  ".join(
            cell.rjust(width) if numeric else cell.ljust(width)
            for cell, width, numeric in zip(line, widths, table.numeric, strict=True)
        ).rstrip()
        for line in (table.columns, rule, *table.rows)
    )


def as_markdown(table: Table) -> str:
    """Return a Markdown table."""
    rule = tuple("---:" if numeric else "---" for numeric in table.numeric)
    lines = ([each.replace("|", r"\|") or "–" for each in row] for row in table.rows)
    return "\n".join(f"| {' | '.join(line)} |" for line in (table.columns, rule, *lines))


def as_plain_markdown(text: str) -> str:
    """Return Markdown that shows a text as it is, whatever is in it."""
    return _MARKUP.sub(r"\\\g<0>", text)


def as_csv(table: Table) -> str:
    """Return comma-separated values, numbers in full."""
    stream = io.StringIO()
    names, rows = _values(table)
    csv.writer(stream, lineterminator="\n").writerows([names, *rows])
    return stream.getvalue()


def as_json(table: Table) -> str:
    """Return a JSON list with an object for each row, numbers in full; null where a cell is empty.

    An empty table is an empty list.
    """
    names, rows = _values(table)
    return json.dumps([dict(zip(names, row, strict=True)) for row in rows], ensure_ascii=False)


def _values(table: Table) -> tuple[list[str], list[tuple[str | float | None, ...]]]:
    """Return names with units, and rows; a column has numbers if every cell of it knows its own."""
    names, columns = list(table.columns), list[tuple[str | float | None, ...]]()
    for at, name in enumerate(table.columns):
        cells = [row[at] for row in table.rows]
        figures = [cell for cell in cells if isinstance(cell, Figure)]
        units = {figure.unit for figure in figures}
        if len(units) == 1 and len(figures) == sum(map(bool, cells)):
            named = (f"({unit})" for unit in units if unit and f"({unit})" not in name)
            names[at] = " ".join((name, *named))
            columns.append(tuple(getattr(cell, "value", None) for cell in cells))
        else:
            columns.append(tuple(cell or None for cell in cells))
    return names, list(zip(*columns, strict=True))


def macs_text(macs: int) -> str:
    """Return multiply-accumulates in the unit that leaves a figure before the point."""
    if macs < 1_000:
        return f"{macs} MAC"
    return f"{macs / 1e3:.0f} k MAC" if macs < 999_500 else f"{macs / 1e6:.1f} M MAC"


def signed(points: float) -> Figure:
    """Return points with their sign and two digits; what rounds to zero is +0.00."""
    # the sum makes 0.0 of -0.0
    return Figure(f"{round(points, 2) + 0.0:+.2f}", points, "points")


def change(drop_points: float) -> Figure:
    """Return lost accuracy as its change, points: below 0 where accuracy is lost."""
    return signed(0 - drop_points)  # no −0.0


def percent(share: float) -> Figure:
    """Return a share 0 … 1 in percent with two digits."""
    return Figure(f"{100 * share:.2f} %", 100 * share, "%")


def microseconds(duration_us: float | None) -> str:
    """Return a duration in microseconds, whole ones from 10; nothing for None."""
    if duration_us is None:
        return ""
    return Figure(f"{duration_us:.{0 if duration_us >= 9.95 else 1}f} µs", duration_us, "µs")


def kilobytes(size_bytes: int) -> Figure:
    """Return a size in units of 1000 bytes."""
    return Figure(f"{size_bytes / 1000:.1f} kB", size_bytes / 1000, "kB")


def megabytes(size_bytes: int | None) -> str:
    """Return a size in units of 1,000,000 bytes; nothing for None."""
    return (
        "" if size_bytes is None else Figure(f"{size_bytes / 1e6:.0f} MB", size_bytes / 1e6, "MB")
    )


def count(number: int) -> Figure:
    """Return a whole number with its thousands."""
    return Figure(f"{number:,}", number)


def p_text(p_value: float) -> str:
    """Return a p-value with two digits, the sign included."""
    return f"p = {p_value:.2g}" if p_value >= 0.001 else "p < 0.001"
