"""Write all that was measured of bundles as one page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hemline import pages
from hemline.bench.choosing import choice_of
from hemline.bench.comparison import Comparison, Row
from hemline.bench.measuring.subject import Subject
from hemline.bench.records import compared, measured_devices
from hemline.bench.report.page import images, operators, plots, tables
from hemline.bench.report.page.cells import table_of
from hemline.bench.report.page.plotting import library
from hemline.bench.report.table import NO_LABELS, conditions_line, devices_table, refusals
from hemline.contract.budget import Budget
from hemline.contract.evaluation_set import load_split
from hemline.contract.record import (
    Arena,
    Energy,
    Instructions,
    Memory,
    Sustained,
)
from hemline.contract.schema import to_document
from hemline.errors import GateError, UsageError
from hemline.pages import Page, Section
from hemline.provenance import utc_now
from hemline.remedies import described
from hemline.tables import Table

_METHOD = (
    "Cells take turns, round by round, in processes of their own; a latency is the time to set the "
    "input, invoke and get the output. The median is over all invocations of all rounds. "
    "Intervals of accuracy are Wilson's, 95 %; the accuracy change is that against the source "
    "model on the same images, below 0 where the file is worse. Emulated devices count "
    "instructions: their time says nothing of a real one."
)
_PARETO = (
    "Each point is a file in a runtime. Bars are 95 % intervals, of the difference from the float "
    "model on the same images where there is one. Nothing is faster and more accurate than a file "
    "on the Pareto front. Point at a file or tap it for its figures; click the legend to hide some."
)
_CLASSES = (
    "Accuracy of each class in the source model, and its change in points; a star marks a class "
    "that lost more than chance explains (exact McNemar tests, Holm's correction)."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What a report is about.

    subjects: bundles.
    comparisons: of them, one for each device.
    cells: all of their rows, fastest first.
    verdicts: sentences for each device; the first one says what to ship.
    """

    subjects: tuple[Subject, ...]
    comparisons: tuple[Comparison, ...]
    cells: tuple[Row, ...]
    verdicts: tuple[tuple[str, ...], ...]

    @property
    def comparison(self) -> Comparison:
        """Return that of the first device."""
        return self.comparisons[0]


def write_report(
    path: Path, subjects: Sequence[Subject], budget: Budget, devices: Sequence[str] = ()
) -> None:
    """Write the page of some devices, with what to ship on each; of all, if none is named.

    Raises UsageError without records, HemlineError when it cannot be written.
    """
    found = _gathered(subjects, budget, devices)
    versions: dict[str, str] = {}
    for each in sorted(found.cells, key=lambda cell: cell.conditions.date):
        versions |= each.conditions.versions
    listed = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    commit = found.comparison.commit
    page = Page(
        title=f"{found.comparison.topic}: what to ship, and why",
        lead=_lead(found),
        sections=[Section(title=title, body=tuple(body)) for title, body in _sections(found)],
        footer=f"Written {utc_now()}. Measured with {listed}"
        + (f"; commit {commit}." if commit else "."),
        data={"cells": [_document(each) for each in found.cells]},
        library=library() if any(each.is_measured for each in found.cells) else None,
    )
    pages.write_page(path, page)


def _gathered(subjects: Sequence[Subject], budget: Budget, devices: Sequence[str]) -> Findings:
    names = devices or measured_devices(subjects)
    choices = [_choice(subjects, budget, device) for device in names]
    chosen = [row.cell for row, _ in choices if row is not None]
    comparisons = tuple(compared(subjects, device, every_version=True) for device in names)
    rows = (row for each in comparisons for row in (*each.rows, *each.variants))
    cells = [replace(row, chosen=row.cell in chosen) for row in rows]
    cells.sort(key=lambda each: (each.latency is None, each.cost))
    return Findings(
        subjects=tuple(subjects),
        comparisons=comparisons,
        cells=tuple(cells),
        verdicts=tuple(tuple(sentences) for _, sentences in choices),
    )


def _choice(
    subjects: Sequence[Subject], budget: Budget, device: str
) -> tuple[Row | None, Sequence[str]]:
    try:
        choice = choice_of(subjects, compared(subjects, device), budget)
        return choice.row, choice.reasons
    except (UsageError, GateError) as error:
        text = described(error)
        return None, f"{text[0].upper()}{text[1:]}.".splitlines()


def _lead(found: Findings) -> Iterator[str]:
    told = tuple(sentence for _, sentence, _ in operators.causes(found.cells)) or ("\n",)
    for first, *others in found.verdicts:
        yield pages.paragraph(first, "verdict")
        yield pages.items(each for each in others if not each.endswith(told))


def _sections(found: Findings) -> Iterator[tuple[str, Iterable[str]]]:
    quality = "accuracy" if found.comparison.has_labels else "agreement"
    here = [each for each in found.cells if not each.get(Instructions)] or list(found.cells)
    emulated = [] if here == list(found.cells) else found.comparisons
    causes = operators.causes(found.cells)
    costs = " and ".join(dict.fromkeys(each.measure.name for each in found.cells))
    yield f"{quality.capitalize()} against {costs}", _pareto(found.cells, quality)
    yield "All measurements", _cells(here, found)
    yield "Predictions that changed", _predictions(found)
    yield "Why they take as long as they do", operators.causes_list(causes)
    yield "Operators", operators.operators(found.cells)
    yield "Instructions of an inference, emulated", _emulated(emulated)
    yield "Start, memory and energy", _machine(found.cells)
    yield "How it was measured", _conditions(found)


def _pareto(cells: Sequence[Row], quality: str) -> Iterator[str]:
    groups: dict[str, list[Row]] = {}
    for each in (each for each in cells if each.is_measured):
        groups.setdefault(each.cell.device, []).append(each)
    yield pages.side_by_side(
        f"<div>{_device_title(own[0]) * (len(groups) > 1)}"
        + pages.plot(
            f"pareto{at or ''}",
            plots.pareto(own, quality),
            f"Plot of {quality} against {own[0].measure.name} on {device}",
            "" if len(groups) > 1 else _PARETO,
        )
        + "</div>"
        for at, (device, own) in enumerate(groups.items())
    )
    if len(groups) > 1:
        yield pages.paragraph(_PARETO, "soft")


def _device_title(row: Row) -> str:
    return pages.element("h3", f"{row.cell.device}: {row.conditions.host.processor}")


def _cells(cells: Sequence[Row], found: Findings) -> Iterator[str]:
    table = table_of(cells, tables.CELLS)
    chosen = frozenset(at for at, each in enumerate(cells) if each.chosen)
    yield pages.table(table, "All measurements", chosen=chosen)
    yield _download("hemline.json", "JSON") + " " + _download("hemline.csv", "CSV")
    if not found.comparison.has_labels:
        yield pages.paragraph(f"{NO_LABELS.capitalize()}.")
    if left := refusals(found.subjects):
        yield pages.folded("Refused or failed", pages.items(left))


def _predictions(found: Findings) -> Iterator[str]:
    for subject, model in zip(found.subjects, found.comparison.models, strict=True):
        own = [each for each in found.cells if each.model.name == model.name]
        if not (groups := images.groups_of(model, own)):
            continue
        if len(found.subjects) > 1:
            yield pages.element("h3", model.name)
        yield pages.table(images.classes_table(model, groups), f"Classes of {model.name}")
        yield pages.paragraph(_CLASSES, "soft")
        split = load_split(subject.bundle, "test", subject.manifest.evaluation_sha256)
        for at, group in enumerate(groups):
            yield images.flipped(model, group, split.images, opened=at == 0)


def _emulated(comparisons: Sequence[Comparison]) -> Iterator[str]:
    if counted := [each for each in comparisons if each.measure.payload is Instructions]:
        yield pages.table(devices_table(counted), "Instructions of an inference, by device")


def _machine(cells: Sequence[Row]) -> Iterator[str]:
    of = tables.of_payload
    yield from _titled("Start and memory", of(cells, tables.MEMORY, Memory, Arena))
    yield from _titled("Energy", of(cells, tables.ENERGY, Energy))
    yield from _titled("Without a pause", of(cells, tables.SUSTAINED, Sustained))
    if runs := [(each, run) for each in cells if (run := each.get(Sustained))]:
        caption = "Median latency of each slice of a run without a pause."
        yield pages.plot("sustained", plots.sustained(runs), "Plot of latency over time", caption)


def _conditions(found: Findings) -> Iterator[str]:
    lines = (conditions_line(each).splitlines() for each in found.comparisons)
    yield pages.items(f"{'. '.join(each)}." for each in lines)
    yield pages.paragraph(_METHOD)
    yield from _titled("Runs", tables.runs_table(found.cells))
    yield from _titled("Machines", tables.hosts_table(found.cells))


def _titled(title: str, table: Table) -> Iterator[str]:
    if table.rows:
        yield pages.element("h3", title)
        yield pages.table(table, title)


def _download(name: str, kind: str) -> str:
    return f'<button type="button" hidden data-download="{name}">Download {kind}</button>'


def _document(each: Row) -> dict[str, Any]:
    """Return a row of the data: its cell, then each payload's fields; of times the percentiles."""
    payloads = {payload.KIND: to_document(payload) for payload in each.payloads}
    if each.latency is not None:
        payloads["latency"] = to_document(each.latency)
    fields = {
        f"{kind}_{name}": value
        for kind, payload in payloads.items()
        for name, value in payload.items()
        if name not in ("kind", "predictions")
    }
    cell: dict[str, Any] = to_document(each.cell) | {
        "model": each.model.name,
        "settings": each.cell.settings.text,
        "delegate": each.conditions.delegate,
        "date": each.conditions.date,
    }
    return cell | fields
