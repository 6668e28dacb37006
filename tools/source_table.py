"""The tables of the models that were tried, from results/sources.jsonl."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hemline.files import parse_json, read_bytes
from hemline.tables import Table, as_markdown

# artifact and runtime
_FLOAT = (("fp32.tflite", "litert"), ("fp32.onnx", "onnxruntime"))
_INT8 = (("int8.tflite", "litert"), ("int8.onnx", "onnxruntime"))
_FAILED = "failed in a supported runtime: "

Line = dict[str, Any]


def source_tables(root: Path) -> str:
    """Return the Markdown of the tables, with the conditions; empty before anything was tried."""
    path = root / "results" / "sources.jsonl"
    if not path.is_file():
        return ""
    lines = [parse_json(line, where=path.name) for line in read_bytes(path).splitlines()]
    parts = [_counts(lines), as_markdown(_overview(lines)), _legend(lines)]
    parts += ["What failed, and why:", "\n".join(_failures(lines))]
    return "\n\n".join(parts) + "\n"


def _counts(lines: list[Line]) -> str:
    exported = sum(all(_passed(line, cell) for cell in _INT8) for line in lines)
    return f"{len(lines)} models; {exported} of them passed as int8 in both formats."


def _overview(lines: list[Line]) -> Table:
    columns = ("source", "what it is", ">float", ">fp32 within", ">int8.tflite", ">int8.onnx",
               ">both int8 equal", ">import", ">export", ">memory")  # fmt: skip
    return Table.of(columns, map(_overview_row, lines))


def _overview_row(line: Line) -> list[str]:
    differences = [
        cell["largest_difference"]
        for each in _FLOAT
        if (cell := _cell(line, each)) is not None and "largest_difference" in cell
    ]
    equal, seconds = line.get("int8_equal_labels"), line["export_seconds"]
    return [
        f"`{line['source']}`",
        f"{line['kind']}: {line['summary']}",
        _percent(line["correct"], line["images"]),
        f"{max(differences):.1e}" if differences else "–",
        *(_accuracy(line, cell) for cell in _INT8),
        _percent(equal, line["images"]),
        f"{line['import_seconds']:.0f} s",
        "–" if seconds is None else f"{seconds:.0f} s",
        f"{line['peak_bytes'] / 1e9:.1f} GB",
    ]


def _accuracy(line: Line, name: tuple[str, str]) -> str:
    cell = _cell(line, name)
    if cell is None or "agreement" not in cell:
        return "–"
    agreement = f"{_percent(cell['agreement'], cell['images'])} equal"
    return (
        f"{_percent(cell['correct'], cell['images'])}, {agreement}"
        if "correct" in cell
        else agreement
    )


def _failures(lines: list[Line]) -> list[str]:
    """Return a line of Markdown for each command or cell that failed: the first reason of each."""
    found = []
    for line in lines:
        reasons = [reason for _, reason in line["refused"]] or [
            f"{cell['artifact']} in {cell['runtime']}: {cell['reason']}"
            for cell in line["cells"]
            if cell["status"] != "passed"
        ]
        first = (each.removeprefix(_FAILED).partition("; ")[0] for each in reasons)
        found += [f"- `{line['source']}`: {each}" for each in first]
    return found or ["- nothing"]


def _legend(lines: list[Line]) -> str:
    hosts = "; ".join(sorted({line["host"] for line in lines}))
    days = sorted({line["date"][:10] for line in lines})
    data = "; ".join(dict.fromkeys(line["data"] for line in lines))
    versions = {(c["runtime"], c["version"]) for line in lines for c in line["cells"]}
    return (
        "Float: accuracy of the source in its own runtime. fp32 within: largest difference of a "
        "probability in LiteRT and ONNX Runtime. Equal: share of images with the same label as "
        "the source. Seconds and memory (largest process) of `hemline import` and of "
        "`hemline export` with all verifications, on a busy machine. "
        f"{data}; short trainings, or random weights with a fitted last layer. "
        f"{', '.join(' '.join(each) for each in sorted(versions))}; {hosts}; "
        f"{' to '.join(dict.fromkeys((days[0], days[-1])))}."
    )


def _cell(line: Line, name: tuple[str, str]) -> Line | None:
    found = [c for c in line["cells"] if (c["artifact"], c["runtime"]) == name]
    return found[0] if found else None


def _passed(line: Line, name: tuple[str, str]) -> bool:
    cell = _cell(line, name)
    return cell is not None and cell["status"] == "passed"


def _percent(part: int | None, whole: int) -> str:
    return "–" if part is None else f"{100 * part / whole:.1f} %"
