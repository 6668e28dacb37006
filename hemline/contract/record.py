"""A record: one measured payload of one cell under stated conditions. Raw values only.

Medians, percentiles, accuracies and intervals are derived when they are shown (statistics.py), so a
record never goes out of date; records of unlike hosts, runtimes or schema versions share no ratio.

Schema history: 1, the first.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from hemline.contract.job import HostFacts
from hemline.contract.schema import from_document, to_document
from hemline.errors import FileFormatError, SchemaError
from hemline.files import parse_json, read_bytes, write_bytes

_AGAIN = "remove the records file, then run `hemline export` again"


RECORDS_NAME = "records.jsonl"  # in a bundle


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What was measured.

    model: name in the MODELS table.
    artifact: file name inside the bundle; "keras" for the checkpoint itself.
    artifact_sha256: of the file.
    size_bytes: of the file.
    runtime: name in the BACKENDS table; "keras" for the checkpoint.
    runtime_version: of its package.
    threads: that the runtime was given.
    batch: images per invocation.
    device: name in the DEVICES table or of a device.
    """

    model: str
    artifact: str
    artifact_sha256: str
    size_bytes: int
    runtime: str
    runtime_version: str
    threads: int
    batch: int
    device: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """Under what it was measured.

    host: facts read from the machine during the measurement.
    delegate: what really ran the operators.
    versions: package name to version (hemline, numpy, python and the runtime).
    commit: of Hemline, with "+" when the tree was changed; None outside a checkout.
    date: UTC time, ISO 8601.
    """

    host: HostFacts
    delegate: str
    versions: dict[str, str]
    commit: str | None
    date: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Wall times of single invocations (set input, invoke, get output), cell after cell in turn.

    rounds_ns: nanoseconds, one tuple a round.
    """

    KIND: ClassVar[str] = "latency"

    rounds_ns: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        if not self.rounds_ns or not all(self.rounds_ns):
            raise ValueError("a latency has at least one value in each round")


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Answers of one cell on one split, so that two cells can be compared image by image.

    split: validation or test.
    images: number of images.
    correct: number labelled right.
    agreement: number labelled like the Keras model.
    keras_correct: of the same images, number that the Keras model labels right.
    predictions: base64 of zlib of uint8 class indices, one per image.
    """

    KIND: ClassVar[str] = "accuracy"

    split: str
    images: int
    correct: int
    agreement: int
    keras_correct: int
    predictions: str

    def __post_init__(self) -> None:
        counts = (self.correct, self.agreement)
        if self.images < 1 or not all(0 <= count <= self.images for count in counts):
            raise ValueError(f"{self.correct} right and {self.agreement} alike of {self.images}")

    def classes(self) -> npt.NDArray[np.uint8]:
        """Return the predicted class indices, uint8 (images,); raises FileFormatError."""
        try:
            packed = base64.b64decode(self.predictions)
            raw = zlib.decompressobj().decompress(packed, self.images + 1)
        except (ValueError, zlib.error) as error:
            raise FileFormatError(f"the predictions of a record are damaged: {_AGAIN}") from error
        if len(raw) != self.images:
            raise FileFormatError(f"a record has {len(raw)} predictions: {_AGAIN}")
        return np.frombuffer(raw, np.uint8)


def pack_predictions(classes: npt.NDArray[np.integer[Any]]) -> str:
    """Pack class indices (n,) under 256 for Accuracy.predictions."""
    return base64.b64encode(zlib.compress(classes.astype(np.uint8).tobytes(), 9)).decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Resident memory of a process that did nothing but this cell.

    peak_bytes: largest resident set.
    import_ns: time to import the runtime.
    load_ns: from model bytes to a session ready to run.
    first_ns: first invocation.
    """

    KIND: ClassVar[str] = "memory"

    peak_bytes: int
    import_ns: int
    load_ns: int
    first_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Instructions:
    """Deterministic cost of one inference on an emulated processor.

    per_inference: machine instructions.
    processor: emulated processor model.
    """

    KIND: ClassVar[str] = "instructions"

    per_inference: int
    processor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Arena:
    """Memory plan of a microcontroller interpreter.

    bytes: tensor arena.
    """

    KIND: ClassVar[str] = "arena"

    bytes: int


Payload = Latency | Accuracy | Memory | Instructions | Arena


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One line of a records file: cell, conditions and exactly one payload."""

    KIND: ClassVar[str] = "record"
    SCHEMA: ClassVar[int] = 2

    cell: Cell
    conditions: Conditions
    payload: Payload


def read_records(path: Path) -> tuple[Record, ...]:
    """Read a JSON-lines file; raises FileFormatError naming the line that is wrong."""
    records = []
    for number, line in enumerate(_lines(path), start=1):
        where = f"{path}, line {number}"
        try:
            records.append(from_document(Record, parse_json(line, where=where), where=where))
        except SchemaError as error:
            raise SchemaError(f"{error}; delete the file, then verify and bench again") from error
    return tuple(records)


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Write records as JSON lines, whole or not at all."""
    lines = [json.dumps(to_document(record), separators=(",", ":")) for record in records]
    write_bytes(path, "".join(f"{line}\n" for line in lines).encode())


def merge_into(path: Path, fresh: Iterable[Record]) -> tuple[Record, ...]:
    """Add records to a file; one of the same cell and kind replaces the older one. Return all."""
    merged = {_key(record): record for record in (read_records(path) if path.exists() else ())}
    merged |= {_key(record): record for record in fresh}
    write_records(path, merged.values())
    return tuple(merged.values())


def _key(record: Record) -> tuple[object, ...]:
    cell, payload = record.cell, record.payload
    # not the artifact's hash: a new file of the same name makes the old figures out of date
    what = (cell.model, cell.artifact, cell.runtime, cell.runtime_version)
    how = (cell.threads, cell.batch, cell.device, payload.KIND)
    return (*what, *how, getattr(payload, "split", ""))


def _lines(path: Path) -> list[str]:
    try:
        return read_bytes(path).decode().splitlines()
    except UnicodeDecodeError as error:
        raise FileFormatError(f"{path} is not a records file: it is not text") from error
