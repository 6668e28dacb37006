"""Score all images of sources to one Parquet file; a killed run goes on where it was.

Beside the file, a folder has what is finished: plan.json, and a file for each chunk. When all are
there, they become the Parquet file, and the folder goes.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hemline.errors import FileFormatError, UsageError, first_line, remedy
from hemline.files import fingerprint, locked, read_json, replacing, write_json
from hemline.progress import Progress
from hemline.runtime.scoring.chunks import Chunk, Unit, chunks_in, tasks_of, units_of
from hemline.runtime.scoring.executing import Execute, here
from hemline.runtime.scoring.result import ScoringResult
from hemline.runtime.scoring.scorer import FEW_VALUES, Scorer, ScoringOptions

_PLAN, _UNFINISHED = "plan.json", ".unfinished"
_RUN = b"hemline.run"  # in the metadata of a file: what it was made from
_GROUP_BYTES = 1 << 25  # of rows that are written together


def score(
    options: ScoringOptions,
    sources: Sequence[str],
    output: Path,
    *,
    execute: Execute,
    workers: int,
    force: bool = False,
) -> ScoringResult:
    """Score images; the file has a row for each, in the order of the sources.

    Raises UsageError where the output, or what an unfinished run left, is of other images or of
    another model, unless `force`; StorageError on a full disk, after which it can go on.
    """
    units = units_of(sources)
    with Scorer(options) as scorer:
        schema, digest = scorer.schema, scorer.stamp.payload_sha256
    plan = {**asdict(options), "artifact": digest, "images": _state(units)}
    schema = schema.with_metadata({**schema.metadata, _RUN: fingerprint(plan)})
    if output.exists() and not force:
        return _result_of(output, schema)
    folder = output.with_name(f"{output.name}{_UNFINISHED}").absolute()
    with locked(folder):
        _require_plan(folder, plan, force=force)
        started, before = time.monotonic(), _images(chunks_in(folder))
        for each in (execute, here):  # the second one for what processes that ended have left
            _do(each, options, units, folder, workers)
        seconds, images = time.monotonic() - started, _images(chunks_in(folder))
        counts = _join(folder, output, schema)
        shutil.rmtree(folder)
    return ScoringResult(**counts, images=images, scored=images - before, seconds=seconds)


def _state(units: Sequence[Unit]) -> str:
    """Return a hash of the names, sizes and times of all files."""
    paths = [part.path for unit in units for part in unit.parts]
    found = [(str(path), path.stat() if path.exists() else None) for path in paths]
    return fingerprint([[name, s and [s.st_size, s.st_mtime_ns]] for name, s in found])


def _result_of(output: Path, schema: pa.Schema) -> ScoringResult:
    """Return what a finished file of the same run has. Raises UsageError for another one."""
    with contextlib.suppress(pa.ArrowException, OSError):  # whatever it is, it is not ours
        file = pq.ParquetFile(output)
        if file.schema_arrow.metadata[_RUN] == schema.metadata[_RUN]:
            rows = file.read(["label", "true", "error"])
            return ScoringResult(**_counts(rows), images=len(rows), scored=0, seconds=0.0)
    raise UsageError(
        f"{output} exists, and is not of these images and this artifact", remedy=remedy("replace")
    )


def _require_plan(folder: Path, plan: dict[str, Any], *, force: bool) -> None:
    """Go on with an unfinished run of the same plan; `force` removes one of another."""
    path = folder / _PLAN
    if path.exists() and read_json(path) != plan:
        if not force:
            raise UsageError(
                f"{folder} is of an unfinished run with other images or options",
                remedy=remedy("finish or replace"),
            )
        for chunk in chunks_in(folder):
            chunk.path(folder).unlink()
    write_json(path, plan)


def _do(
    execute: Execute, options: ScoringOptions, units: Sequence[Unit], folder: Path, workers: int
) -> None:
    """Do what is left, with progress: in images where their number is known, else in shards."""
    chunks = chunks_in(folder)
    if not (tasks := tasks_of(units, chunks, workers)):
        return
    shards = any(unit.is_shard for unit in units)
    total = len(units) if shards else sum(len(unit.parts) for unit in units)
    started, before = time.monotonic(), _images(chunks)
    with Progress("scoring", total) as progress:
        for _ in execute(options, tasks, folder):
            chunks = chunks_in(folder)
            images = _images(chunks)
            rate = (images - before) / (time.monotonic() - started)
            done = sum(chunk.is_last for chunk in chunks) if shards else images
            progress.show(f"{images:,} images, {rate:,.0f} images/s", done=done)


def _images(chunks: Sequence[Chunk]) -> int:
    return sum(chunk.images for chunk in chunks)


def _counts(rows: pa.Table) -> dict[str, int]:
    """Return how many rows have an error, a class of the model's, and the label of that class."""
    labels = json.loads(rows.schema.metadata[b"hemline"])["labels"]
    classes = pc.is_in(rows["true"], value_set=pa.array(labels))  # a folder may be named otherwise
    same = pc.equal(rows["label"], rows["true"]).filter(classes).drop_null()
    return {
        "faults": len(rows) - rows["error"].null_count,
        "labelled": len(same),
        "correct": pc.sum(same).as_py() or 0,
    }


def _join(folder: Path, output: Path, schema: pa.Schema) -> dict[str, int]:
    """Write all rows to one Parquet file, whole or not at all; return their counts."""
    options = {"compression": "zstd", "use_dictionary": FEW_VALUES}
    counts, group = Counter(faults=0, labelled=0, correct=0), list[pa.Table]()
    with replacing(output) as partial, pq.ParquetWriter(partial, schema, **options) as writer:
        chunks = chunks_in(folder)
        for chunk in chunks:
            table = _rows(chunk.path(folder)).replace_schema_metadata(schema.metadata)
            counts.update(_counts(table))
            group.append(table)
            if chunk is chunks[-1] or sum(each.nbytes for each in group) >= _GROUP_BYTES:
                writer.write_table(pa.concat_tables(group))
                group.clear()
    return counts


def _rows(path: Path) -> pa.Table:
    try:
        with pa.memory_map(str(path)) as file:
            return pa.ipc.open_file(file).read_all()
    except (pa.ArrowException, OSError) as error:
        raise FileFormatError(f"{path} is damaged ({first_line(error)}): remove it") from error
