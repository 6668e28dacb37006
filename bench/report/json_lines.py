"""A comparison as JSON lines: the Keras model first, then one line for each row."""

from __future__ import annotations

import json

from hemline.bench.comparison import KERAS, Comparison, Row, drop_points
from hemline.contract.schema import to_document


def json_lines(comparison: Comparison) -> list[str]:
    """Return a JSON document for the Keras model and one for each row, with derived figures."""
    keras = {
        "model": comparison.model,
        "artifact": KERAS,
        "runtime": KERAS,
        "test_images": comparison.keras_test.images,
        "test_correct": comparison.keras_test.correct,
    }
    return [json.dumps(document) for document in (keras, *map(_document, comparison.rows))]


def _document(row: Row) -> dict[str, object]:
    return {
        **to_document(row.cell),
        "test_images": row.test.images,
        "test_correct": row.test.correct,
        "test_agreement": row.test.agreement,
        "test_drop_points": round(drop_points(row.test), 4),
        "validation_drop_points": round(drop_points(row.validation), 4),
        "peak_memory_bytes": row.memory.peak_bytes if row.memory else None,
        "delegate": row.delegate,
        **({} if row.latency is None else to_document(row.latency)),
    }
