"""What a table says of the machine and of the spread of times."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hemline.bench.accuracy.change import change_of
from hemline.bench.comparison import Comparison, compare
from hemline.bench.report.changes import class_table, flip_table
from hemline.bench.report.details import outlier_lines, spread_table, start_table, warning_lines
from hemline.bench.report.table import bundle_table, comparison_table, conditions_line
from hemline.bench.report.verdict import explain, recommend
from hemline.contract.budget import Budget
from hemline.contract.job import HostFacts
from hemline.contract.record import (
    Accuracy,
    Cell,
    Conditions,
    Latency,
    Memory,
    Pair,
    Payload,
    Record,
    RoundFacts,
    pack_predictions,
)
from hemline.contract.settings import Settings

HOST = HostFacts(processor="A processor", cores=2, system="Linux 6.1")
CELL = Cell(
    model="net",
    artifact="int8.tflite",
    artifact_sha256="1",
    size_bytes=60_000,
    runtime="litert",
    runtime_version="2.3.0",
    host=HOST.name,
)
BUSY = "other processes used 40 % of a core"


def record(payload: Payload, cell: Cell = CELL, pair: Pair | None = None) -> Record:
    conditions = Conditions(
        host=HOST, delegate="XNNPACK", versions={}, commit=None, date="2026-01-01", pair=pair
    )
    return Record(cell=cell, conditions=conditions, payload=payload)


def facts(disturbed: str | None) -> RoundFacts:
    return RoundFacts(
        busy_share=None, stolen_share=None, frequency_khz=None, throttled=None, disturbed=disturbed
    )


def predictions(classes: list[int], split: str = "test") -> Accuracy:
    return Accuracy(
        split=split,
        images=4,
        correct=3,
        agreement=4,
        keras_correct=4,
        predictions=pack_predictions(np.array(classes)),
    )


SOURCE = replace(CELL, artifact="keras", runtime="keras", artifact_sha256="0")
JUDGED = (
    record(predictions([0, 1, 0, 1]), SOURCE),
    record(predictions([0, 1, 0, 1], "validation"), SOURCE),
    record(predictions([0, 1, 1, 1])),
    record(predictions([0, 1, 0, 1], "validation")),
)


def timed(*rounds: int, cell: Cell = CELL, disturbed: str | None = None) -> Record:
    latency = Latency(
        rounds_ns=tuple((each,) * 9 + (each + 1,) for each in rounds),
        facts=tuple(facts(disturbed if at == 0 else None) for at, _ in enumerate(rounds)),
    )
    return record(latency, cell)


def test_disturbed_rounds_are_counted_and_threads_get_no_verdict_then() -> None:
    quiet = compare([*JUDGED, timed(1000, 1000)])
    assert warning_lines(quiet) == []
    two = timed(900, 900, cell=replace(CELL, threads=2), disturbed=BUSY)
    assert warning_lines(compare([*JUDGED, timed(1000, 1000), two])) == [
        f"1 of 4 rounds were disturbed: {BUSY}; times may be too high, but as files took turns, "
        "their order is more reliable",
        "threads have no verdict: the machine was busy while they were measured",
    ]


@pytest.mark.parametrize(
    ("low", "words"),
    [(0.9, "0.900 to 1.100), equal"), (1.05, "1.050 to 1.100), unequal: smaller differences")],
)
def test_the_check_on_equal_things_is_told(low: float, words: str) -> None:
    pair = Pair(ratio=1.06, low=low, high=1.1, retried=low > 1)
    latency = timed(1000).payload
    (line,) = warning_lines(compare([*JUDGED, record(latency, pair=pair)]))
    assert line.startswith("check of the run: one cell timed as two, ratio 1.060 (99 % interval")
    assert words in line


def test_outliers_are_told_where_there_are_many() -> None:
    usual = compare([*JUDGED, timed(*[1000] * 10)])
    assert outlier_lines(usual) == []
    latency = Latency(rounds_ns=((*range(1000, 1017), 9000, 9000, 17000),), facts=(facts(BUSY),))
    assert outlier_lines(compare([*JUDGED, record(latency)])) == [
        "int8.tflite · litert: 3 of 20 invocations were outliers, the slowest took 16.8 × the "
        "median: the machine was busy"
    ]


def test_the_spread_and_the_start_have_a_column_for_what_is_known() -> None:
    memory = Memory(peak_bytes=50_000_000, import_ns=5_000_000, load_ns=1_000_000, first_ns=90_000)
    older = compare([*JUDGED, timed(1000, 3000), record(memory)])
    spread = spread_table(older)
    assert spread.columns[2:] == ("median", "min", "max", "σ", "outliers", "images/s")
    assert spread.rows[0][2:5] == ("2.0 µs", "1.0 µs", "3.0 µs")
    parts = ("import", "load", "first inference", "peak memory")
    assert start_table(older).columns[2:] == parts
    assert "cold start" not in comparison_table(older, None).columns
    newer = compare([*JUDGED, timed(1000), record(replace(memory, process_ns=30_000_000))])
    assert start_table(newer).columns[2:] == ("process", *parts)
    table = comparison_table(newer, None)
    assert dict(zip(table.columns, table.rows[0], strict=True))["cold start"] == "36 ms"


def variants() -> Comparison:
    """Return one cell as it is, with two threads, pinned, and tuned with predictions of its own."""
    tuned = replace(CELL, settings=Settings(refused=("amx",)))
    own = (
        record(predictions([0, 0, 0, 0]), tuned),
        record(predictions([0, 0, 0, 0], "validation"), tuned),
    )
    unverified = replace(CELL, settings=Settings(delegate="builtin"))
    return compare(
        [
            *JUDGED,
            *own,
            timed(3000),
            timed(2000, cell=replace(CELL, threads=2)),
            timed(2500, cell=replace(CELL, settings=Settings(cores=(1,)))),
            timed(1000, cell=tuned),
            timed(900, cell=unverified),
        ]
    )


def test_other_threads_and_settings_have_rows_of_their_own() -> None:
    comparison = variants()
    assert [row.cost for row in comparison.rows] == [3.0]
    table = comparison_table(comparison, None)
    at = table.columns.index("settings")
    assert [row[at] for row in table.rows] == ["AMX refused", "2 threads", "core 1", ""]
    bundle = bundle_table(comparison)
    assert [row[:2] for row in bundle.rows] == [
        ("keras", ""), ("int8.tflite", ""), ("int8.tflite", "AMX refused"),
        ("int8.tflite", "2 threads"), ("int8.tflite", "core 1"),
    ]  # fmt: skip
    by_settings = {row.settings: row for row in comparison.variants}
    assert by_settings["core 1"].test == comparison.rows[0].test
    assert by_settings["AMX refused"].test.classes().tolist() == [0, 0, 0, 0]


def test_the_verdict_names_settings_that_are_faster() -> None:
    comparison = variants()
    assert "one thread, batch 1 unless stated, median" in conditions_line(comparison)
    chosen = recommend(comparison, Budget(max_drop_points=100))
    assert chosen == comparison.rows[0]
    reasons = explain(comparison, Budget(max_drop_points=100), chosen)
    assert "With AMX refused it takes 1.0 µs in litert." in reasons
    few = replace(comparison, variants=tuple(r for r in comparison.variants if r.cell.threads > 1))
    assert not any("it takes" in each for each in explain(few, Budget(), chosen))


def test_the_changes_name_classes_and_images() -> None:
    row = variants().rows[0]
    model = replace(row.model, labels=np.array([0, 1, 0, 1], np.uint8), classes=("cat", "dog"))
    change = change_of(replace(row, model=model))
    assert change is not None
    assert class_table(change).rows[0] == (
        "cat",
        "2",
        "2",
        "1",
        "50.00 %",
        "9.5–90.5",
        "1",
        "0",
        "1",
    )
    assert flip_table(change, model).rows == (("2", "cat", "cat", "dog", "lost"),)
    assert change_of(row) is None, "its labels are not at hand"
