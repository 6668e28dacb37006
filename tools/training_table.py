"""The tables of quantization-aware training, from results/quantization/."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from hemline.files import parse_json, read_bytes
from hemline.tables import Table, as_markdown

Line = dict[str, Any]


def training_table(root: Path) -> str:
    """Return the Markdown of the models that were trained; empty before any was."""
    return _table(root, "qat.jsonl")


def widths_table(root: Path) -> str:
    """Return the Markdown of the widths of weights; empty before any was measured."""
    return _table(root, "widths.jsonl")


def _table(root: Path, name: str) -> str:
    path = root / "results" / "quantization" / name
    if not path.is_file():
        return ""
    groups: dict[tuple[str, int], list[Line]] = {}
    for text in read_bytes(path).splitlines():
        line = parse_json(text, where=name)
        groups.setdefault((line["model"], line["bits"]), []).append(line)
    columns = ("model", ">bits of weights", ">float", ">calibrated", ">trained", ">loss recovered")
    rows = [(model, str(bits), *_figures(lines)) for (model, bits), lines in groups.items()]
    return as_markdown(Table.of(columns, rows)) + "\n"


def _figures(lines: list[Line]) -> tuple[str, ...]:
    exact, before = lines[0]["float_accuracy"], lines[0]["calibrated_accuracy"]
    after = [line["trained_accuracy"] for line in lines]
    mean = statistics.mean(after)
    span = f" ({min(after):.2f} – {max(after):.2f}, {len(after)} seeds)" if len(after) > 1 else ""
    lost = exact - before
    share = f"{100 * (mean - before) / lost:.0f} %" if lost >= 1 else ""
    return f"{exact:.2f} %", f"{before:.2f} %", f"{mean:.2f} %{span}", share
