"""Join records into rows that can be compared: one for each artifact in each runtime."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from hemline.bench.latency_summary import LatencySummary, summarize
from hemline.contract.budget import Candidate
from hemline.contract.job import HostFacts
from hemline.contract.record import Accuracy, Cell, Latency, Memory, Payload, Record, newest
from hemline.contract.specs import version_key
from hemline.errors import HemlineError, remedy

P = TypeVar("P", Latency, Accuracy, Memory)
LOCAL = "local"  # the device


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One artifact in one runtime on one device, with all that was measured of it.

    cell: what was measured.
    test, validation: accuracy payloads.
    latency: derived percentiles; None where it was not measured.
    memory: None likewise.
    delegate: what really ran the operators.
    """

    cell: Cell
    test: Accuracy
    validation: Accuracy
    latency: LatencySummary | None
    memory: Memory | None
    delegate: str

    @property
    def name(self) -> str:
        """Return artifact and runtime, the label of a point in the picture."""
        return f"{self.cell.artifact} · {self.cell.runtime}"

    @property
    def identity(self) -> tuple[str, str]:
        """Return artifact and runtime, which a candidate is chosen by."""
        return (self.cell.artifact, self.cell.runtime)

    @property
    def accuracy(self) -> float | None:
        """Return the share of test images that are classified correctly; None without labels."""
        return self.test.share

    @property
    def agreement(self) -> float:
        """Return the share of test images with the reference's label."""
        return self.test.agreement / self.test.images

    @property
    def quality(self) -> float:
        """Return the accuracy; for images without labels the agreement."""
        return self.agreement if self.accuracy is None else self.accuracy

    @property
    def median_us(self) -> float:
        """Return the median latency; infinity where it was not measured."""
        return self.latency.median_us if self.latency else float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceModel:
    """The model that the artifacts were exported from.

    kind: keras or onnx.
    test: its predictions.
    """

    kind: str
    test: Accuracy

    @property
    def name(self) -> str:
        """Return its name in tables."""
        return "keras" if self.kind == "keras" else "source"

    @property
    def title(self) -> str:
        """Return its name in texts."""
        return "Keras model" if self.kind == "keras" else "source model"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Rows of one host, and the source model that they are compared with.

    model: name of the model.
    source: the source model; None for a file that was made elsewhere.
    rows: one for each artifact and runtime.
    host: that the latencies were measured on; None before any was.
    other_hosts: names of those whose latencies are left out.
    versions: runtime name to its newest version.
    dates: first and last day of measuring, ISO 8601.
    commit: of Hemline at the last measurement.
    """

    model: str
    source: SourceModel | None
    rows: tuple[Row, ...]
    host: HostFacts | None
    other_hosts: tuple[str, ...]
    versions: dict[str, str]
    dates: tuple[str, str]
    commit: str | None

    @property
    def accuracies(self) -> tuple[Accuracy, ...]:
        """Return all predictions of the test split."""
        own = () if self.source is None else (self.source.test,)
        return (*own, *(row.test for row in self.rows))

    @property
    def images(self) -> int:
        """Return the number of test images."""
        return max((each.images for each in self.accuracies), default=0)

    @property
    def has_labels(self) -> bool:
        """Return whether the test images have labels: without these no accuracy is known."""
        return any(each.correct is not None for each in self.accuracies)


def compare(
    records: Iterable[Record], *, every_version: bool = False, has_source: bool = True
) -> Comparison:
    """Join the newest records of one model on `local` at batch 1 and one thread.

    Latencies are those of one host: the one that was measured last. Of each runtime only the newest
    version counts, of those that were timed there; `every_version` keeps the others as rows of
    their own. An accuracy of another host is used where this one has none. A file that was made
    elsewhere has no source model (`has_source`). Raises HemlineError when a source model's
    predictions are missing.
    """
    local = newest(r for r in records if r.cell.threads == r.cell.batch == 1)
    local = tuple(r for r in local if r.cell.device == LOCAL)
    order = list(dict.fromkeys(r.cell.artifact for r in local))  # that of a file made anew, too
    hashes = {r.cell.artifact: r.cell.artifact_sha256 for r in sorted(local, key=_date)}
    local = tuple(r for r in local if r.cell.artifact_sha256 == hashes[r.cell.artifact])
    timed = [r for r in local if isinstance(r.payload, Latency)]
    hosts = {r.cell.host: r.conditions.host for r in timed}
    host = max(timed, key=_date).cell.host if timed else None
    mine = [r for r in local if host in (None, r.cell.host) or isinstance(r.payload, Accuracy)]
    mine.sort(key=lambda record: record.cell.host == host)  # of two payloads the last one counts
    versions = _newest_versions(mine)
    if not every_version:
        mine = [r for r in mine if r.cell.runtime_version == versions[r.cell.runtime]]
    cells = {_identity(r.cell): r.cell for r in mine if not r.cell.is_source}
    rows = [
        _row(cell, [r for r in mine if _identity(r.cell) == key]) for key, cell in cells.items()
    ]
    rows.sort(key=lambda row: -1 if row is None else order.index(row.cell.artifact))
    dated = [r for r in mine if isinstance(r.payload, Latency)] or mine
    return Comparison(
        model=_only({record.cell.model for record in mine}, "models"),
        source=_source(mine) if has_source else None,
        rows=tuple(row for row in rows if row is not None),
        host=None if host is None else hosts[host],
        other_hosts=tuple(name for name in hosts if name != host),
        versions={runtime: versions[runtime] for runtime in (c.runtime for c in cells.values())},
        dates=_dates(dated),
        commit=max(dated, key=_date).conditions.commit,
    )


def _date(record: Record) -> str:
    return record.conditions.date


def correct(accuracy: Accuracy, labels: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.bool_]:
    """Return which images are classified correctly, bool (images,).

    `labels` are class indices (n,), perhaps of more images.
    """
    return np.asarray(accuracy.classes() == labels[: accuracy.images], bool)


def candidates(comparison: Comparison) -> tuple[Candidate, ...]:
    """Return the candidates for a budget: with the drop on validation, never on test."""
    return tuple(
        Candidate(
            artifact=row.cell.artifact,
            runtime=row.cell.runtime,
            size_bytes=row.cell.size_bytes,
            drop_points=row.validation.drop_points if comparison.source else None,
            median_us=row.median_us,
        )
        for row in comparison.rows
        if row.latency is not None
    )


def pareto_front(rows: Iterable[Row]) -> tuple[Row, ...]:
    """Return the rows that no other one beats in both latency and quality, fastest first."""
    timed = [row for row in rows if row.latency is not None]
    front: list[Row] = []
    for row in sorted(timed, key=lambda r: (r.median_us, -r.quality)):
        if not front or row.quality > front[-1].quality:
            front.append(row)
    return tuple(front)


def _newest_versions(records: Iterable[Record]) -> dict[str, str]:
    """Return runtime name to newest version: figures of an older one are out of date.

    Where any version was timed, the newest of those: a newer one may only have been verified.
    """
    best: dict[str, tuple[bool, str]] = {}
    for record in records:
        cell, timed = record.cell, isinstance(record.payload, Latency)
        this = (timed, cell.runtime_version)
        best[cell.runtime] = max(
            best.get(cell.runtime, this), this, key=lambda each: (each[0], version_key(each[1]))
        )
    return {runtime: version for runtime, (_, version) in best.items()}


def _identity(cell: Cell) -> tuple[str, ...]:
    return (cell.artifact_sha256, cell.runtime, cell.runtime_version, cell.device)


def _row(cell: Cell, records: list[Record]) -> Row | None:
    test = _payload(records, Accuracy, "test")
    validation = _payload(records, Accuracy, "validation")
    if test is None or validation is None:
        return None
    latency = _payload(records, Latency)
    timed = [r for r in records if isinstance(r.payload, Latency)] or records
    return Row(
        cell=cell,
        test=test,
        validation=validation,
        latency=summarize(latency) if latency else None,
        memory=_payload(records, Memory),
        delegate=timed[0].conditions.delegate,
    )


def _payload(records: Iterable[Record], kind: type[P], split: str | None = None) -> P | None:
    last: P | None = None
    for record in records:
        payload: Payload = record.payload
        if isinstance(payload, kind) and split in (None, getattr(payload, "split", None)):
            last = payload
    return last


def _source(records: Iterable[Record]) -> SourceModel:
    own = [record for record in records if record.cell.is_source]
    test = _payload(own, Accuracy, "test")
    if test is None:
        raise HemlineError(
            "the records lack the source model's predictions", remedy=remedy("export again")
        )
    return SourceModel(kind=own[-1].cell.runtime, test=test)


def _only(names: set[str], what: str) -> str:
    if len(names) != 1:
        raise HemlineError(f"the records are of {len(names)} {what}: compare one at a time")
    return names.pop()


def _dates(records: list[Record]) -> tuple[str, str]:
    days = sorted(_date(record)[:10] for record in records)
    return days[0], days[-1]
