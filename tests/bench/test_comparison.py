"""From records to table, picture and verdict."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hemline.bench.comparison import (
    Comparison,
    ModelRecords,
    Row,
    compare,
    compare_models,
    joined,
    pareto_front,
)
from hemline.bench.devices.addresses import open_device
from hemline.bench.measuring.plan import MeasurementPlan
from hemline.bench.measuring.rounds import measure
from hemline.bench.measuring.subject import Subject
from hemline.bench.report.placement import Box, overlap, place, spread
from hemline.bench.report.plot import accuracy_limits, draw, heading_of
from hemline.bench.report.table import (
    bundle_table,
    comparison_table,
    conditions_line,
    devices_table,
    legend,
)
from hemline.bench.report.verdict import explain, recommend, summarize_choice
from hemline.cli import cli
from hemline.contract.budget import Budget
from hemline.contract.evaluation_set import load_labels
from hemline.contract.manifest import Manifest
from hemline.contract.record import (
    LOCAL,
    RECORDS_NAME,
    Accuracy,
    Instructions,
    Latency,
    Memory,
    Record,
    append_records,
    newest,
    read_records,
)
from hemline.contract.settings import Settings
from hemline.errors import GateError, UsageError
from hemline.export.schemes import find_schemes
from hemline.runtime.discovery import installed_names
from hemline.tables import Figure, Table, as_markdown, as_text
from tests.planted_records import PLAIN_HOST

# every scheme in every runtime that is here: tflite-runtime has no build after Python 3.11
CELLS = sum(
    each.runtime in installed_names()
    for scheme in find_schemes(())
    for each in scheme.supported_runtimes
)


@pytest.fixture(scope="module")
def records(bundle: Path, manifest: Manifest) -> tuple[Record, ...]:
    """Return real accuracy records and real, short measurements."""
    plan = MeasurementPlan(rounds=2, invocations=20, warmup=2)
    said: list[str] = []
    measured: list[Record] = []
    measure(
        [Subject(bundle=bundle, manifest=manifest)],
        open_device("local"),
        plan,
        keep=lambda _, records: measured.extend(records),
        progress=said.append,
    )
    assert said == [f"bench {CELLS} cells × 2 rounds × 20 invocations"]
    return (*read_records(bundle / RECORDS_NAME), *measured)


def row_of(comparison: Comparison, artifact: str) -> Row:
    return next(row for row in comparison.rows if row.cell.artifact == artifact)


def with_labels(comparison: Comparison, bundle: Path, manifest: Manifest) -> Comparison:
    """Return a comparison with the labels of its test images, as one of a bundle has them."""
    labels = load_labels(bundle, "test", manifest.evaluation_sha256)
    (model,) = comparison.models
    model = replace(model, labels=labels)
    rows = tuple(replace(row, model=model) for row in comparison.rows)
    return replace(comparison, models=(model,), rows=rows)


@pytest.fixture(scope="module")
def comparison(records: tuple[Record, ...]) -> Comparison:
    return compare(records)


@pytest.mark.medium
def test_every_cell_has_raw_latencies_memory_and_facts(records: tuple[Record, ...]) -> None:
    timed = [record for record in records if isinstance(record.payload, Latency)]
    assert len(timed) == CELLS
    for record in timed:
        assert isinstance(record.payload, Latency)
        assert [len(round_ns) for round_ns in record.payload.rounds_ns] == [20, 20]
        assert record.conditions.host.processor
        assert record.conditions.versions[record.cell.runtime] == record.cell.runtime_version
    for record in records:
        if isinstance(record.payload, Memory):
            assert record.payload.import_ns > 0
            assert record.payload.load_ns > 0


def test_a_row_joins_accuracy_and_latency_of_the_same_file(comparison: Comparison) -> None:
    assert len(comparison.rows) == CELLS
    assert all(row.latency and row.get(Memory) for row in comparison.rows)
    assert all(row.test.images == 200 for row in comparison.rows)


def test_the_tables_have_every_artifact(comparison: Comparison) -> None:
    table = bundle_table(comparison)
    assert [row[0] for row in table.rows] == [
        "keras",
        "fp32.tflite",
        "fp16.tflite",
        "dynamic.tflite",
        "int8.tflite",
        "fp32.onnx",
        "int8.onnx",
    ]
    text = as_text(table)
    assert len({len(line.rstrip()) for line in text.splitlines()[:2]}) == 1


def test_a_file_that_was_made_anew_keeps_its_row(records: tuple[Record, ...]) -> None:
    first = [record for record in records if record.cell.artifact == "fp32.tflite"]
    anew = [
        replace(
            record,
            cell=replace(record.cell, artifact_sha256="0" * 64),
            conditions=replace(record.conditions, date="2999-01-01T00:00:00+00:00"),
        )
        for record in first
    ]
    rows = bundle_table(compare((*records, *anew))).rows
    assert [row[0] for row in rows][:3] == ["keras", "fp32.tflite", "fp16.tflite"]


def test_the_table_has_what_travels_where_it_is_known(comparison: Comparison) -> None:
    assert "compressed" not in bundle_table(comparison).columns
    digests = {row.cell.artifact: row.cell.artifact_sha256 for row in comparison.rows}
    table = bundle_table(comparison, {digests["int8.tflite"]: 41_234})
    at = table.columns.index("compressed")
    found = {row[0]: row[at] for row in table.rows}
    assert found["int8.tflite"] == "41.2 kB"
    assert found["keras"] == found["fp32.onnx"] == ""
    assert as_markdown(table).count("\n") == len(table.rows) + 1
    marked = comparison_table(comparison, row_of(comparison, "int8.tflite"))
    assert sum("←" in row[0] for row in marked.rows) == 1


def test_the_pareto_front_is_beaten_by_none(comparison: Comparison) -> None:
    front = pareto_front(comparison.rows)
    assert front
    for member in front:
        for row in comparison.rows:
            assert row.latency is not None
            assert member.latency is not None
            faster = row.latency.median_us < member.latency.median_us
            assert not (faster and row.test.correct >= member.test.correct)


def test_a_comparison_shows_an_interval_once(
    comparison: Comparison, bundle: Path, manifest: Manifest
) -> None:
    table = comparison_table(with_labels(comparison, bundle, manifest), None)
    accuracy, within = (table.columns.index(name) for name in ("accuracy", "95 %"))
    assert all(re.fullmatch(r"[\d.]+ %", row[accuracy]) for row in table.rows)
    assert all(isinstance(row[accuracy], Figure) for row in table.rows)
    assert all(re.fullmatch(r"[\d.]+–[\d.]+", row[within]) for row in table.rows)


def test_the_verdict_says_what_to_ship_and_why(
    comparison: Comparison, bundle: Path, manifest: Manifest
) -> None:
    budget = Budget(max_drop_points=100, max_kb=90)
    judged = with_labels(comparison, bundle, manifest)
    chosen = recommend(judged, budget)
    reasons = explain(judged, budget, chosen)
    assert reasons[0].startswith(f"Ship {chosen.cell.artifact} with {chosen.cell.runtime}")
    assert re.search(r"\d of 200 predictions changed; up to .* % could", reasons[1])
    few = r": too few images to prove a loss under 1 point\."
    chosen_on = r" On [\d,]+ validation images, where it was chosen, it changes accuracy by "
    assert re.search(
        rf"{few}{chosen_on}[+-]\d\.\d\d points( \(unproven: too few\))?\.$", reasons[1]
    )
    assert any("fp32.onnx in onnxruntime has" in reason for reason in reasons)


@pytest.mark.parametrize(
    ("times", "words"), [(0.25, "and 4.0 × smaller."), (2, "and 2.0 × larger.")]
)
def test_a_choice_is_smaller_or_larger_than_the_float_file(
    comparison: Comparison, times: float, words: str
) -> None:
    floats = [row for row in comparison.rows if row.cell.artifact == "fp32.tflite"]
    cell = dataclasses.replace(
        floats[0].cell, artifact="int8.tflite", size_bytes=int(times * floats[0].cell.size_bytes)
    )
    chosen = dataclasses.replace(floats[0], cell=cell)
    two = dataclasses.replace(comparison, rows=(*floats[:1], chosen))
    _, against = summarize_choice(two, two.rows[1])
    assert against.endswith(words)


def test_the_picture_is_a_png_with_something_on_it(
    comparison: Comparison, bundle: Path, manifest: Manifest, tmp_path: Path
) -> None:
    path = tmp_path / "drawn" / "a.png"  # matplotlib makes folders beside it when it is new here
    path.parent.mkdir()
    judged = with_labels(comparison, bundle, manifest)
    draw(judged, path, chosen=[row_of(judged, "int8.tflite")])
    with Image.open(path) as image:
        assert image.width >= 1000
        assert len(np.unique(np.asarray(image.convert("L")))) > 50
    assert list(path.parent.iterdir()) == [path]


@pytest.fixture(scope="module")
def counted(records: tuple[Record, ...]) -> tuple[Record, ...]:
    """Return the records, and instructions on an emulated board: of 8-bit files the most."""
    board = dataclasses.replace(PLAIN_HOST, processor="A board (emulated)")
    timed = [r for r in records if isinstance(r.payload, Latency)]
    return (
        *records,
        *(
            dataclasses.replace(
                record,
                cell=dataclasses.replace(record.cell, device="emulated:pi4", host=board.name),
                conditions=dataclasses.replace(record.conditions, host=board),
                payload=Instructions(
                    per_inference=4_000_000 - 4 * record.cell.size_bytes, processor="cortex-a72"
                ),
            )
            for record in timed
        ),
    )


def test_files_are_chosen_by_the_instructions_of_an_emulated_board(
    counted: tuple[Record, ...], comparison: Comparison
) -> None:
    (own,) = [ModelRecords(records=counted)]
    there = compare_models([own], device="emulated:pi4")
    assert compare_models([own]).rows == comparison.rows  # this machine's as before
    assert len(there.rows) == CELLS
    largest = max(there.rows, key=lambda row: row.cell.size_bytes)
    assert recommend(there, Budget()) in [row for row in there.rows if row.cost < 3.9e6]
    assert [row.cost for row in there.rows] == [
        4_000_000 - 4 * row.cell.size_bytes for row in there.rows
    ]
    assert largest.test == next(  # a check runs few images there: predictions are of this machine
        row.test for row in comparison.rows if row.cell.artifact == largest.cell.artifact
    )
    headline, *_ = summarize_choice(there, largest)
    assert f"{largest.cost / 1e6:.2f} million instructions on emulated:pi4, " in headline
    assert conditions_line(there).startswith(
        "emulated:pi4: A board (emulated), cortex-a72 in qemu; "
    )
    with pytest.raises(UsageError, match="emulated:pi4 reports no times"):
        recommend(there, Budget(max_ms=1))


def test_an_emulated_board_has_the_accuracy_of_equal_settings(
    counted: tuple[Record, ...], comparison: Comparison
) -> None:
    older = [  # the version on the board is not the one here, so none is of the very same cell
        dataclasses.replace(r, cell=dataclasses.replace(r.cell, runtime_version="0.1"))
        if r.cell.device != LOCAL
        else r
        for r in counted
    ]
    settings = Settings(optimization="basic")
    tuned = [
        dataclasses.replace(
            r,
            cell=dataclasses.replace(r.cell, settings=settings),
            payload=dataclasses.replace(r.payload, correct=0),
        )
        for r in counted
        if isinstance(r.payload, Accuracy) and not r.cell.is_source
    ]
    there = compare_models([ModelRecords(records=(*older, *tuned))], device="emulated:pi4")
    assert len(there.rows) == CELLS
    assert {row.test for row in there.rows} <= {row.test for row in comparison.rows}


def test_columns_that_do_not_explain_themselves_are_explained(comparison: Comparison) -> None:
    (line,) = legend(bundle_table(comparison, {}))
    assert "agreement: share of images with the label of the source model" in line
    assert "compressed" not in line
    ranged = Table.of(("accuracy",), (("93.05 % – 93.13 %",),))
    assert legend(ranged) == ["a range: differs between runtimes"]
    assert legend(Table.of(("file",), (("a",),))) == []


@pytest.mark.medium
def test_several_devices_have_a_column_each_and_a_panel_each(
    counted: tuple[Record, ...], comparison: Comparison, tmp_path: Path
) -> None:
    there = compare_models([ModelRecords(records=counted)], device="emulated:pi4")
    table = devices_table([comparison, there])
    assert table.columns[-2:] == ("local", "emulated:pi4")
    assert len(table.rows) == CELLS
    assert all(row[-2].endswith("µs") and row[-1].endswith(" M instr.") for row in table.rows)
    every = joined([comparison, there])
    marked = comparison_table(every, None)
    assert marked.columns[0] == "device"
    assert len(marked.rows) == 2 * CELLS
    draw(every, tmp_path / "devices.png", chosen=[comparison.rows[0], there.rows[0]])
    assert (tmp_path / "devices.png").stat().st_size > 10_000


def test_equal_accuracies_are_not_drawn_far_apart() -> None:
    low, high = accuracy_limits([93.1, 93.2], 10_000)
    assert high - low > 20 * 0.1  # 0.1 point is less than a twentieth of the axis
    assert (low + high) / 2 == pytest.approx(93.15)
    low, high = accuracy_limits([50.0], 25)  # one image is 4 points
    assert high - low > 4
    low, high = accuracy_limits([80.0, 90.0], 10_000)
    assert (low, high) == pytest.approx((78.5, 91.5))


def test_the_axis_of_accuracies_ends_at_100_percent() -> None:
    assert accuracy_limits([99.0, 99.9], 10_000) == pytest.approx((98.15, 100))
    assert accuracy_limits([97.0, 100.4], 10_000) == pytest.approx((96.49, 100))  # an interval


def test_intervals_of_points_that_are_close_together_stand_side_by_side() -> None:
    assert spread([50.0, 0.0, 51.0, 90.0], 4) == [48.5, 0.0, 52.5, 90.0]
    assert spread([1.0, 1.0, 1.0], 2) == [-1.0, 1.0, 3.0]
    assert spread([0.0, 3.0, 7.0], 4) == pytest.approx([-2 / 3, 10 / 3, 22 / 3])


def test_the_title_of_the_picture_names_the_data_and_what_to_ship(comparison: Comparison) -> None:
    chosen = row_of(comparison, "int8.tflite")
    heading = heading_of(comparison, chosen, 1)
    assert heading.title.startswith(
        f"{comparison.title}: ship int8.tflite with {chosen.cell.runtime}: "
    )
    assert heading.title.endswith(" %) accuracy")  # with the interval of few images
    assert "200 test images" in heading.subtitle
    model = replace(comparison.models[0], dataset="Fashion-MNIST")
    named = replace(comparison, models=(model,))
    assert (
        heading_of(named, None, 1).title
        == f"{model.name} on Fashion-MNIST: accuracy against latency"
    )


def elsewhere(record: Record, date: str) -> Record:
    """Return a record as if it had been measured on another host."""
    host = dataclasses.replace(record.conditions.host, processor="another one")
    return dataclasses.replace(
        record,
        cell=dataclasses.replace(record.cell, host=host.name),
        conditions=dataclasses.replace(record.conditions, host=host, date=date),
    )


def test_latencies_of_one_host_are_compared_that_of_the_last_run(
    records: tuple[Record, ...], comparison: Comparison
) -> None:
    timed = [r for r in records if isinstance(r.payload, Latency)]
    before, after = ("2001-01-01T00:00:00Z", "2101-01-01T00:00:00Z")
    older = compare((*records, *(elsewhere(r, before) for r in timed)))
    assert older.rows == comparison.rows
    assert [name.partition(",")[0] for name in older.other_hosts] == ["another one"]
    assert "latencies of other hosts are not shown (another one, " in conditions_line(older)
    newer = compare((*(elsewhere(r, after) for r in timed[:2]), *records))
    assert newer.host is not None
    assert newer.host.processor == "another one"
    assert sum(row.latency is not None for row in newer.rows) == 2
    assert len(newer.rows) == CELLS  # with the accuracies of the first host


def test_after_an_upgrade_only_the_newest_version_of_a_runtime_counts(
    records: tuple[Record, ...],
) -> None:
    old = tuple(
        dataclasses.replace(r, cell=dataclasses.replace(r.cell, runtime_version="0.9"))
        for r in records
        if r.cell.runtime == "litert"
    )
    expected = compare(records)
    assert compare((*old, *records)).rows == expected.rows
    assert compare((*records, *old)).rows == expected.rows


def test_a_newer_record_of_a_cell_counts_and_the_older_stays(
    records: tuple[Record, ...], tmp_path: Path
) -> None:
    path = tmp_path / "records.jsonl"
    append_records(path, records)
    assert read_records(path) == records
    again = dataclasses.replace(records[-1], payload=Latency(rounds_ns=((1,),)))
    append_records(path, [again])
    assert read_records(path) == (*records, again)
    newer = [r for r in newest(read_records(path)) if r.cell == again.cell]
    assert again in newer
    assert not any(isinstance(r.payload, Latency) and r is not again and r != again for r in newer)


def test_two_hosts_share_a_file_and_none_loses_its_own(
    records: tuple[Record, ...], tmp_path: Path
) -> None:
    path, mine = tmp_path / "records.jsonl", records[-2:]
    theirs = tuple(elsewhere(record, record.conditions.date) for record in mine)
    append_records(path, mine)
    append_records(path, theirs)
    assert newest(read_records(path)) == (*mine, *theirs)


@pytest.mark.slow
def test_bench_table_compare_and_choose_work_as_commands(bundle: Path, tmp_path: Path) -> None:
    folder = str(shutil.copytree(bundle, tmp_path / "bundle"))
    run = CliRunner()

    def call(*arguments: str) -> str:
        result = run.invoke(cli, list(arguments), catch_exceptions=False)
        assert result.exit_code == 0
        return result.stdout

    call("bench", folder, "--quick")
    assert "nothing changed" in run.invoke(cli, ["bench", folder, "--quick"]).output
    assert "int8.tflite" in call("table", folder)
    rows = [json.loads(line) for line in call("table", folder, "--json").splitlines()]
    assert {row["artifact"] for row in rows} >= {"keras", "int8.onnx"}
    text = call("compare", folder, "--quick", "--max-drop-points", "100")
    assert "Ship " in text
    lines = (tmp_path / "bundle" / "compare.jsonl").read_text().splitlines()
    assert {json.loads(line)["runtime"] for line in lines} >= {"litert", "onnxruntime"}
    assert (tmp_path / "bundle" / "compare.png").stat().st_size > 10_000
    assert "Ship " in call("choose", folder, "--max-drop-points", "100")
    manifest = json.loads((tmp_path / "bundle" / "manifest.json").read_text())
    assert manifest["recommended"] in {row["artifact"] for row in rows}


@pytest.mark.slow
def test_a_quick_bench_is_left_out_only_while_nothing_changed(bundle: Path, tmp_path: Path) -> None:
    folder = str(shutil.copytree(bundle, tmp_path / "bundle"))

    def bench(*options: str) -> str:
        command = ["bench", folder, "--quick", "--runtime", "onnxruntime", *options]
        return CliRunner().invoke(cli, command, catch_exceptions=False).output

    assert "nothing changed" not in bench()
    assert "nothing changed" in bench()
    for more in (("--threads", "2"), ("--rounds", "4"), ("--batch", "4")):  # before: 1, 3, 1
        assert "nothing changed" not in bench(*more)
        assert "nothing changed" in bench(*more)


@pytest.mark.slow
def test_one_measured_cell_does_not_stand_for_all(
    records: tuple[Record, ...], bundle: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    timed = [record for record in records if isinstance(record.payload, Latency)]
    append_records(folder / RECORDS_NAME, timed[:-1])
    again = CliRunner().invoke(cli, ["bench", str(folder), "--quick"])
    assert "nothing changed" not in again.output
    assert "nothing changed" in CliRunner().invoke(cli, ["bench", str(folder), "--quick"]).output


def test_a_budget_that_nothing_fits_is_a_gate(
    records: tuple[Record, ...], bundle: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    append_records(folder / RECORDS_NAME, [r for r in records if isinstance(r.payload, Latency)])
    words = ["choose", str(folder), "--max-kb", "1"]
    with pytest.raises(GateError, match="no artifact fits the budget"):
        CliRunner().invoke(cli, words, catch_exceptions=False)


_POINTS = st.lists(st.tuples(st.floats(60, 740), st.floats(60, 540)), min_size=1, max_size=12)


@given(points=_POINTS)
def test_labels_stay_inside_and_apart(points: list[tuple[float, float]]) -> None:
    """Twelve labels of 80 × 14 on 800 × 600 always find room."""
    discs = [Box(x - 8, y - 8, x + 8, y + 8) for x, y in points]
    placed = place(discs, [(80, 14)] * len(discs), Box(0, 0, 800, 600), gap=4)
    boxes = np.array(placed)
    assert (boxes[:, 2:] - boxes[:, :2]).min(axis=0) == pytest.approx([80, 14])
    assert boxes.min() >= -1e-6
    assert (boxes.max(axis=0) <= [800, 600, 800, 600.000001]).all()
    shared = overlap(boxes, boxes)
    assert shared == pytest.approx(np.diag([80 * 14] * len(boxes)), abs=1e-6)
