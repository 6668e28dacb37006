"""Tables of results/quantization: models, files and runtimes; and other quantizers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hemline.files import parse_json, read_bytes
from hemline.tables import CHANGE, Table, as_markdown, change

Line = dict[str, Any]


def matrix_table(root: Path) -> str:
    """Return the Markdown of the matrix; empty before anything was measured."""
    return _table(root, "matrix", ("file", "runtime"), ">µs", _matrix_row, _matrix_legend)


def peer_table(root: Path) -> str:
    """Return the Markdown of the peers, with the conditions; empty likewise."""
    return _table(root, "peers", ("tool", "file"), ">Hemline's time", _peer_row, _peer_legend)


def _table(
    root: Path,
    name: str,
    names: Sequence[str],
    time: str,
    row: Callable[[Line], tuple[str, ...]],
    legend: Callable[[Sequence[Line]], str],
) -> str:
    path = root / "results" / "quantization" / f"{name}.jsonl"
    if not path.is_file():
        return ""
    lines = [parse_json(line, where=path.name) for line in read_bytes(path).splitlines()]
    columns = ("model", *names, ">kB", ">accuracy", f">{CHANGE}", time)
    rows = ((f"`{line['model']}`", *row(line)) for line in lines)
    return f"{as_markdown(Table.of(columns, rows))}\n\n{legend(lines)}\n"


def _figures(line: Line, accuracy: str, loss: float, time: str) -> tuple[str, ...]:
    changed = f"{change(loss)} ± {line['margin_points']:.2f}"
    return (f"{line['size_bytes'] / 1000:.0f}", accuracy, changed, time)


def _matrix_row(line: Line) -> tuple[str, ...]:
    runtime = " ".join(line[key] for key in ("runtime", "runtime_version") if key in line)
    if "accuracy" not in line:
        return (line["artifact"], runtime, "–", f"{line['status']}: {line['reason']}", "–", "–")
    accuracy = f"{100 * line['accuracy']:.2f} %{'' if line['status'] == 'passed' else ' ¹'}"
    time = "–" if (latency := line.get("median_us")) is None else f"{latency:.0f}"
    return (line["artifact"], runtime, *_figures(line, accuracy, line["drop_points"], time))


def _matrix_legend(_: Sequence[Line]) -> str:
    return (
        "The accuracy change is that against the float model on test images, with its 95 % "
        "interval (slow files: on the first 1,000 images). ¹ does not pass: too few labels "
        "are those of the float model."
    )


def _peer_row(line: Line) -> tuple[str, ...]:
    names = (line["tool"], f".{line['format']}")
    if line["reason"]:
        return (*names, "–", f"failed: {line['reason']}", "–", "–")
    ratio, loss = line["time_ratio"], line["loss_points"]
    loss = loss if line["tool"] == "Hemline" else -loss  # its loss is known
    accuracy = f"{100 * line['correct'] / line['images']:.2f} %"
    return (*names, *_figures(line, accuracy, loss, "" if ratio is None else f"{ratio:.2f} ×"))


def _peer_legend(lines: Sequence[Line]) -> str:
    hosts = sorted({f"{line['host']}; {line['date'][:10]}" for line in lines})
    peers = (line for line in lines if not line["tool"].startswith("Hemline"))
    tools = sorted({f"{line['tool']} {line['version']}" for line in peers})
    return (
        "The accuracy change is that against Hemline's file on the same test images, with its 95 % "
        "interval; of Hemline's own file, against the float file. "
        "Hemline's time ÷ that of the other file, median of rounds in turn, one image, one thread. "
        f"{', '.join(tools)}, each by its defaults, on the same float file and 500 images. "
        f"{'; '.join(hosts)}."
    )
