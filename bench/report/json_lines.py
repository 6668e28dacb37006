"""A comparison as JSON lines: the source models first, then one line for each row."""

from __future__ import annotations

import json

from hemline.bench.accuracy.change import change_of
from hemline.bench.comparison import ComparedModel, Comparison, Row, SourceModel
from hemline.contract.record import Arena, Instructions, Memory
from hemline.contract.schema import to_document


def json_lines(comparison: Comparison) -> list[str]:
    """Return a JSON document for each source model and each row, with derived figures.

    What needs labels or a source model is null where there are none.
    """
    sources = [_source(m, m.source) for m in comparison.models if m.source is not None]
    rows = [_document(row) for row in (*comparison.rows, *comparison.variants)]
    return [json.dumps(document) for document in (*sources, *rows)]


def _source(model: ComparedModel, source: SourceModel) -> dict[str, object]:
    return {
        "model": model.name,
        "artifact": source.kind,
        "runtime": source.kind,
        "test_images": source.test.images,
        "test_correct": source.test.correct,
    }


def _document(row: Row) -> dict[str, object]:
    drops = {
        f"{each.split}_drop_points": None
        if row.model.source is None or each.drop_points is None
        else round(each.drop_points, 4)
        for each in (row.test, row.validation)
    }
    return {
        **to_document(row.cell),
        "model": row.model.name,
        "test_images": row.test.images,
        "test_correct": row.test.correct,
        "test_agreement": row.test.agreement,
        **drops,
        **_change(row),
        "peak_memory_bytes": memory.peak_bytes if (memory := row.get(Memory)) else None,
        "instructions": row.counted(Instructions),
        "arena_bytes": row.counted(Arena),
        "delegate": row.conditions.delegate,
        **({} if row.latency is None else to_document(row.latency)),
    }


def _change(row: Row) -> dict[str, object]:
    """Return the images that only one of source model and artifact classifies correctly."""
    change = change_of(row)
    return {
        "test_lost": change and change.lost,
        "test_won": change and change.won,
        "test_p_value": change and change.p_value,
        "test_drop_margin_points": change and round(change.margin_points, 4),
    }
