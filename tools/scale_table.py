"""The tables of docs/scale.md: constants of results/scale.json, and what follows from them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from hemline.files import read_json
from hemline.progress import duration
from hemline.tables import Table, as_markdown

_UNKNOWN = "not measured yet"


def scale_table(root: Path) -> str:
    """Return the Markdown of what each scale takes: products of powers of constants."""
    found = read_json(root / "results" / "scale.json")
    known = {name: row["value"] for name, row in found["constants"].items() if row["value"]}
    rows = [(row["scale"], row["what"], _amount(row, known)) for row in found["rows"]]
    return as_markdown(Table.of(("scale", "what it takes", ">amount"), rows)) + "\n"


def constants_table(root: Path) -> str:
    """Return the Markdown of the constants, and where each was measured."""
    found = read_json(root / "results" / "scale.json")
    rows = [
        (row["what"], f"{row['value']:,} {row['unit']}" if row["value"] else _UNKNOWN, row["from"])
        for row in found["constants"].values()
    ]
    table = as_markdown(Table.of(("constant", ">value", "from"), rows))
    return f"{table}\n\n{found['host']}, {found['date']}.\n"


def _amount(row: dict[str, Any], known: dict[str, float]) -> str:
    """Return an amount with its unit; a constant that is missing makes it unknown."""
    if not row["powers"].keys() <= known.keys():
        return _UNKNOWN
    value = row["times"] * math.prod(known[name] ** at for name, at in row["powers"].items())
    if row["unit"] == "s":
        return duration(value) if value < 2 * 86400 else f"{value / 86400:.0f} days"
    if row["unit"] == "MB":
        size = ((1e6, "TB"), (1e3, "GB"), (1, "MB"))
        return next(f"{value / least:.1f} {unit}" for least, unit in size if value >= least)
    return f"{value:.2g}"
