"""Join records into rows that can be compared: one for each artifact in each runtime."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from hemline.bench.costs import COSTS, MEASURES, Measure
from hemline.bench.latency_summary import LatencySummary, summarize
from hemline.contract.budget import Candidate
from hemline.contract.job import HostFacts
from hemline.contract.record import (
    LOCAL,
    Accuracy,
    Arena,
    Cell,
    Conditions,
    Instructions,
    Latency,
    Payload,
    Record,
    newest,
)
from hemline.contract.specs import version_key
from hemline.errors import HemlineError, remedy

P = TypeVar("P", bound=Payload)


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


@dataclass(frozen=True, kw_only=True)
class Row:
    """One artifact in one runtime on one device, with all that was measured of it.

    cell: what was measured.
    model: that the artifact is of.
    test, validation: accuracy payloads, those of this machine for another device.
    payloads: one of each kind, `test` among them; a kind that was not measured is missing.
    conditions: of the cost, or of the predictions where none was measured.
    chosen: whether a report marks it as the one to ship.
    """

    cell: Cell
    model: ComparedModel
    test: Accuracy
    validation: Accuracy
    payloads: tuple[Payload, ...]
    conditions: Conditions
    chosen: bool = False

    def get(self, kind: type[P]) -> P | None:
        """Return the payload of a kind; None where it was not measured."""
        return next((each for each in self.payloads if isinstance(each, kind)), None)

    @cached_property
    def latency(self) -> LatencySummary | None:
        """Return the derived percentiles; None where no latency was measured."""
        latency = self.get(Latency)
        return None if latency is None else summarize(latency)

    @cached_property
    def measure(self) -> Measure:
        """Return what it is compared by: latency where nothing was measured."""
        return next((each for each in MEASURES if self.get(each.payload)), MEASURES[0])

    @cached_property
    def cost(self) -> float:
        """Return its figure of that measure; infinity where it was not measured."""
        payload = self.get(self.measure.payload)
        return float("inf") if payload is None else self.measure.value(payload)

    @property
    def is_measured(self) -> bool:
        """Return whether it has a cost."""
        return self.cost < float("inf")

    def counted(self, kind: type[Payload]) -> int | None:
        """Return the cost where it is of a kind of payload; None where it is of another one."""
        return int(self.cost) if self.is_measured and self.measure.payload is kind else None

    @property
    def cost_text(self) -> str:
        """Return the cost in a table; empty where it was not measured."""
        return self.measure.text(self.cost) if self.is_measured else ""

    @property
    def name(self) -> str:
        """Return artifact and runtime, the label of a point in the picture."""
        return f"{self.cell.artifact} · {self.cell.runtime}"

    @property
    def images_per_second(self) -> float | None:
        """Return the throughput of this cell, one invocation after the other."""
        return self.cell.batch * 1e6 / self.latency.median_us if self.latency else None

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Rows of one host, and the models that they are of; joined ones are of several devices.

    device: where it was measured: local, or as the device is named; the first of several.
    models: in the order in which they were named.
    rows: one for each artifact and runtime, with one thread, one image and no settings.
    variants: the same for other threads, images at once and settings; none of them is chosen.
    host: that the costs were measured on; None before any was.
    other_hosts: names of those whose latencies are left out.
    versions: runtime name to its newest version.
    dates: first and last day of measuring, ISO 8601.
    commit: of Hemline at the last measurement.
    """

    device: str
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

    @property
    def measure(self) -> Measure:
        """Return what its rows are compared by."""
        return next((row.measure for row in self.rows if row.is_measured), MEASURES[0])

    @property
    def where(self) -> str:
        """Return the device in a sentence: this machine by its processor."""
        processor = self.host.processor if self.host else "this machine"
        return processor if self.device == LOCAL else self.device

    @property
    def machine(self) -> str:
        """Return the host; an emulated board shows the cores and kernel of this machine."""
        counted = (row.get(Instructions) for row in self.rows)
        if self.host and (found := next(filter(None, counted), None)):
            return f"{self.host.processor}, {found.processor} in qemu"
        return self.host.name if self.host else ""

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


def compare_models(
    models: Sequence[ModelRecords], *, device: str = LOCAL, every_version: bool = False
) -> Comparison:
    """Join the newest records on a device of models that were evaluated on the same images.

    Latencies are those of one host: the one that was measured last. Of each runtime only the newest
    version counts, of those that a model was measured in there; `every_version` keeps the others as
    rows of their own. An accuracy of another host is used where this one has none, and that of this
    machine for another device. Raises HemlineError when a source model's predictions are missing.
    """
    current = [_current(model.records, device) for model in models]
    costs = [r for each in current for r in each if isinstance(r.payload, COSTS)]
    hosts = {r.cell.host: r.conditions.host for r in costs}
    host = max(costs, key=_date).cell.host if costs else None
    # instructions are the same on every host
    only = host if any(isinstance(r.payload, Latency) for r in costs) else None
    joined = [
        _join(model, records, device, only, every_version=every_version)
        for model, records in zip(models, current, strict=True)
    ]
    rows = [row for _, own, _ in joined for row in own]
    used = [record for *_, own in joined for record in own]
    dated = [r for r in costs if only in (None, r.cell.host)] or used
    return Comparison(
        device=device,
        models=tuple(model for model, *_ in joined),
        rows=tuple(row for row in rows if not row.settings),
        variants=tuple(row for row in rows if row.settings and row.is_measured),
        host=None if host is None else hosts[host],
        other_hosts=tuple(name for name in hosts if name != host) if only else (),
        versions=_newest_versions(
            r for r in used if not r.cell.is_source and r.cell.device == device
        ),
        dates=_dates(dated),
        commit=max(dated, key=_date).conditions.commit,
    )


def joined(comparisons: Sequence[Comparison]) -> Comparison:
    """Return the rows of several devices as one comparison, with the facts of the first."""
    first, *others = comparisons
    return replace(
        first,
        rows=tuple(row for each in comparisons for row in each.rows),
        variants=tuple(row for each in comparisons for row in each.variants),
        versions={name: v for each in (*others, first) for name, v in each.versions.items()},
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
    return tuple(candidate_of(comparison, row) for row in comparison.rows if row.is_measured)


def candidate_of(comparison: Comparison, row: Row) -> Candidate:
    """Return a row as a candidate, with its model where there are several."""
    drop, against = _loss(comparison, row)
    return Candidate(
        model=comparison.label(row.model),
        artifact=row.cell.artifact,
        runtime=row.cell.runtime,
        size_bytes=row.cell.size_bytes,
        drop_points=drop,
        validation_images=row.validation.images,
        against=against,
        device=row.cell.device,
        median_us=row.latency.median_us if row.latency else None,
        instructions=row.counted(Instructions),
        arena_bytes=row.counted(Arena),
    )


def _loss(comparison: Comparison, row: Row) -> tuple[float | None, str]:
    """Return the accuracy lost on validation, and what it is against in words.

    That is the most accurate of the source models; no words where it is the row's own.

    Of files alone, whose images are all that there is, it is that against the most accurate file.
    """
    own, judged = row.validation, [each for each in comparison.rows if each.model.source]
    alone = len(comparison.models) == 1
    if own.share is None or (row.model.source is None and (judged or alone)):
        return None, ""
    if alone:
        return own.drop_points, ""
    best = max(judged or comparison.rows, key=lambda each: _reference_share(each.validation))
    if judged and best.model == row.model:
        against = ""
    else:
        against = (
            f"the {best.model.source.title} of {best.model.name}"
            if best.model.source
            else best.name
        )
    return 100 * (_reference_share(best.validation) - own.share), against


def _reference_share(validation: Accuracy) -> float:
    return (validation.keras_correct or 0) / validation.images


def pareto_front(rows: Iterable[Row]) -> tuple[Row, ...]:
    """Return a device's rows that no other one beats in both cost and quality, cheapest first."""
    measured = [row for row in rows if row.is_measured]
    front: list[Row] = []
    for row in sorted(measured, key=lambda r: (r.cost, -r.quality)):
        if not front or row.quality > front[-1].quality:
            front.append(row)
    return tuple(front)


def _current(records: Iterable[Record], device: str) -> tuple[Record, ...]:
    """Return the newest records on a device, of the newest file of each name.

    For another device than this machine, the predictions are those of this machine: there, a check
    runs the first images only.
    """
    own = [
        r
        for r in newest(records)
        if r.cell.device == (LOCAL if isinstance(r.payload, Accuracy) else device)
    ]
    hashes = {r.cell.artifact: r.cell.artifact_sha256 for r in sorted(own, key=_date)}
    return tuple(r for r in own if r.cell.artifact_sha256 == hashes[r.cell.artifact])


def _join(
    own: ModelRecords,
    current: Sequence[Record],
    device: str,
    host: str | None,
    *,
    every_version: bool,
) -> tuple[ComparedModel, tuple[Row, ...], tuple[Record, ...]]:
    """Return a model with its rows, and the records that count."""
    order = list(dict.fromkeys(r.cell.artifact for r in own.records))  # that of a file made anew
    mine = [r for r in current if host in (None, r.cell.host) or isinstance(r.payload, Accuracy)]
    # of two payloads the last one counts
    mine.sort(key=lambda r: (r.cell.host == host, "" if r.cell.device == LOCAL else _date(r)))
    versions = _newest_versions(mine)
    if not every_version:
        mine = [
            r
            for r in mine
            if r.cell.runtime_version == versions[r.cell.runtime] or r.cell.device != device
        ]
    model = ComparedModel(
        name=own.name or _only({record.cell.model for record in mine}, "models"),
        source=_source(mine) if own.has_source else None,
        dataset=own.dataset,
        classes=own.classes,
        labels=own.labels,
    )
    there = [r.cell for r in mine if r.cell.device == device and not r.cell.is_source]
    cells = {_identity(cell): cell for cell in there}
    rows = [_row(cell, model, mine) for cell in cells.values()]
    rows.sort(key=lambda row: -1 if row is None else order.index(row.cell.artifact))
    return model, tuple(filter(None, rows)), tuple(mine)


def _date(record: Record) -> str:
    return record.conditions.date


def _newest_versions(records: Iterable[Record]) -> dict[str, str]:
    """Return runtime name to newest version: figures of an older one are out of date.

    Where any version was measured, the newest of those: a newer one may only have been verified.
    """
    best: dict[str, tuple[bool, str]] = {}
    for record in records:
        cell, measured = record.cell, isinstance(record.payload, COSTS)
        this = (measured, cell.runtime_version)
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
    mine = [r for r in records if _identity(r.cell) == own and r.cell.device == cell.device]
    judged = [r for r in records if _identity(r.cell) in (own, _identity(plain))]
    if cell.device != LOCAL:  # the nearest of the same file's, of another runtime if need be
        same = [r for r in records if r.cell.artifact_sha256 == cell.artifact_sha256]
        # litert-js computes what litert does, onnxruntime-web what onnxruntime does
        same.sort(
            key=lambda r: (
                r.cell.settings == plain.settings,
                cell.runtime.startswith(r.cell.runtime),
            )
        )
        judged = [*same, *judged]
    test = _payload(judged, Accuracy, "test")
    validation = _payload(judged, Accuracy, "validation")
    if test is None or validation is None:
        return None
    payloads = {type(r.payload): r.payload for r in mine if not isinstance(r.payload, Accuracy)}
    costs = [r for r in mine if isinstance(r.payload, COSTS)]
    return Row(
        cell=cell,
        model=model,
        test=test,
        validation=validation,
        payloads=(*payloads.values(), test),
        conditions=(costs or mine)[0].conditions,
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
