"""Join records into rows that can be compared: one for each artifact in each runtime."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from hemline.contract.budget import Candidate
from hemline.contract.job import HostFacts
from hemline.contract.record import Accuracy, Cell, Latency, Memory, Payload, Record
from hemline.contract.specs import version_key
from hemline.errors import HemlineError
from hemline.statistics import LatencySummary, summarize

P = TypeVar("P", Latency, Accuracy, Memory)
KERAS = "keras"
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
        """Return artifact and runtime, as they stand beside a point of the picture."""
        return f"{self.cell.artifact} · {self.cell.runtime}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Rows under the same conditions, and the Keras model that they are held against.

    model: name in the MODELS table.
    keras_test, keras_validation: the Keras model's answers.
    rows: one for each artifact and runtime.
    host: that the latencies were measured on; None before any was.
    versions: runtime name to its newest version.
    dates: first and last day of measuring, ISO 8601.
    commit: of Hemline at the last measurement.
    """

    model: str
    keras_test: Accuracy
    keras_validation: Accuracy
    rows: tuple[Row, ...]
    host: HostFacts | None
    versions: dict[str, str]
    dates: tuple[str, str]
    commit: str | None


def compare(records: Sequence[Record], *, every_version: bool = False) -> Comparison:
    """Join this machine's records of one model at batch 1 and one thread.

    Of each runtime only the newest version counts; with `every_version` also the others, without
    their latencies on other hosts. Raises HemlineError when the Keras model's answers are missing,
    or when latencies come from unlike hosts: those share no table.
    """
    at_one = [record for record in records if record.cell.threads == record.cell.batch == 1]
    all_mine = [record for record in at_one if record.cell.device == LOCAL]
    versions = _newest_versions(all_mine)
    newest = [r for r in all_mine if r.cell.runtime_version == versions[r.cell.runtime]]
    host = _same_host([r for r in newest if isinstance(r.payload, Latency)])
    mine = [r for r in all_mine if _on(host, r)] if every_version else newest
    keras = [record for record in mine if record.cell.runtime == KERAS]
    cells = {_identity(r.cell): r.cell for r in mine if r.cell.runtime != KERAS}
    rows = [
        _row(cell, [r for r in mine if _identity(r.cell) == key]) for key, cell in cells.items()
    ]
    timed = [r for r in mine if isinstance(r.payload, Latency)]
    return Comparison(
        model=_only({record.cell.model for record in mine}, "models"),
        keras_test=_require(_payload(keras, Accuracy, "test")),
        keras_validation=_require(_payload(keras, Accuracy, "validation")),
        rows=tuple(row for row in rows if row is not None),
        host=host or _same_host(timed),
        versions={runtime: versions[runtime] for runtime in (c.runtime for c in cells.values())},
        dates=_dates(timed or mine),
        commit=(timed or mine)[-1].conditions.commit,
    )


def right(answers: Accuracy, labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Return which images were labelled right, bool (images,); `labels` may be of more images."""
    return np.asarray(answers.classes() == labels[: answers.images], bool)


def drop_points(answers: Accuracy) -> float:
    """Return the accuracy lost against the Keras model on the same images, percentage points."""
    return 100 * (answers.keras_correct - answers.correct) / answers.images


def candidates(comparison: Comparison) -> tuple[Candidate, ...]:
    """Return what the budget looks at: the drop on validation, never on test."""
    return tuple(
        Candidate(
            artifact=row.cell.artifact,
            runtime=row.cell.runtime,
            size_bytes=row.cell.size_bytes,
            drop_points=drop_points(row.validation),
            median_us=row.latency.median_us,
        )
        for row in comparison.rows
        if row.latency is not None
    )


def pareto_front(rows: Iterable[Row]) -> tuple[Row, ...]:
    """Return the rows that no other one beats in both latency and test accuracy, fastest first."""
    timed = [row for row in rows if row.latency is not None]
    front: list[Row] = []
    for row in sorted(timed, key=lambda r: (_median(r), -_share(r))):
        if not front or _share(row) > _share(front[-1]):
            front.append(row)
    return tuple(front)


def _share(row: Row) -> float:
    return row.test.correct / row.test.images


def _median(row: Row) -> float:
    return row.latency.median_us if row.latency else float("inf")


def _newest_versions(records: Iterable[Record]) -> dict[str, str]:
    """Return runtime name to newest version: figures of an older one are out of date.

    Where any version was timed, the newest of those: a newer one may only have been verified.
    """
    newest: dict[str, tuple[bool, str]] = {}
    for record in records:
        cell, timed = record.cell, isinstance(record.payload, Latency)
        found = (timed, cell.runtime_version)
        newest[cell.runtime] = max(newest.get(cell.runtime, found), found, key=_timed_and_newest)
    return {runtime: version for runtime, (_, version) in newest.items()}


def _timed_and_newest(found: tuple[bool, str]) -> tuple[bool, tuple[int, ...]]:
    return found[0], version_key(found[1])


def _on(host: HostFacts | None, record: Record) -> bool:
    """Tell whether a record may stand beside latencies of a host."""
    its = record.conditions.host
    alike = host is None or (its.processor, its.cores) == (host.processor, host.cores)
    return alike or not isinstance(record.payload, Latency)


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
    found: P | None = None
    for record in records:
        payload: Payload = record.payload
        if isinstance(payload, kind) and split in (None, getattr(payload, "split", None)):
            found = payload
    return found


def _require(answers: Accuracy | None) -> Accuracy:
    if answers is None:
        raise HemlineError("the records lack the Keras model's answers: run `hemline export` again")
    return answers


def _only(names: set[str], what: str) -> str:
    if len(names) != 1:
        raise HemlineError(f"the records are of {len(names)} {what}: compare one at a time")
    return names.pop()


def _same_host(records: list[Record]) -> HostFacts | None:
    hosts = {(r.conditions.host.processor, r.conditions.host.cores): r for r in records}
    if len(hosts) > 1:
        names = "; ".join(f"{processor}, {cores} cores" for processor, cores in hosts)
        raise HemlineError(f"latencies of unlike hosts share no table ({names}): measure again")
    return records[-1].conditions.host if records else None


def _dates(records: list[Record]) -> tuple[str, str]:
    days = sorted(record.conditions.date[:10] for record in records)
    return days[0], days[-1]
