"""The tables of docs/profile.md, from results/bench/profile.jsonl."""

from __future__ import annotations

from pathlib import Path

from hemline.bench.profiling.text import heading, notes, operator_table
from hemline.contract.profile import Profile
from hemline.contract.record import read_records
from hemline.tables import as_markdown


def profile_table(root: Path) -> str:
    """Return the Markdown of the int8 files' profiles; empty before any was made."""
    path = root / "results" / "bench" / "profile.jsonl"
    if not path.is_file():
        return ""
    parts = []
    for record in read_records(path):
        cell, profile = record.cell, record.payload
        if isinstance(profile, Profile) and cell.artifact in ("int8.tflite", "int8.onnx"):
            lines = "".join(f"- {line.strip()}\n" for line in notes(profile))
            title = f"**{heading(cell, profile)}** ({cell.host})"
            parts.append(f"{title}\n\n{as_markdown(operator_table(profile))}\n\n{lines}")
    return "\n".join(parts)
