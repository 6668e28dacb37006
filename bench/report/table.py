"""The tables of a bundle: what each artifact is worth in each runtime."""

from __future__ import annotations

from collections.abc import Sequence

from hemline.bench.comparison import Comparison, Row, drop_points
from hemline.contract.manifest import Manifest
from hemline.contract.specs import version_key
from hemline.statistics import wilson
from hemline.tables import Table, microseconds, percent, signed


def bundle_table(comparison: Comparison) -> Table:
    """Return one row for each artifact: size, accuracy, agreement, latency per runtime.

    A version that was not timed has no column, unless it is the newest of its runtime.
    """
    versions = _timed_versions(comparison)
    by_artifact: dict[str, list[Row]] = {}
    for row in comparison.rows:
        by_artifact.setdefault(row.cell.artifact, []).append(row)
    keras = comparison.keras_test
    lines = [("keras", "", percent(keras.correct / keras.images), "", "", *("" for _ in versions))]
    for artifact, rows in by_artifact.items():
        lines.append(
            (
                artifact,
                f"{rows[0].cell.size_bytes / 1000:.1f} kB",
                _span({r.accuracy: _accuracy(r, keras.images) for r in rows}),
                _span({drop: signed(drop) for drop in (drop_points(r.test) for r in rows)}),
                _span({share: percent(share) for share in map(_agreement, rows)}),
                *(_latency_in(rows, *version) for version in versions),
            )
        )
    latencies = (f">{runtime} {version}" for runtime, version in versions)
    return Table.of(("artifact", ">size", ">accuracy", ">drop", ">agreement", *latencies), lines)


def comparison_table(comparison: Comparison, chosen: tuple[str, str] | None) -> Table:
    """Return one row for each artifact and runtime, fastest first; `chosen` is marked."""
    figures = ("size", "accuracy (95 %)", "drop", "agreement", "median", "p90", "p99", "memory")
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
    return (
        f"{host.name}; one thread, batch 1, median of set input, invoke, get output; "
        f"accuracy on {comparison.keras_test.images:,} test images; {when}{left_out}"
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
    low, high = wilson(row.test.correct, row.test.images)
    mark = " ←" if row.identity == chosen else ""
    return (
        f"{cell.artifact}{mark}",
        f"{cell.runtime} {cell.runtime_version}",
        f"{cell.size_bytes / 1000:.1f} kB",
        f"{_accuracy(row, comparison.keras_test.images)} ({100 * low:.1f}–{100 * high:.1f})",
        signed(drop_points(row.test)),
        percent(_agreement(row)),
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


def _agreement(row: Row) -> float:
    return row.test.agreement / row.test.images


def _accuracy(row: Row, all_images: int) -> str:
    """Return the test accuracy, marked where only the first images were run."""
    text = percent(row.accuracy)
    return text if row.test.images == all_images else f"{text} of {row.test.images:,}"


def _span(texts: dict[float, str]) -> str:
    """Return the one text, or those of the smallest and the largest value where runtimes differ."""
    low, high = texts[min(texts)], texts[max(texts)]
    return low if low == high else f"{low} – {high}"
