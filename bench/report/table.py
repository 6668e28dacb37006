"""The tables of a bundle: what each artifact is worth in each runtime."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from hemline.bench.comparison import Comparison, Row
from hemline.contract.manifest import Manifest
from hemline.contract.record import Cell
from hemline.contract.specs import version_key
from hemline.statistics import wilson
from hemline.tables import Table, microseconds, percent, signed

NO_LABELS = "accuracy not known, as the test images have no labels"
_FIGURES = ("accuracy", "drop", "agreement")
_NONE: Mapping[str, int] = MappingProxyType({})


def bundle_table(comparison: Comparison, compressed: Mapping[str, int] = _NONE) -> Table:
    """Return one row for each artifact: size, accuracy, agreement, latency per runtime.

    `compressed` is the size by deflate of artifacts, bytes. A version that was not timed has no
    column, unless it is the newest of its runtime. What is not known of any artifact has none
    either.
    """
    versions, known = _timed_versions(comparison), _known_figures(comparison)
    by_artifact: dict[str, list[Row]] = {}
    for row in comparison.rows:
        by_artifact.setdefault(row.cell.artifact, []).append(row)
    lines = []
    if (source := comparison.source) is not None and comparison.has_labels:
        shares = (source.test.share if name == "accuracy" else None for name in known)
        figures = ("" if share is None else percent(share) for share in shares)
        sizes = ("", "") if compressed else ("",)
        lines.append((source.name, *sizes, *figures, *("" for _ in versions)))
    for artifact, rows in by_artifact.items():
        lines.append(
            (
                artifact,
                *_sizes(rows[0].cell, compressed),
                *(_span(dict(_figure(comparison, r, name) for r in rows)) for name in known),
                *(_latency_in(rows, *version) for version in versions),
            )
        )
    latencies = (f">{runtime} {version}" for runtime, version in versions)
    figures = (f">{name}" for name in known)
    sizes = (">size", ">compressed") if compressed else (">size",)
    return Table.of(("artifact", *sizes, *figures, *latencies), lines)


def _sizes(cell: Cell, compressed: Mapping[str, int]) -> tuple[str, ...]:
    size = f"{cell.size_bytes / 1000:.1f} kB"
    if not compressed:
        return (size,)
    deflated = compressed.get(cell.artifact)
    return (size, "" if deflated is None else f"{deflated / 1000:.1f} kB")


def comparison_table(comparison: Comparison, chosen: tuple[str, str] | None) -> Table:
    """Return one row for each artifact and runtime, fastest first; `chosen` is marked."""
    known = ("accuracy (95 %)" if n == "accuracy" else n for n in _known_figures(comparison))
    figures = ("size", *known, "median", "p90", "p99", "memory")
    rows = sorted(comparison.rows, key=lambda row: row.median_us)
    return Table.of(
        ("artifact", "runtime", *(f">{name}" for name in figures), "runs on"),
        (_comparison_row(comparison, row, chosen) for row in rows),
    )


def conditions_line(comparison: Comparison) -> str:
    """Return the conditions of the latencies in one line, with the hosts that are left out."""
    if comparison.host is None:
        return "no latency was measured yet"
    host, (first, last) = comparison.host, comparison.dates
    when = first if first == last else f"{first} to {last}"
    others = "; ".join(comparison.other_hosts)
    left_out = f"; latencies of other hosts are left out ({others})" if others else ""
    accuracy = f"accuracy on {comparison.images:,} test images"
    return (
        f"{host.name}; one thread, batch 1, median of set input, invoke, get output; "
        f"{accuracy if comparison.has_labels else NO_LABELS}; {when}{left_out}"
    )


def refusals(manifest: Manifest) -> list[str]:
    """Return one line for each runtime that an artifact was refused by or failed in."""
    return [
        f"{artifact.name} in {verdict.runtime} {verdict.version}: "
        f"{verdict.status}, {verdict.reason}"
        for artifact in manifest.artifacts
        for verdict in artifact.verdicts
        if verdict.status != "passed"
    ]


def _comparison_row(
    comparison: Comparison, row: Row, chosen: tuple[str, str] | None
) -> tuple[str, ...]:
    latency, cell = row.latency, row.cell
    figures = {name: _figure(comparison, row, name)[1] for name in _known_figures(comparison)}
    if row.test.correct is not None:
        low, high = wilson(row.test.correct, row.test.images)
        figures["accuracy"] += f" ({100 * low:.1f}–{100 * high:.1f})"
    mark = " ←" if row.identity == chosen else ""
    return (
        f"{cell.artifact}{mark}",
        f"{cell.runtime} {cell.runtime_version}",
        f"{cell.size_bytes / 1000:.1f} kB",
        *figures.values(),
        *(microseconds(getattr(latency, name, None)) for name in ("median_us", "p90_us", "p99_us")),
        f"{row.memory.peak_bytes / 1e6:.0f} MB" if row.memory else "",
        row.delegate.replace("ExecutionProvider", ""),
    )


def _timed_versions(comparison: Comparison) -> list[tuple[str, str]]:
    """Return (runtime, version) of each column, the newest version of a runtime first."""
    timed = {(r.cell.runtime, r.cell.runtime_version) for r in comparison.rows if r.latency}
    timed |= set(comparison.versions.items())
    order = list(comparison.versions)
    newest_first = sorted(timed, key=lambda pair: version_key(pair[1]), reverse=True)
    return sorted(newest_first, key=lambda pair: order.index(pair[0]))


def _latency_in(rows: Sequence[Row], runtime: str, version: str) -> str:
    there = (r for r in rows if (r.cell.runtime, r.cell.runtime_version) == (runtime, version))
    return next((microseconds(r.latency.median_us) for r in there if r.latency), "")


def _known_figures(comparison: Comparison) -> tuple[str, ...]:
    """Return the names of the figures of quality that are known."""
    if not comparison.has_labels:
        return ("agreement",)
    return ("accuracy", "agreement") if comparison.source is None else _FIGURES


def _figure(comparison: Comparison, row: Row, name: str) -> tuple[float, str]:
    """Return a figure of the test images and its text, marked where only the first were run.

    It is not a number and has no text where it is not known of this row.
    """
    if name == "agreement":
        return row.agreement, percent(row.agreement)
    drop, share = row.test.drop_points, row.accuracy
    if drop is None or share is None:
        return math.nan, ""
    if name == "drop":
        return drop, signed(drop)
    part = "" if row.test.images == comparison.images else f" of {row.test.images:,}"
    return share, f"{percent(share)}{part}"


def _span(texts: dict[float, str]) -> str:
    """Return the one text, or those of the smallest and the largest value where runtimes differ."""
    texts = {value: text for value, text in texts.items() if text} or {0.0: ""}
    low, high = texts[min(texts)], texts[max(texts)]
    return low if low == high else f"{low} – {high}"
