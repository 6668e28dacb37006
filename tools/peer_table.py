"""The table of other quantizers, from results/quantization/peers.jsonl."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hemline.files import parse_json, read_bytes
from hemline.tables import CHANGE, Table, as_markdown, change

_COLUMNS = (
    "model",
    "tool",
    "file",
    ">kB",
    ">accuracy",
    f">{CHANGE}",
    ">Hemline's time",
)
Line = dict[str, Any]


def peer_table(root: Path) -> str:
    """Return the Markdown of the table, with the conditions; empty before anything was measured."""
    path = root / "results" / "quantization" / "peers.jsonl"
    if not path.is_file():
        return ""
    lines = [parse_json(line, where=path.name) for line in read_bytes(path).splitlines()]
    hosts = sorted({f"{line['host']}; {line['date'][:10]}" for line in lines})
    tools = sorted({f"{line['tool']} {line['version']}" for line in lines if _is_peer(line)})
    legend = (
        "The accuracy change is that against Hemline's file on the same test images, with its 95 % "
        "interval; of Hemline's own file, against the float file. "
        "Hemline's time ÷ that of the other file, median of rounds in turn, one image, one thread. "
        f"{', '.join(tools)}, each by its defaults, on the same float file and 500 images. "
        f"{'; '.join(hosts)}."
    )
    table = Table.of(_COLUMNS, [_row(line) for line in lines])
    return f"{as_markdown(table)}\n\n{legend}\n"


def _is_peer(line: Line) -> bool:
    return not line["tool"].startswith("Hemline")


def _row(line: Line) -> tuple[str, ...]:
    names = (f"`{line['model']}`", line["tool"], f".{line['format']}")
    if line["reason"]:
        return (*names, "–", f"failed: {line['reason']}", "–", "–")
    ratio, loss = line["time_ratio"], line["loss_points"]
    loss = loss if line["tool"] == "Hemline" else -loss  # its loss is known
    return (
        *names,
        f"{line['size_bytes'] / 1000:.0f}",
        f"{100 * line['correct'] / line['images']:.2f} %",
        f"{change(loss)} ± {line['margin_points']:.2f}",
        "" if ratio is None else f"{ratio:.2f} ×",
    )
