"""A record: one measured payload of one cell under stated conditions. Raw values only.

Medians, percentiles, accuracies and intervals are derived when they are shown (statistics.py).
Records are appended and never overwritten: the same cell measured again, on another host, by
another version or later, is one line more. `newest` returns the last one of each cell and host.

Schema history of a record: 2, Accuracy.keras_correct (older files cannot be read); 3, the host is
part of the cell; 4, images without labels, of which no number is correct; 5, settings are part of
the cell, rounds have conditions, and there are profiles, sustained runs and energy.
"""

from __future__ import annotations

import base64
import functools
import json
import logging
import os
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from hemline.contract.job import HostFacts, host_name
from hemline.contract.profile import Profile
from hemline.contract.schema import added, from_document, to_document
from hemline.contract.settings import DEFAULT, Settings
from hemline.contract.specs import LOCAL as LOCAL
from hemline.errors import FileFormatError, HemlineError, SchemaError, remedy
from hemline.files import parse_json, read_bytes, reason_of

RECORDS_NAME = "records.jsonl"  # in a bundle


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What was measured.

    model: name in the MODELS table.
    artifact: file name inside the bundle; of the model that it was exported from, its kind: keras
        for a Keras model.
    artifact_sha256: of the file.
    size_bytes: of the file.
    runtime: name in the BACKENDS table; of the source model, its kind again.
    runtime_version: of its package.
    threads: that the runtime was given.
    batch: images per invocation.
    device: name in the DEVICES table or of a device.
    host: processor, cores and system of the machine that it ran on.
    settings: how the runtime was opened.
    """

    model: str
    artifact: str
    artifact_sha256: str
    size_bytes: int
    runtime: str
    runtime_version: str
    threads: int = 1
    batch: int = 1
    device: str = LOCAL
    host: str
    settings: Settings = added(DEFAULT)

    @property
    def is_source(self) -> bool:
        """Return whether this is the model that the artifacts were exported from."""
        return self.artifact == self.runtime


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One cell measured as if it were two, in every run: the ratio of equal things.

    ratio, low, high: of the second to the first, with its 99 % interval.
    retried: whether it was measured a second time, as 1 was not in the first interval.
    """

    ratio: float
    low: float
    high: float
    retried: bool

    @property
    def held(self) -> bool:
        """Return whether the interval contains 1."""
        return self.low <= 1 <= self.high


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """Under what it was measured.

    host: facts read from the machine during the measurement.
    delegate: what really ran the operators.
    versions: package name to version (hemline, numpy, python and the runtime).
    commit: of Hemline, with "+" when the tree was changed; None outside a checkout.
    date: UTC time, ISO 8601.
    run: identity of the run; of one run, rounds with the same number were measured one after the
        other. Empty in older records.
    pair: check of this run on equal things; None where none was made.
    """

    host: HostFacts
    delegate: str
    versions: dict[str, str]
    commit: str | None
    date: str
    run: str = added("")
    pair: Pair | None = added(None)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundFacts:
    """What the machine did during a round of all cells; None where the system does not tell.

    busy_share: of the processor time of the cores, what other processes used, 0 … 1.
    stolen_share: likewise what the hypervisor gave to other machines.
    frequency_khz: median over the cells of the smaller of before and after a turn.
    throttled: whether heat or low voltage slowed the processor down.
    disturbed: why the round says little, in a few words; None for a quiet one.
    """

    busy_share: float | None
    stolen_share: float | None
    frequency_khz: int | None
    throttled: bool | None
    disturbed: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Wall times of single invocations (set input, invoke, get output), cell after cell in turn.

    rounds_ns: nanoseconds, one tuple a round.
    facts: of each round; empty in older records.
    """

    KIND: ClassVar[str] = "latency"

    rounds_ns: tuple[tuple[int, ...], ...]
    facts: tuple[RoundFacts, ...] = added(())

    def __post_init__(self) -> None:
        if not self.rounds_ns or not all(self.rounds_ns):
            raise ValueError("a latency has at least one value in each round")
        if min(map(min, self.rounds_ns)) < 1:
            raise ValueError(f"a latency of {min(map(min, self.rounds_ns))} ns is not a time")
        if self.facts and len(self.facts) != len(self.rounds_ns):
            raise ValueError(f"{len(self.facts)} facts for {len(self.rounds_ns)} rounds")


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Predictions of one cell on one split, so that two cells can be compared image by image.

    split: validation or test.
    images: number of images.
    correct: number classified correctly; None for images without labels.
    agreement: number classified like the reference (evaluation_set.py), mostly the Keras model.
    keras_correct: of the same images, number that the reference classifies correctly; None
        likewise.
    predictions: base64 of zlib of class indices, one per image: uint8, or little-endian uint16
        where there are more than 256 classes.
    """

    KIND: ClassVar[str] = "accuracy"

    split: str
    images: int
    correct: int | None
    agreement: int
    keras_correct: int | None
    predictions: str

    def __post_init__(self) -> None:
        if (self.correct is None) != (self.keras_correct is None):
            raise ValueError("give correct and keras_correct together")
        counts = (self.correct or 0, self.agreement, self.keras_correct or 0)
        if self.images < 1 or not all(0 <= count <= self.images for count in counts):
            raise ValueError(f"{self.correct} correct and {self.agreement} alike of {self.images}")

    @property
    def share(self) -> float | None:
        """Return the share of images that are classified correctly; None without labels."""
        return None if self.correct is None else self.correct / self.images

    @property
    def drop_points(self) -> float | None:
        """Return the accuracy lost against the reference, points; None without labels."""
        if self.correct is None or self.keras_correct is None:
            return None
        return 100 * (self.keras_correct - self.correct) / self.images

    def classes(self) -> npt.NDArray[np.uint16]:
        """Return the predicted class indices, uint16 (images,); raises FileFormatError."""
        try:
            packed = base64.b64decode(self.predictions)
            raw = zlib.decompressobj().decompress(packed, 2 * self.images + 1)
        except (ValueError, zlib.error) as error:
            raise _damaged("the predictions of a record are damaged") from error
        dtype = {self.images: "u1", 2 * self.images: "<u2"}.get(len(raw))
        if dtype is None:
            raise _damaged(f"a record has {len(raw)} bytes of predictions for {self.images} images")
        return np.frombuffer(raw, dtype).astype(np.uint16)


def pack_predictions(classes: npt.NDArray[np.integer[Any]]) -> str:
    """Pack class indices (n,) under 65,536 for Accuracy.predictions."""
    dtype = "u1" if int(classes.max(initial=0)) < 256 else "<u2"
    return base64.b64encode(zlib.compress(classes.astype(dtype).tobytes(), 9)).decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Resident memory of a process that did nothing but this cell.

    peak_bytes: largest resident set.
    import_ns: time to import the runtime.
    load_ns: from model bytes to a session ready to run.
    first_ns: first invocation.
    process_ns: from starting the process until it could read a job; None in older records.
    steady_bytes: resident set at the end; None where the system does not tell.
    package_bytes: of the runtime's installed package; None where that is not known.
    """

    KIND: ClassVar[str] = "memory"

    peak_bytes: int
    import_ns: int
    load_ns: int
    first_ns: int
    process_ns: int | None = added(None)
    steady_bytes: int | None = added(None)
    package_bytes: int | None = added(None)

    def __post_init__(self) -> None:
        _require_not_negative(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sustained:
    """Latency over minutes without a pause.

    seconds: from the start to the end of each slice.
    medians_ns: of each slice.
    temperatures_millicelsius, frequencies_khz: at the end of each slice; empty where not known.
    """

    KIND: ClassVar[str] = "sustained"

    seconds: tuple[float, ...]
    medians_ns: tuple[int, ...]
    temperatures_millicelsius: tuple[int, ...]
    frequencies_khz: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """What the machine reports of its power while it does nothing else.

    joules_per_inference: above idle.
    idle_watts, busy_watts: mean power.
    source: what reported it (RAPL, the power chip of a Raspberry Pi 5).
    """

    KIND: ClassVar[str] = "energy"

    joules_per_inference: float
    idle_watts: float
    busy_watts: float
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Instructions:
    """Deterministic cost of one inference on an emulated processor.

    per_inference: machine instructions.
    processor: emulated processor model.
    """

    KIND: ClassVar[str] = "instructions"

    per_inference: int
    processor: str

    def __post_init__(self) -> None:
        _require_not_negative(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arena:
    """Memory plan of a microcontroller interpreter.

    bytes: tensor arena.
    """

    KIND: ClassVar[str] = "arena"

    bytes: int

    def __post_init__(self) -> None:
        _require_not_negative(self)


Payload = Latency | Accuracy | Memory | Instructions | Arena | Sustained | Energy | Profile


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One line of a records file: cell, conditions and exactly one payload."""

    KIND: ClassVar[str] = "record"
    SCHEMA: ClassVar[int] = 5

    cell: Cell
    conditions: Conditions
    payload: Payload

    @staticmethod
    def upgraded(document: dict[str, Any], schema: int) -> dict[str, Any]:
        """Bring an older document to the fields of today: the host came into the cell with 3."""
        if schema < 3:
            host = document["conditions"]["host"]
            document["cell"]["host"] = host_name(host["processor"], host["cores"], host["system"])
        return document


def read_records(path: Path) -> tuple[Record, ...]:
    """Read a JSON-lines file, in the order in which it was written.

    A last line that was cut off (the process or the machine stopped while it was written) is left
    out with a warning. Raises FileFormatError naming the line that is wrong.
    """
    return _records(path, read_bytes(path))


# a command asks for the same records for each of its tables and devices
@functools.lru_cache(maxsize=8)
def _records(path: Path, content: bytes) -> tuple[Record, ...]:
    whole = content[: _cut_at(content)]
    if len(whole) < len(content):
        logging.getLogger(__name__).warning("%s: the last line is incomplete and was skipped", path)
    return tuple(_parsed(whole, path))


def append_records(path: Path, records: Iterable[Record]) -> None:
    """Append records to a file; what it has stays, but for a last line that was cut off.

    Raises HemlineError naming the file when it cannot be written; none of them is added then.
    """
    texts = (json.dumps(to_document(record), separators=(",", ":")) for record in records)
    lines = "".join(f"{text}\n" for text in texts).encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+", buffering=0) as stream:
            stream.seek(0)
            content = stream.read()
            end = _cut_at(content)
            stream.truncate(end)
            rest = lines if content[:end].endswith(b"\n") or not end else b"\n" + lines
            try:
                while rest:
                    rest = rest[stream.write(rest) :]
                os.fsync(stream.fileno())
            except OSError:  # a full disk
                stream.truncate(end)
                raise
    except OSError as error:
        raise HemlineError(f"cannot write {path}: {reason_of(error)}") from error


def newest(records: Iterable[Record]) -> tuple[Record, ...]:
    """Return the newest record of each cell (its host included), payload kind and split.

    They are in the order in which their cells come first.
    """
    last: dict[tuple[object, ...], Record] = {}
    for record in records:
        payload = record.payload
        key = (record.cell, payload.KIND, getattr(payload, "split", ""))
        if record.conditions.date >= last.setdefault(key, record).conditions.date:
            last[key] = record
    return tuple(last.values())


def _parsed(content: bytes, path: Path) -> Iterator[Record]:
    try:
        lines = content.decode().splitlines()
    except UnicodeDecodeError as error:
        raise FileFormatError(f"{path} is not a text file of records") from error
    for number, line in enumerate(lines, start=1):
        where = f"{path}, line {number}"
        try:
            yield from_document(Record, parse_json(line, where=where), where=where)
        except SchemaError as error:
            raise SchemaError(str(error), remedy=remedy("measure again", path=path)) from error


def _require_not_negative(payload: Memory | Instructions | Arena) -> None:
    for field in fields(payload):
        value = getattr(payload, field.name)
        if isinstance(value, int) and value < 0:
            raise ValueError(f"{field.name} is {value}: it cannot be negative")


def _cut_at(content: bytes) -> int:
    """Return where a last line that was cut off begins; the length of the content without one."""
    start = content.rfind(b"\n") + 1
    try:
        json.loads(content[start:] or b"null")
    except (ValueError, RecursionError):
        return start
    return len(content)


def _damaged(message: str) -> FileFormatError:
    return FileFormatError(message, remedy=remedy("records damaged"))
