"""The table of causes in docs/profile.md, with how often each planted one was named."""

from __future__ import annotations

from pathlib import Path

from hemline.bench.causes.table import CAUSES
from hemline.files import parse_json, read_bytes
from hemline.tables import Table, as_markdown


def causes_table(root: Path) -> str:
    """Return a row for each cause, and one for healthy cells."""
    path = root / "results" / "bench" / "causes.jsonl"
    found = [parse_json(line, where=str(path)) for line in read_bytes(path).splitlines()]

    def planted(cause: str) -> str:
        lines = [each for each in found if each["cause"] == cause]
        return "<br>".join(
            f"{each['title']}: {each['rightly']} of {each['repeats']}"
            if "rightly" in each
            else f"none: {each['title']}"
            for each in lines
        )

    rows = [
        (name, cause.summary, cause.proof or "nothing: observed only", planted(name))
        for name, cause in CAUSES.items()
    ]
    columns = ("cause", "what it is", "what is changed to prove it", "planted: named correctly")
    rows.append(("", "a healthy cell", "", planted("")))
    wrongly = sum(each.get("wrongly", 0) for each in found)
    where = f"{found[0]['processor']}, {found[0]['date'][:10]}"
    return f"{as_markdown(Table.of(columns, rows))}\n\n{where}; named incorrectly: {wrongly}.\n"
