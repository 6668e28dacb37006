"""The table of strangers, from results/unknown.jsonl."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any

from hemline.files import parse_json, read_bytes
from hemline.tables import Table, as_markdown, percent

_SHOWN = ("int8.tflite", "dynamic.tflite")  # the first that a model has


def unknown_table(root: Path) -> str:
    """Return the Markdown of what the 8-bit file makes of strangers, by both methods."""
    text = read_bytes(root / "results" / "unknown.jsonl").splitlines()
    lines = [parse_json(each, where="unknown.jsonl") for each in text]
    lines = [each for each in lines if each["kind"] == "file"]
    made = {(each["model"], each["dataset"], each["artifact"]) for each in lines}
    lines = [each for each in lines if each["artifact"] == _shown(each, made)]
    columns = ("file", "strangers", ">AUROC by score", ">by distance")
    columns += (">FPR by score", ">by distance", ">unknown by score", ">by distance")
    groups = groupby(lines, lambda each: (each["model"], each["dataset"], each["strangers"]))
    rows = [
        (f"{model}, {found[0]['artifact']}, {data}", strangers, *_figures(found))
        for (model, data, strangers), found in ((key, list(each)) for key, each in groups)
    ]
    return as_markdown(Table.of(columns, rows)) + "\n"


def _shown(line: dict[str, Any], made: set[tuple[str, str, str]]) -> str:
    model, data = line["model"], line["dataset"]
    return next(name for name in _SHOWN if (model, data, name) in made)


def _figures(found: list[dict[str, Any]]) -> list[str]:
    by = {each["method"]: each for each in found}
    pair = by["score"], by["distance"]
    return [
        *(f"{each['auroc']:.3f}" for each in pair),
        *(percent(each["false_positive_rate"]) for each in pair),
        *(percent(each["unknown_strangers"]) for each in pair),
    ]
