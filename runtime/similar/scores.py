"""Read the embeddings that `score` wrote, for an index of scored images."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hemline.contract.stamp import Stamp
from hemline.errors import DataError, UsageError, first_line, remedy
from hemline.runtime.similar.embedding import Embedded

_ROWS = 16_384  # in memory
_COLUMNS = ["image", "best", "embedding"]


def scored(path: Path, stamp: Stamp) -> Iterator[Embedded] | None:
    """Return what yields the images of scores that have embeddings; None for any other file.

    Raises UsageError for scores of another artifact, or without embeddings.
    """
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import read_schema

        schema = read_schema(path)
        facts = json.loads((schema.metadata or {}).get(b"hemline", b"null"))
    except (ImportError, ArrowException, OSError, ValueError):
        return None  # who reads it as images says what is wrong
    if not isinstance(facts, dict):
        return None
    if facts.get("sha256") != stamp.payload_sha256:
        what = f"{path} has scores of another file ({facts.get('artifact')}) than {stamp.name}"
        raise UsageError(what, remedy=remedy("index with it"))
    if not set(_COLUMNS) <= set(schema.names):
        raise UsageError(f"{path} has no embeddings", remedy=remedy("score with embedding"))
    return _rows(path)


def _rows(path: Path) -> Iterator[Embedded]:
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path, memory_map=True) as file:
            for batch in file.iter_batches(_ROWS, columns=_COLUMNS):
                good = batch.filter(batch.column("embedding").is_valid())
                if len(good):
                    names, labels, vectors = (good.column(name) for name in _COLUMNS)
                    values = np.asarray(vectors.flatten(), np.float32).reshape(len(good), -1)
                    yield Embedded(names.to_pylist(), labels.to_pylist(), values)
    except (ArrowException, OSError) as error:
        raise DataError(f"{path} is damaged: {first_line(error)}") from error
