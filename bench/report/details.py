"""Tables on request: how latencies spread, and what it costs to start."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from hemline.bench.comparison import Comparison, Row
from hemline.bench.report.page.tables import MEMORY, of_payload
from hemline.contract.record import Memory
from hemline.tables import Figure, Table, count

_MANY = 0.05  # outliers among the invocations; 1 to 4 % are usual on a quiet machine
_CELL = ("?model", "artifact", "runtime", "?settings")


def spread_table(comparison: Comparison) -> Table:
    """Return range, standard deviation, outliers and throughput of each cell that was timed."""
    names = ("median", "min", "max", "σ", "outliers", "images/s", "disturbed rounds")
    rows = ((*_cell(comparison, row), *_spread(row)) for row in _timed(comparison))
    return Table.of((*_CELL, *(f"?>{name}" for name in names)), rows)


def start_table(comparison: Comparison) -> Table:
    """Return the parts of a cold start, memory and package size of each cell, where known."""
    return of_payload(_timed(comparison), MEMORY, Memory)


def cold_start_ns(memory: Memory | None) -> int | None:
    """Return the time from no process to the first prediction; None where a part is not known."""
    if memory is None or memory.process_ns is None:
        return None
    return memory.process_ns + memory.import_ns + memory.load_ns + memory.first_ns


def warning_lines(comparison: Comparison) -> list[str]:
    """Return what a reader must know of the machine before trusting the latencies."""
    rows = _timed(comparison)
    return [*_disturbed(rows), *_pairs(rows), *_threads(rows)]


def outlier_lines(comparison: Comparison) -> list[str]:
    """Return a line for each cell that has many outliers."""
    return [
        f"{row.name}: {each.outliers:,} of {each.invocations:,} invocations were outliers, the "
        f"slowest took {each.max_us / each.median_us:.1f} × the median"
        f"{': the machine was busy' if each.disturbed else ''}"
        for row in _timed(comparison)
        if (each := row.latency) and each.outliers > _MANY * each.invocations
    ]


def is_busy(rows: Iterable[Row]) -> bool:
    """Return whether the machine did other work in a round of any of these rows."""
    return any(row.latency and row.latency.disturbed for row in rows)


def _timed(comparison: Comparison) -> list[Row]:
    return [row for row in (*comparison.rows, *comparison.variants) if row.latency]


def _cell(comparison: Comparison, row: Row) -> tuple[str, ...]:
    cell, model = row.cell, comparison.label(row.model)
    return model, cell.artifact, f"{cell.runtime} {cell.runtime_version}", row.settings


def _spread(row: Row) -> tuple[str, ...]:
    latency, rate = row.latency, row.images_per_second
    if latency is None or rate is None:
        return ()
    times = (latency.median_us, latency.min_us, latency.max_us, latency.sigma_us)
    disturbed = f"{len(latency.disturbed)} of {latency.rounds}" if latency.disturbed else ""
    texts = (Figure(f"{time:.1f} µs", time, "µs") for time in times)
    return (*texts, count(latency.outliers), Figure(f"{rate:,.0f}", rate), disturbed)


def _disturbed(rows: Sequence[Row]) -> Iterator[str]:
    reasons = Counter(why for row in rows if row.latency for why in row.latency.disturbed)
    if not reasons:
        return
    rounds = sum(row.latency.rounds for row in rows if row.latency)
    ((why, _),) = reasons.most_common(1)
    yield (
        f"{reasons.total()} of {rounds} rounds were disturbed: {why}; times may be too high, but "
        "as files took turns, their order is more reliable"
    )


def _pairs(rows: Sequence[Row]) -> Iterator[str]:
    """Yield a line for each check of a run on equal things."""
    for pair in dict.fromkeys(row.conditions.pair for row in rows):
        if pair is None:
            continue
        held = "equal" if pair.held else "unequal: smaller differences of this run are noise"
        yield (
            f"check of the run: one cell timed as two, ratio {pair.ratio:.3f} (99 % interval "
            f"{pair.low:.3f} to {pair.high:.3f}), {held}"
        )


def _threads(rows: Sequence[Row]) -> Iterator[str]:
    threaded = [row for row in rows if row.cell.threads > 1]
    if threaded and is_busy(rows):
        yield "threads have no verdict: the machine was busy while they were measured"
