"""Tables: one list of rows, written as plain text or Markdown."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Columns and rows of text; `numeric` says which columns are set flush right."""

    columns: tuple[str, ...]
    numeric: tuple[bool, ...]
    rows: tuple[tuple[str, ...], ...]


def as_text(table: Table) -> str:
    """Return aligned plain text."""
    lines = [table.columns, *table.rows]
    widths = [max(len(line[at]) for line in lines) for at in range(len(table.columns))]
    rule = tuple("─" * width for width in widths)
    return "\n".join(
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, table.numeric, strict=True)
        ).rstrip()
        for line in (table.columns, rule, *table.rows)
    )


def as_markdown(table: Table) -> str:
    """Return a Markdown table."""
    rule = tuple("---:" if right else "---" for right in table.numeric)
    lines = (table.columns, rule, *table.rows)
    return "\n".join(f"| {' | '.join(cell or '–' for cell in line)} |" for line in lines)
