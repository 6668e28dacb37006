"""A comparison as JSON lines: the source model first, then one line for each row."""

from __future__ import annotations

import json

from hemline.bench.comparison import Comparison, Row, SourceModel
from hemline.contract.schema import to_document


def json_lines(comparison: Comparison) -> list[str]:
    """Return a JSON document for the source model and one for each row, with derived figures.

    What needs labels or a source model is null where there are none.
    """
    source = comparison.source
    documents = [] if source is None else [_source(comparison.model, source)]
    documents += (_document(row, compared=source is not None) for row in comparison.rows)
    return [json.dumps(document) for document in documents]


def _source(model: str, source: SourceModel) -> dict[str, object]:
    return {
        "model": model,
        "artifact": source.kind,
        "runtime": source.kind,
        "test_images": source.test.images,
        "test_correct": source.test.correct,
    }


def _document(row: Row, *, compared: bool) -> dict[str, object]:
    drops = {
        f"{each.split}_drop_points": None
        if not compared or each.drop_points is None
        else round(each.drop_points, 4)
        for each in (row.test, row.validation)
    }
    return {
        **to_document(row.cell),
        "test_images": row.test.images,
        "test_correct": row.test.correct,
        "test_agreement": row.test.agreement,
        **drops,
        "peak_memory_bytes": row.memory.peak_bytes if row.memory else None,
        "delegate": row.delegate,
        **({} if row.latency is None else to_document(row.latency)),
    }
