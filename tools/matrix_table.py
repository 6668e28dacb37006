"""The matrix of models, files and runtimes, from results/quantization/matrix.jsonl."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hemline.files import parse_json, read_bytes
from hemline.tables import CHANGE, Table, as_markdown, change

_COLUMNS = ("model", "file", "runtime", ">kB", ">accuracy", f">{CHANGE}", ">µs")
Line = dict[str, Any]


def matrix_table(root: Path) -> str:
    """Return the Markdown of the table; empty before anything was measured."""
    path = root / "results" / "quantization" / "matrix.jsonl"
    if not path.is_file():
        return ""
    lines = [parse_json(line, where=path.name) for line in read_bytes(path).splitlines()]
    table = as_markdown(Table.of(_COLUMNS, [_row(line) for line in lines]))
    legend = (
        "The accuracy change is that against the float model on test images, with its 95 % "
        "interval (slow files: on the first 1,000 images). ¹ does not pass: too few labels "
        "are those of the float model."
    )
    return f"{table}\n\n{legend}\n"


def _row(line: Line) -> tuple[str, ...]:
    runtime = " ".join(line[key] for key in ("runtime", "runtime_version") if key in line)
    names = (f"`{line['model']}`", line["artifact"], runtime)
    if "accuracy" not in line:
        return (*names, "–", f"{line['status']}: {line['reason']}", "–", "–")
    latency = line.get("median_us")
    return (
        *names,
        f"{line['size_bytes'] / 1000:.0f}",
        f"{100 * line['accuracy']:.2f} %{'' if line['status'] == 'passed' else ' ¹'}",
        f"{change(line['drop_points'])} ± {line['margin_points']:.2f}",
        "–" if latency is None else f"{latency:.0f}",
    )
