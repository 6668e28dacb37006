"""The table of artifacts in a browser, from results/hem-50k/browser.jsonl."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hemline.files import parse_json, read_bytes
from hemline.tables import Table, as_markdown


def browser_table(root: Path) -> str:
    """Return the Markdown of bits, latency beside Python's, load time and bytes of each file."""
    text = read_bytes(root / "results" / "hem-50k" / "browser.jsonl").splitlines()
    lines = [parse_json(each, where="browser.jsonl") for each in text]
    columns = ("artifact", "runtime", ">equal bits", ">others within", ">latency")
    columns += (">of Python's", ">load", ">transferred")
    first = lines[0]
    where = f"{first['host']}; median, one thread, one image; {first['date'][:10]}."
    return f"{as_markdown(Table.of(columns, map(_row, lines)))}\n\n{where}\n"


def _row(line: dict[str, Any]) -> tuple[str, ...]:
    equal = line["logits"] - line["unequal"]
    return (
        line["artifact"],
        line["runtime"],
        f"{equal} of {line['logits']}",
        f"{line['largest_difference']:.1e}" if line["unequal"] else "",
        f"{line['us']:.0f} µs",
        f"{line['us'] / line['python_us']:.1f} ×",
        f"{line['load_ms']:.0f} ms",
        f"{line['bytes'] / 1e6:.1f} MB",
    )
