"""Records: appended and never lost, readable from older files, one table cell from many."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from planted_records import PLAIN_HOST as HOST

from hemline.bench.measuring.plan import FULL, QUICK, key_of, measured_cells
from hemline.bench.measuring.subject import Subject
from hemline.bench.records import compared
from hemline.bench.report.table import _span
from hemline.contract.evaluation_set import load_split, save_split
from hemline.contract.manifest import read_manifest
from hemline.contract.record import (
    RECORDS_NAME,
    Accuracy,
    Cell,
    Conditions,
    Latency,
    Memory,
    Record,
    append_records,
    newest,
    pack_predictions,
    read_records,
)
from hemline.errors import FileFormatError, HemlineError, UsageError

ROOT = Path(__file__).resolve().parents[2]
RECORD = Record(
    cell=Cell(
        model="hem-50k",
        artifact="int8.tflite",
        artifact_sha256="0" * 64,
        size_bytes=1,
        runtime="litert",
        runtime_version="2.3.0",
        threads=1,
        batch=1,
        device="local",
        host=HOST.name,
    ),
    conditions=Conditions(
        host=HOST, delegate="XNNPACK", versions={}, commit=None, date="2026-01-01T00:00:00Z"
    ),
    payload=Latency(rounds_ns=((5,) * 200,) * 10),
)


def dated(date: str) -> Record:
    return replace(RECORD, conditions=replace(RECORD.conditions, date=date))


# A line of schema 2, which has no host in its cell.
SCHEMA_2 = (
    '{"kind":"record","schema":2,"cell":{"model":"hem-50k","artifact":"int8.tflite",'
    '"artifact_sha256":"a","size_bytes":60630,"runtime":"litert","runtime_version":"2.3.0",'
    '"threads":1,"batch":1,"device":"local"},"conditions":{"host":{"machine":"x86_64",'
    '"processor":"AMD EPYC","cores":2,"memory_bytes":8000000000,"system":"Linux 6.18",'
    '"governor":null,"frequency_khz":null,"temperature_millicelsius":null,"load_average":0.5},'
    '"delegate":"XNNPACK","versions":{"hemline":"1"},"commit":null,'
    '"date":"2026-10-01T10:00:00Z"},"payload":{"kind":"latency","rounds_ns":[[16000,17000]]}}\n'
)


def test_a_record_of_an_older_schema_gets_its_host_from_its_conditions(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text(SCHEMA_2)
    (record,) = read_records(path)
    assert record.cell.host == "AMD EPYC, 2 cores, Linux 6.18" == record.conditions.host.name
    assert record.payload == Latency(rounds_ns=((16000, 17000),))
    append_records(path, [record])
    first, second = (json.loads(line) for line in path.read_text().splitlines())
    assert (first["schema"], second["schema"]) == (2, 5)
    assert read_records(path) == (record, record)


def test_the_committed_records_of_older_schemas_can_be_read() -> None:
    for name in ("records.jsonl", "instructions.jsonl"):
        assert read_records(ROOT / "results" / "hem-50k" / name)


@pytest.mark.parametrize("kept", [1, 40, -2, -1])
def test_a_last_line_that_was_cut_off_is_reported_and_costs_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kept: int
) -> None:
    path = tmp_path / "records.jsonl"
    append_records(path, [RECORD, dated("2026-02-02T00:00:00Z")])
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + second[:kept])
    with caplog.at_level(logging.WARNING):
        records = read_records(path)
    whole = kept == -1  # only the line's end is missing
    assert len(records) == 1 + whole
    assert [r.message for r in caplog.records] == [
        f"{path}: the last line is incomplete and was skipped"
    ] * (not whole)
    append_records(path, [dated("2026-03-03T00:00:00Z")])
    caplog.clear()
    assert read_records(path)[-1] == dated("2026-03-03T00:00:00Z")
    assert len(read_records(path)) == 2 + whole
    assert not caplog.records


def test_a_disk_that_fills_costs_only_what_was_being_written(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    path = tmp_path / "records.jsonl"
    append_records(path, [RECORD])
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 100, hard))
    try:
        with pytest.raises(HemlineError, match=r"cannot write .*records.jsonl: file too large"):
            append_records(path, [dated("2026-02-02T00:00:00Z")])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    append_records(path, [dated("2026-03-03T00:00:00Z")])
    assert read_records(path) == (RECORD, dated("2026-03-03T00:00:00Z"))


def test_a_damaged_line_in_the_middle_is_an_error_with_its_number(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    append_records(path, [RECORD])
    path.write_bytes(b"{\n" + path.read_bytes())
    with pytest.raises(FileFormatError, match=r"line 1 is not valid JSON"):
        read_records(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"schema":5', '"schema":99', "line 1 has record schema 99, .* reads versions up to 5"),
        ('"rounds_ns":[[5,', '"rounds_ns":[[NaN,', "NaN is not a JSON number"),
        ('"rounds_ns":[[5,', '"rounds_ns":[[-5,', "a latency of -5 ns is not a time"),
        ('"rounds_ns":[[5,', '"rounds_ns":[[],[5,', "at least one value in each round"),
        ('"rounds_ns":[[5,', '"rounds_ns":[[5.5,', r"rounds_ns\[0\]\[0\] must be int, not 5.5"),
        ('"size_bytes":1', '"size_bytes":"1"', "cell.size_bytes must be int"),
        ('"kind":"latency"', '"kind":"speed"', "payload.kind must be one of latency, accuracy"),
    ],
)
def test_a_value_that_cannot_be_is_an_error_with_its_line(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    path = tmp_path / "records.jsonl"
    append_records(path, [RECORD])
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    with pytest.raises(FileFormatError, match=message) as caught:
        read_records(path)
    assert f"{path}, line 1" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("field", ["peak_bytes", "import_ns", "steady_bytes"])
def test_memory_is_not_negative(field: str) -> None:
    values = {"peak_bytes": 1, "import_ns": 1, "load_ns": 1, "first_ns": 1, field: -1}
    with pytest.raises(ValueError, match=f"{field} is -1: it cannot be negative"):
        Memory(**values)


def test_a_bundle_whose_records_are_all_of_other_files_has_none(
    bundle: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    (folder / RECORDS_NAME).write_bytes(b"")
    with pytest.raises(UsageError, match="has no records"):
        compared([Subject(bundle=folder, manifest=read_manifest(folder))])
    (folder / RECORDS_NAME).unlink()
    append_records(folder / RECORDS_NAME, [RECORD])
    with pytest.raises(UsageError, match="has no records"):
        compared([Subject(bundle=folder, manifest=read_manifest(folder))])


def test_the_newest_of_two_files_put_together_counts_whatever_their_order() -> None:
    older, newer = dated("2026-01-01T00:00:00Z"), dated("2026-02-02T00:00:00Z")
    assert newest([older, newer]) == newest([newer, older]) == (newer,)


@pytest.mark.parametrize("classes", [[0, 9, 255], [0, 256, 999], []])
def test_predictions_of_more_than_256_classes_do_not_wrap(classes: list[int]) -> None:
    packed = Accuracy(
        split="test",
        images=max(1, len(classes)),
        correct=0,
        agreement=0,
        keras_correct=0,
        predictions=pack_predictions(np.asarray(classes, np.int64)),
    )
    if classes:
        assert packed.classes().tolist() == classes
    else:
        with pytest.raises(FileFormatError, match="0 bytes of predictions for 1 images"):
            packed.classes()


def test_accuracy_of_300_classes_counts_each_class_as_itself(tmp_path: Path) -> None:
    """In one byte 299 would be 43."""
    labels = np.array([299, 43, 299], np.uint16)
    keras = np.eye(300, dtype=np.float32)[[299, 43, 43]]
    here = np.eye(300, dtype=np.float32)[[299, 299, 43]]
    images = np.zeros((3, 1, 1, 1), np.uint8)
    hashes = save_split(tmp_path, "test", images=images, labels=labels, logits=keras)
    found = load_split(tmp_path, "test", hashes).accuracy(here)
    assert (found.correct, found.agreement, found.keras_correct) == (1, 2, 2)
    assert found.classes().tolist() == [299, 299, 43]


def test_images_without_labels_have_an_agreement_and_no_accuracy(tmp_path: Path) -> None:
    reference = np.eye(3, dtype=np.float32)[[0, 1, 2]]
    images = np.zeros((3, 1, 1, 1), np.uint8)
    labelled = save_split(
        tmp_path, "test", images=images, labels=images[:, 0, 0, 0], logits=reference
    )
    hashes = save_split(tmp_path, "test", images=images, labels=None, logits=reference)
    assert labelled.keys() - hashes.keys() == {"evaluation/test-labels.npy"}
    assert not (tmp_path / "evaluation" / "test-labels.npy").exists()
    found = load_split(tmp_path, "test", hashes).accuracy(reference[[0, 1, 1]])
    assert (found.images, found.agreement) == (3, 2)
    assert (found.correct, found.keras_correct, found.share, found.drop_points) == (None,) * 4
    path = tmp_path / "records.jsonl"
    append_records(path, [replace(RECORD, payload=found)])
    assert read_records(path)[0].payload == found


def test_an_accuracy_is_known_of_both_or_of_none() -> None:
    with pytest.raises(ValueError, match="keras_correct together"):
        Accuracy(split="test", images=1, correct=1, agreement=1, keras_correct=None, predictions="")


@pytest.mark.parametrize("schema", [3, 4])
def test_a_record_of_schema_3_or_4_has_no_settings_run_or_facts(
    tmp_path: Path, schema: int
) -> None:
    path = tmp_path / "records.jsonl"
    append_records(path, [RECORD])
    document = json.loads(path.read_text())
    document["schema"] = schema
    for part, fields in {
        "cell": ("settings",),
        "conditions": ("run", "pair"),
        "payload": ("facts",),
    }.items():
        for field in fields:
            del document[part][field]
    path.write_text(json.dumps(document))
    assert read_records(path) == (RECORD,)


def test_measured_means_as_many_rounds_and_invocations_as_the_plan_asks_for() -> None:
    """--quick --rounds 50 is more than --quick, and 50 quick rounds are less than 50 full ones."""
    key = frozenset({key_of(Path(), RECORD.cell)})
    for plan in (FULL, QUICK, replace(QUICK, rounds=10)):
        assert measured_cells(Path(), [RECORD], plan) == key
    for plan in (replace(QUICK, rounds=50), replace(FULL, invocations=201)):
        assert measured_cells(Path(), [RECORD], plan) == frozenset()


def test_a_span_goes_from_the_smallest_to_the_largest_number() -> None:
    assert _span({0.9998: "99.98 %", 1.0: "100.00 %"}) == "99.98 % – 100.00 %"
    assert _span({-0.1: "-0.10", 0.02: "+0.02", -0.2: "-0.20"}) == "-0.20 – +0.02"
    assert _span({0.93001: "93.00 %", 0.93: "93.00 %"}) == "93.00 %"
