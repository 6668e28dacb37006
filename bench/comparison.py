"""Join records into rows that can be compared: one for each artifact in each runtime."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from hemline.bench.latency_summary import LatencySummary, summarize
from hemline.contract.budget import Candidate
from hemline.contract.job import HostFacts
from hemline.contract.profile import Profile
from hemline.contract.record import (
    Accuracy,
    Cell,
    Conditions,
    Latency,
    Memory,
    Payload,
    Record,
    newest,
)
from hemline.contract.specs import version_key
from hemline.errors import HemlineError, remedy

P = TypeVar("P", Latency, Accuracy, Memory, Profile)
LOCAL = "local"  # the device


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
class ComparedModel:
    """A model, and what its artifacts are compared with.

    name: of the model; with its bundle where two models have the same name.
    source: None for a file that was made elsewhere.
    dataset: title of the data set; empty where only records are known.
    classes: names in the order of the labels; empty where only records are known.
    labels: of the test images, class indices (n,); None where they have none, or are not at hand.
    """

    name: str
    source: SourceModel | None
    dataset: str = ""
    classes: tuple[str, ...] = ()
    labels: npt.NDArray[np.uint8] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One artifact in one runtime on one device, with all that was measured of it.

    cell: what was measured.
    model: that the artifact is of.
    test, validation: accuracy payloads.
    latency: derived percentiles; None where it was not measured.
    memory, profile: None likewise.
    conditions: of the latency, or of the predictions where none was measured.
    """

    cell: Cell
    model: ComparedModel
    test: Accuracy
    validation: Accuracy
    latency: LatencySummary | None
    memory: Memory | None
    profile: Profile | None
    conditions: Conditions

    @property
    def name(self) -> str:
        """Return artifact and runtime, the label of a point in the picture."""
        return f"{self.cell.artifact} · {self.cell.runtime}"

    @property
    def delegate(self) -> str:
        """Return what really ran the operators."""
        return self.conditions.delegate

    @property
    def images_per_second(self) -> float | None:
        """Return the throughput of this cell, one invocation after the other."""
        return self.cell.batch * 1e6 / self.median_us if self.latency else None

    @property
    def settings(self) -> str:
        """Return threads, images at once and settings in words; empty for one thread and image."""
        return settings_of(self.cell)

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
class Comparison:
    """Rows of one host, and the models that they are of.

    models: in the order in which they were named.
    rows: one for each artifact and runtime, with one thread, one image and no settings.
    variants: the same for other threads, images at once and settings; none of them is chosen.
    host: that the latencies were measured on; None before any was.
    other_hosts: names of those whose latencies are left out.
    versions: runtime name to its newest version.
    dates: first and last day of measuring, ISO 8601.
    commit: of Hemline at the last measurement.
    """

    models: tuple[ComparedModel, ...]
    rows: tuple[Row, ...]
    variants: tuple[Row, ...]
    host: HostFacts | None
    other_hosts: tuple[str, ...]
    versions: dict[str, str]
    dates: tuple[str, str]
    commit: str | None

    @property
    def title(self) -> str:
        """Return the names of the models."""
        *first, last = (model.name for model in self.models)
        return f"{', '.join(first)} and {last}" if first else last

    @property
    def topic(self) -> str:
        """Return the names of the models, and the title of the data set that all are of."""
        titles = {model.dataset for model in self.models}
        return " on ".join(filter(None, (self.title, titles.pop() if len(titles) == 1 else "")))

    def label(self, model: ComparedModel) -> str:
        """Return the name of a model where there are several; empty where there is one."""
        return model.name if len(self.models) > 1 else ""

    @property
    def sources(self) -> tuple[SourceModel, ...]:
        """Return the source models that there are."""
        return tuple(model.source for model in self.models if model.source is not None)

    @property
    def accuracies(self) -> tuple[Accuracy, ...]:
        """Return all predictions of the test split."""
        return (*(each.test for each in self.sources), *(row.test for row in self.rows))

    @property
    def images(self) -> int:
        """Return the number of test images."""
        return max((each.images for each in self.accuracies), default=0)

    @property
    def has_labels(self) -> bool:
        """Return whether the test images have labels: without these no accuracy is known."""
        return any(each.correct is not None for each in self.accuracies)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRecords:
    """The records of one model; the other fields are those of a ComparedModel."""

    name: str | None = None
    records: tuple[Record, ...]
    has_source: bool = True
    dataset: str = ""
    classes: tuple[str, ...] = ()
    labels: npt.NDArray[np.uint8] | None = None


def compare(
    records: Iterable[Record], *, every_version: bool = False, has_source: bool = True
) -> Comparison:
    """Join the newest records of one model, as compare_models does."""
    own = ModelRecords(records=tuple(records), has_source=has_source)
    return compare_models([own], every_version=every_version)


def compare_models(models: Sequence[ModelRecords], *, every_version: bool = False) -> Comparison:
    """Join the newest records on `local` of models that were judged on the same images.

    Latencies are those of one host: the one that was measured last. Of each runtime only the newest
    version counts, of those that a model was timed in there; `every_version` keeps the others as
    rows of their own. An accuracy of another host is used where this one has none. Raises
    HemlineError when a source model's predictions are missing.
    """
    local = [_current(model.records) for model in models]
    timed = [r for each in local for r in each if isinstance(r.payload, Latency)]
    hosts = {r.cell.host: r.conditions.host for r in timed}
    host = max(timed, key=_date).cell.host if timed else None
    joined = [
        _join(model, records, host, every_version=every_version)
        for model, records in zip(models, local, strict=True)
    ]
    rows = [row for _, own, _ in joined for row in own]
    used = [record for *_, own in joined for record in own]
    dated = [r for r in timed if r.cell.host == host] or used
    return Comparison(
        models=tuple(model for model, *_ in joined),
        rows=tuple(row for row in rows if not row.settings),
        variants=tuple(row for row in rows if row.settings and row.latency),
        host=None if host is None else hosts[host],
        other_hosts=tuple(name for name in hosts if name != host),
        versions=_newest_versions(r for r in used if not r.cell.is_source),
        dates=_dates(dated),
        commit=max(dated, key=_date).conditions.commit,
    )


def settings_of(cell: Cell) -> str:
    """Return threads, images at once and settings in words; empty for one thread and image."""
    parts = (
        f"{cell.threads} threads" if cell.threads > 1 else "",
        f"batch {cell.batch}" if cell.batch > 1 else "",
        cell.settings.text,
    )
    return ", ".join(part for part in parts if part)


def candidates(comparison: Comparison) -> tuple[Candidate, ...]:
    """Return the candidates for a budget: with the drop on validation, never on test."""
    return tuple(
        candidate_of(comparison, row) for row in comparison.rows if row.latency is not None
    )


def candidate_of(comparison: Comparison, row: Row) -> Candidate:
    """Return a row as a candidate, with its model where there are several."""
    return Candidate(
        model=comparison.label(row.model),
        artifact=row.cell.artifact,
        runtime=row.cell.runtime,
        size_bytes=row.cell.size_bytes,
        drop_points=_loss(comparison, row),
        median_us=row.median_us,
    )


def _loss(comparison: Comparison, row: Row) -> float | None:
    """Return the accuracy lost on validation against the most accurate of the source models.

    Of files alone, whose images are all that there is, it is that against the most accurate file.
    """
    own, judged = row.validation, [each for each in comparison.rows if each.model.source]
    alone = len(comparison.models) == 1
    if own.share is None or (row.model.source is None and (judged or alone)):
        return None
    if alone:
        return own.drop_points
    best = [each.validation for each in judged or comparison.rows]
    return 100 * (max((each.keras_correct or 0) / each.images for each in best) - own.share)


def pareto_front(rows: Iterable[Row]) -> tuple[Row, ...]:
    """Return the rows that no other one beats in both latency and quality, fastest first."""
    timed = [row for row in rows if row.latency is not None]
    front: list[Row] = []
    for row in sorted(timed, key=lambda r: (r.median_us, -r.quality)):
        if not front or row.quality > front[-1].quality:
            front.append(row)
    return tuple(front)


def _current(records: Iterable[Record]) -> tuple[Record, ...]:
    """Return the newest records on `local`, of the newest file of each name."""
    local = [r for r in newest(records) if r.cell.device == LOCAL]
    hashes = {r.cell.artifact: r.cell.artifact_sha256 for r in sorted(local, key=_date)}
    return tuple(r for r in local if r.cell.artifact_sha256 == hashes[r.cell.artifact])


def _join(
    own: ModelRecords, local: Sequence[Record], host: str | None, *, every_version: bool
) -> tuple[ComparedModel, tuple[Row, ...], tuple[Record, ...]]:
    """Return a model with its rows, and the records that count."""
    order = list(dict.fromkeys(r.cell.artifact for r in own.records))  # that of a file made anew
    mine = [r for r in local if host in (None, r.cell.host) or isinstance(r.payload, Accuracy)]
    mine.sort(key=lambda record: record.cell.host == host)  # of two payloads the last one counts
    versions = _newest_versions(mine)
    if not every_version:
        mine = [r for r in mine if r.cell.runtime_version == versions[r.cell.runtime]]
    model = ComparedModel(
        name=own.name or _only({record.cell.model for record in mine}, "models"),
        source=_source(mine) if own.has_source else None,
        dataset=own.dataset,
        classes=own.classes,
        labels=own.labels,
    )
    cells = {_identity(r.cell): r.cell for r in mine if not r.cell.is_source}
    rows = [_row(cell, model, mine) for cell in cells.values()]
    rows.sort(key=lambda row: -1 if row is None else order.index(row.cell.artifact))
    return model, tuple(filter(None, rows)), tuple(mine)


def _date(record: Record) -> str:
    return record.conditions.date


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


def _identity(cell: Cell) -> tuple[object, ...]:
    """Return what a row is of, whatever host its payloads are from."""
    runtime = (cell.runtime, cell.runtime_version)
    return (cell.artifact_sha256, *runtime, cell.threads, cell.batch, cell.settings)


def _row(cell: Cell, model: ComparedModel, records: Sequence[Record]) -> Row | None:
    """Return the row of a cell; None where its predictions are not known.

    Threads, images at once and cores do not change the predictions: those of the plain cell count.
    """
    own = _identity(cell)
    plain = replace(cell, threads=1, batch=1, settings=replace(cell.settings, cores=()))
    mine = [r for r in records if _identity(r.cell) == own]
    judged = [r for r in records if _identity(r.cell) in (own, _identity(plain))]
    test = _payload(judged, Accuracy, "test")
    validation = _payload(judged, Accuracy, "validation")
    if test is None or validation is None:
        return None
    latency = _payload(mine, Latency)
    timed = [r for r in mine if isinstance(r.payload, Latency)] or mine
    return Row(
        cell=cell,
        model=model,
        test=test,
        validation=validation,
        latency=summarize(latency) if latency else None,
        memory=_payload(mine, Memory),
        profile=_payload(mine, Profile),
        conditions=timed[0].conditions,
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


def _dates(records: Sequence[Record]) -> tuple[str, str]:
    days = sorted(_date(record)[:10] for record in records)
    return days[0], days[-1]
