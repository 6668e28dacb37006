"""The results of baselines, from results/baselines.jsonl."""

from __future__ import annotations

from pathlib import Path

from hemline.contract.schema import from_document
from hemline.files import parse_json, read_bytes
from hemline.train.baselines.result import BaselineResult

_DERIVED = ("test_accuracy", "test_interval")


def read_results(path: Path) -> tuple[BaselineResult, ...]:
    """Read the JSON lines of `as_json`; derived figures are left aside."""
    results = []
    for number, line in enumerate(read_bytes(path).decode().splitlines(), start=1):
        where = f"{path}, line {number}"
        document = parse_json(line, where=where)
        raw = {key: value for key, value in document.items() if key not in _DERIVED}
        results.append(from_document(BaselineResult, raw, where=where))
    return tuple(results)
