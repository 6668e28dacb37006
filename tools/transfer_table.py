"""The table of pretrained weights against training from scratch, from results/training/."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from hemline.files import parse_json, read_bytes
from hemline.tables import Table, as_markdown, percent

_NATURAL_SIDE = 56  # of mobilenetv2, where a recipe has none


def transfer_table(root: Path) -> str:
    """Return the Markdown of the trainings, pretrained ones first; empty before any was done."""
    path = root / "results" / "training" / "transfer.jsonl"
    if not path.is_file():
        return ""
    lines = [parse_json(line, where=path.name) for line in read_bytes(path).splitlines()]
    lines.sort(key=lambda line: (-line["validation"][1], not line["pretrained"], -_side(line)))
    columns = (
        "weights at the start", ">side", ">training images", ">epochs", ">seconds an epoch",
        ">validation", ">test", ">precision", ">recall", ">F1",
    )  # fmt: skip
    hosts = "; ".join(sorted({line["host"] for line in lines}))
    return (
        f"{as_markdown(Table.of(columns, [_row(line) for line in lines]))}\n\n"
        f"{lines[0]['model']}, one thread of {hosts}, beside other trainings; seconds of an epoch "
        "with frozen layers / without. Precision, recall and F1: means of the classes, test.\n"
    )


def _row(line: dict[str, Any]) -> tuple[str, ...]:
    fields = line["recipe_fields"]
    border = fields["frozen_epochs"]
    parts = [
        part for part in (line["epoch_seconds"][:border], line["epoch_seconds"][border:]) if part
    ]
    macro = line["macro"]
    images = fields["limit"] or 60_000
    return (
        "ImageNet" if line["pretrained"] else "random",
        str(_side(line)),
        f"{images - line['validation'][1]:,}",
        f"{border} + {line['epochs'] - border}" if border else str(line["epochs"]),
        " / ".join(f"{statistics.median(part):.0f}" for part in parts),
        *(percent(right / count) for right, count in (line["validation"], line["test"])),
        *(f"{macro[name]:.3f}" for name in ("precision", "recall", "f1_score")),
    )


def _side(line: dict[str, Any]) -> int:
    return int(line["recipe_fields"]["resize"]) or _NATURAL_SIDE
