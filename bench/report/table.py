"""The tables of a bundle: what each artifact is worth in each runtime."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from hemline.bench.comparison import ComparedModel, Comparison, Row
from hemline.bench.costs import MEASURES
from hemline.bench.devices.table import DEVICES
from hemline.bench.measuring.subject import Subject
from hemline.bench.records import names_of
from hemline.bench.report.details import cold_start_ns
from hemline.contract.record import LOCAL, Accuracy, Cell, Latency, Memory
from hemline.contract.specs import version_key
from hemline.small_sets import accuracy_text, few_images, interval_text
from hemline.tables import (
    CHANGE,
    Figure,
    Table,
    as_text,
    change,
    kilobytes,
    megabytes,
    microseconds,
    percent,
)

NO_LABELS = "accuracy unknown, because the test images have no labels"
_FIGURES = ("accuracy", CHANGE, "agreement")
_LEGEND = {
    "compressed": "size of the file in a .zip or .apk",
    "95 %": "interval of the accuracy",
    "agreement": "share of images with the label of the source model",
    "load": "until the runtime and the file are ready, without the network",
    "transferred": "runtime and file, not compressed",
}
_TO = " – "  # between the ends of a range
_NONE: Mapping[str, int] = MappingProxyType({})


def table_of(subjects: Sequence[Subject], comparisons: Sequence[Comparison]) -> Table:
    """Return the table of a device, with a column for each runtime, or that of several."""
    if len(comparisons) > 1:
        return devices_table(comparisons)
    artifacts = (artifact for subject in subjects for artifact in subject.manifest.artifacts)
    known = {each.sha256: size for each in artifacts if (size := each.compressed_bytes) is not None}
    return bundle_table(comparisons[0], known)


def table_text(subjects: Sequence[Subject], comparisons: Sequence[Comparison]) -> str:
    """Return it with the conditions on each device and what was refused."""
    table = table_of(subjects, comparisons)
    lines = (*legend(table), *map(conditions_line, comparisons), *refusals(subjects))
    return "\n".join((as_text(table), *lines))


def legend(table: Table) -> list[str]:
    """Return what columns that do not explain themselves mean, in one line; none without any."""
    ranges = any(_TO in cell for row in table.rows for cell in row)
    known = [f"{name}: {text}" for name, text in _LEGEND.items() if name in table.columns]
    known += ["a range: differs between runtimes"] * ranges
    return ["; ".join(known)] if known else []


def bundle_table(comparison: Comparison, compressed: Mapping[str, int] = _NONE) -> Table:
    """Return one row for each artifact: size, accuracy, agreement, latency per runtime.

    Other threads, batches and settings of an artifact are rows of their own. `compressed` is the
    hash of an artifact to its size by deflate, bytes. A version that was not timed has no column,
    unless it is the newest of its runtime. What is not known of any artifact has none either.
    """
    versions, known = _timed_versions(comparison), _known_figures(comparison)
    lines = []
    for model in comparison.models:
        name = comparison.label(model)
        if (source := model.source) is not None and source.test.share is not None:
            empty = dict.fromkeys(known, "") | {"accuracy": _accuracy(source.test)}
            rest = ("" for _ in (*versions, "load", "transferred"))
            lines.append((name, source.name, "", "", "", *empty.values(), *rest))
        for rows in _by_artifact(comparison, model):
            cell, settings = rows[0].cell, rows[0].settings
            spans = (_span(dict(_figure(comparison, r, each) for r in rows)) for each in known)
            latencies = (_latency_in(rows, *version) for version in versions)
            sizes = _sizes(cell, compressed)
            line = (name, cell.artifact, settings, *sizes, *spans, *latencies)
            lines.append((*line, *_fetched(rows[0])))
    columns = [f">{each}" for each in (*known, *(" ".join(version) for version in versions))]
    columns += ["?>load", "?>transferred"]
    first = ("?model", "artifact", "?settings", ">size", "?>compressed")
    return Table.of((*first, *columns), lines)


def _by_artifact(comparison: Comparison, model: ComparedModel) -> list[list[Row]]:
    """Return the rows of each artifact of a model, those of other settings by themselves."""
    own = [row for row in (*comparison.rows, *comparison.variants) if row.model == model]
    order = list(dict.fromkeys(row.cell.artifact for row in own))
    found: dict[tuple[str, str], list[Row]] = {}
    for row in sorted(own, key=lambda row: order.index(row.cell.artifact)):
        found.setdefault((row.cell.artifact, row.settings), []).append(row)
    return list(found.values())


def _sizes(cell: Cell, compressed: Mapping[str, int]) -> tuple[str, str]:
    deflated = compressed.get(cell.artifact_sha256)
    return kilobytes(cell.size_bytes), "" if deflated is None else kilobytes(deflated)


def _fetched(row: Row) -> tuple[str, str]:
    """Return what it takes to start on a device that fetches runtime and file anew each time."""
    kind, memory = DEVICES.get(row.cell.device.partition(":")[0]), row.get(Memory)
    if kind is None or not kind.capabilities.fetches or memory is None:
        return "", ""
    load_ms = (memory.import_ns + memory.load_ns) / 1e6
    megabytes = ((memory.package_bytes or 0) + row.cell.size_bytes) / 1e6
    return Figure(f"{load_ms:,.0f} ms", load_ms, "ms"), Figure(
        f"{megabytes:.1f} MB", megabytes, "MB"
    )


def comparison_table(comparison: Comparison, chosen: Row | None) -> Table:
    """Return one row for each artifact, runtime and settings, fastest first; `chosen` is marked."""
    known = [f">{name}" for name in _known_figures(comparison)]
    known[1:1] = [">95 %"] if comparison.has_labels else []
    others = [f"?>{each.name}" for each in MEASURES[1:]]
    times = ("?>median", "?>p90", "?>p99", *others, "?>cold start", "?>memory")
    figures = (">size", *known, *times)
    rows = sorted((*comparison.rows, *comparison.variants), key=lambda row: row.cost)
    return Table.of(
        ("?device", "?model", "artifact", "runtime", "?settings", *figures, "runs on"),
        (_comparison_row(comparison, row, marked=row == chosen) for row in rows),
    )


def devices_table(comparisons: Sequence[Comparison]) -> Table:
    """Return one row for each artifact and runtime, with a column for the costs on each device."""
    first, cells = comparisons[0], dict[tuple[str, ...], dict[str, Row]]()
    for row in (row for each in comparisons for row in each.rows):
        ran = f"{row.cell.runtime} {row.cell.runtime_version}"
        cells.setdefault((first.label(row.model), row.cell.artifact, ran), {})[row.cell.device] = (
            row
        )
    known = _known_figures(first)
    columns = (f">{each.device}" for each in comparisons)
    rows = []
    for key, found in cells.items():
        row = next(iter(found.values()))
        figures = (_figure(first, row, name)[1] for name in known)
        costs = (found[c.device].cost_text if c.device in found else "" for c in comparisons)
        rows.append((*key, kilobytes(row.cell.size_bytes), *figures, *costs))
    order = list(dict.fromkeys(key[:2] for key in cells))
    rows.sort(key=lambda line: order.index(line[:2]))
    return Table.of(
        ("?model", "artifact", "runtime", ">size", *(f">{n}" for n in known), *columns), rows
    )


def conditions_line(comparison: Comparison) -> str:
    """Return the conditions of the latencies in one line; one more where the images are few."""
    if comparison.host is None:
        return "no latency was measured yet"
    (first, last), measure = comparison.dates, comparison.measure
    when = first if first == last else f"{first} to {last}"
    others = "; ".join(comparison.other_hosts)
    left_out = f"; latencies of other hosts are not shown ({others})" if others else ""
    accuracy = f"accuracy on {comparison.images:,} test images"
    accuracy += "" if comparison.device == LOCAL else ", run on this machine"
    few = "".join(f"\n{each}" for each in few_images(comparison.images) if comparison.has_labels)
    unless = " unless stated" if comparison.variants else ""
    cost = (
        f"one thread, batch 1{unless}, median of set input, invoke, get output"
        if measure.payload is Latency
        else f"{measure.name} of one inference, one thread, batch 1"
    )
    device = "" if comparison.device == LOCAL else f"{comparison.device}: "
    return (
        f"{device}{comparison.machine}; {cost}; "
        f"{accuracy if comparison.has_labels else NO_LABELS}; {when}{left_out}{few}"
    )


def refusals(subjects: Sequence[Subject]) -> list[str]:
    """Return one line for each runtime that an artifact was refused by or failed in."""
    models = names_of(subjects) if len(subjects) > 1 else [""]
    return [
        f"{name}{' ' if name else ''}{artifact.name} in {verdict.runtime} {verdict.version}: "
        f"{verdict.status}, {verdict.reason}"
        for name, subject in zip(models, subjects, strict=True)
        for artifact in subject.manifest.artifacts
        for verdict in artifact.verdicts
        if verdict.status != "passed"
    ]


def _comparison_row(comparison: Comparison, row: Row, *, marked: bool) -> tuple[str, ...]:
    latency, cell, memory = row.latency, row.cell, row.get(Memory)
    start_ns = cold_start_ns(memory)
    figures = [_figure(comparison, row, name)[1] for name in _known_figures(comparison)]
    if row.test.correct is not None:
        correct, images = row.test.correct, row.test.images
        share, within = percent(correct / images), interval_text(correct, images)
        text = figures[0].replace(f" ({within} %)", "")  # which has a column of its own
        figures[:1] = [share if text == share else text, within]
    return (
        cell.device if len({each.cell.device for each in comparison.rows}) > 1 else "",
        comparison.label(row.model),
        f"{cell.artifact}{' ←' if marked else ''}",
        f"{cell.runtime} {cell.runtime_version}",
        row.settings,
        kilobytes(cell.size_bytes),
        *figures,
        *(microseconds(getattr(latency, name, None)) for name in ("median_us", "p90_us", "p99_us")),
        *(row.cost_text if row.measure is each else "" for each in MEASURES[1:]),
        "" if start_ns is None else Figure(f"{start_ns / 1e6:.0f} ms", start_ns / 1e6, "ms"),
        megabytes(memory.peak_bytes if memory else None),
        row.conditions.delegate.replace("ExecutionProvider", ""),
    )


def _timed_versions(comparison: Comparison) -> list[tuple[str, str]]:
    """Return (runtime, version) of each column, the newest version of a runtime first."""
    timed = {(r.cell.runtime, r.cell.runtime_version) for r in comparison.rows if r.is_measured}
    timed |= set(comparison.versions.items())
    order = list(comparison.versions)
    newest_first = sorted(timed, key=lambda pair: version_key(pair[1]), reverse=True)
    return sorted(newest_first, key=lambda pair: order.index(pair[0]))


def _latency_in(rows: Sequence[Row], runtime: str, version: str) -> str:
    there = (r for r in rows if (r.cell.runtime, r.cell.runtime_version) == (runtime, version))
    return next((r.cost_text for r in there if r.is_measured), "")


def _known_figures(comparison: Comparison) -> tuple[str, ...]:
    """Return the names of the figures of quality that are known."""
    if not comparison.has_labels:
        return ("agreement",)
    return _FIGURES if comparison.sources else ("accuracy", "agreement")


def _figure(comparison: Comparison, row: Row, name: str) -> tuple[float, str]:
    """Return a figure of the test images and its text, marked where only the first were run.

    It is not a number and has no text where it is not known of this row.
    """
    if name == "agreement":
        return row.agreement, percent(row.agreement)
    drop, share = row.test.drop_points, row.accuracy
    if drop is None or share is None or (name == CHANGE and row.model.source is None):
        return math.nan, ""
    if name == CHANGE:
        return -drop, change(drop)
    if row.test.images < comparison.images:
        return share, f"{_accuracy(row.test)} of {row.test.images:,}"
    return share, _accuracy(row.test)


def _accuracy(test: Accuracy) -> str:
    return "" if test.correct is None else accuracy_text(test.correct, test.images)


def _span(texts: dict[float, str]) -> str:
    """Return the one text, or those of the smallest and the largest value where runtimes differ."""
    texts = {value: text for value, text in texts.items() if text} or {0.0: ""}
    low, high = texts[min(texts)], texts[max(texts)]
    return low if low == high else f"{low}{_TO}{high}"
