"""Tables: one list of rows, written as plain text or Markdown, and the figures in them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import compress


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
    lines = (table.columns, rule, *table.rows)
    return "\n".join(f"| {' | '.join(cell or '–' for cell in line)} |" for line in lines)


def macs_text(macs: int) -> str:
    """Return multiply-accumulates in the unit that leaves a figure before the point."""
    if macs < 1_000:
        return f"{macs} MAC"
    return f"{macs / 1e3:.0f} k MAC" if macs < 999_500 else f"{macs / 1e6:.1f} M MAC"


def signed(points: float) -> str:
    """Return points with their sign and two digits; what rounds to zero is +0.00."""
    return f"{round(points, 2) + 0.0:+.2f}"  # the sum makes 0.0 of -0.0


def percent(share: float) -> str:
    """Return a share 0 … 1 in percent with two digits."""
    return f"{100 * share:.2f} %"


def microseconds(duration_us: float | None) -> str:
    """Return a duration in whole microseconds; nothing for None."""
    return "" if duration_us is None else f"{duration_us:.0f} µs"


def kilobytes(size_bytes: int) -> str:
    """Return a size in units of 1000 bytes."""
    return f"{size_bytes / 1000:.1f} kB"
