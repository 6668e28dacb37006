"""The gate: three answers, from evidence only; what it refuses; what it writes."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result
from documents import ROOT, Command, require_understood
from planted_records import PLAIN_HOST as HOST

from hemline.bench.devices.local import LocalDevice
from hemline.bench.gate.decision import UNKNOWN, Check, Estimate, decide
from hemline.bench.gate.figures import lost_points
from hemline.bench.gate.gating import require_passed, summary
from hemline.bench.gate.interleaved import LOOKS, _Series, check_rounds, interleaved_checks
from hemline.bench.gate.report import gate_junit, gate_markdown
from hemline.bench.gate.side import Side
from hemline.bench.measuring.noise import facts_of
from hemline.bench.measuring.subject import Subject
from hemline.bench.measuring.turns import Turns
from hemline.cli import cli
from hemline.contract.job import HostActivity, HostFacts
from hemline.contract.manifest import read_manifest
from hemline.contract.record import (
    RECORDS_NAME,
    Accuracy,
    Cell,
    Conditions,
    Instructions,
    Latency,
    Memory,
    Pair,
    Record,
    RoundFacts,
    append_records,
    pack_predictions,
    read_records,
)
from hemline.contract.settings import Settings
from hemline.errors import EvidenceError, GateError, HemlineError

QUIET = RoundFacts(
    busy_share=0.0, stolen_share=0.0, frequency_khz=None, throttled=None, disturbed=None
)


def noisy_ratio(random: np.random.Generator, ratio: float, *, busy: bool) -> float:
    """Return a round's log ratio: as two processes differ here, also where a core is kept busy."""
    spread = 0.05 if busy else 0.006
    unlucky = random.choice([-1, 1]) * 0.03 if random.random() < 0.08 else 0.0
    return float(np.log(ratio) + random.normal(0, spread) + unlucky)


def gated(random: np.random.Generator, ratio: float, limit: float, *, busy: bool = False) -> str:
    """Return the answer of a gate that measures until it has one, 24 rounds at most."""
    values: list[float] = []
    answer: str = UNKNOWN
    for part in LOOKS:
        while len(values) < 24 // part:
            values.append(noisy_ratio(random, ratio, busy=busy))
        answer = check_rounds("cell", values, limit).answer
        if answer != UNKNOWN:
            break
    return answer


def test_a_planted_slowdown_fails_and_equal_files_never_do() -> None:
    random = np.random.default_rng(1)
    assert sum(gated(random, 1.05, 1.02) == "failed" for _ in range(100)) >= 95
    unchanged = [gated(random, 1.0, 1.02) for _ in range(300)]
    assert "failed" not in unchanged
    assert unchanged.count("passed") >= 270


def test_on_a_busy_machine_nothing_fails_that_did_not_change() -> None:
    random = np.random.default_rng(2)
    answers = [gated(random, 1.0, 1.02, busy=True) for _ in range(300)]
    assert answers.count("failed") <= 3  # 1 % of those that are at the limit; these are below
    assert answers.count(UNKNOWN) > 150


def test_a_slowdown_at_the_limit_fails_and_passes_in_one_percent_at_most() -> None:
    random = np.random.default_rng(3)
    answers = [gated(random, 1.02, 1.02) for _ in range(600)]
    assert answers.count("failed") <= 6 + 6
    assert answers.count("passed") <= 6 + 6


def test_an_interval_on_both_sides_of_the_limit_says_how_many_rounds_would_do() -> None:
    found = Estimate(mean=float(np.log(1.05)), half=0.03, count=10)
    check = decide("slowdown", "cell", found, 1.06)
    assert check.answer == UNKNOWN
    # 0.03 has to become log(1.06 / 1.05) = 0.00948: 10 · (0.03 / 0.00948)² rounds
    assert check.reason == "about 101 rounds would be enough (there are 10)"
    at_limit = decide("slowdown", "cell", found, 1.0501)
    assert at_limit.reason == "too close to the limit for any number of rounds"


def test_too_few_rounds_are_no_evidence_and_say_why() -> None:
    check = check_rounds("cell", [0.5, 0.5], 1.1, problem="the runtime crashed")
    assert (check.answer, check.reason) == (
        UNKNOWN,
        "only 2 rounds could be used: the runtime crashed",
    )


def record(
    artifact: str = "int8.tflite",
    *,
    ns: float = 40_000,
    run: str = "first",
    sha: str = "",
    seed: int = 0,
    **changes: object,
) -> Record:
    """Return latencies of 10 rounds round a median; `changes` are of the cell and conditions."""
    random = np.random.default_rng([seed, len(artifact), int(ns)])
    medians = ns * np.exp(random.normal(0, 0.004, 10))
    cell = Cell(
        model="tiny",
        artifact=artifact,
        artifact_sha256=sha or artifact,
        size_bytes=50_000,
        runtime="litert",
        runtime_version=str(changes.get("version", "2.3.0")),
        host=HOST.name,
    )
    host = changes.get("host", HOST)
    pair = changes.get("pair")
    assert isinstance(host, HostFacts)
    assert pair is None or isinstance(pair, Pair)
    date = f"2026-01-0{2 if run == 'second' else 1}T00:00:00Z"
    conditions = Conditions(
        host=host, delegate="", versions={}, commit=None, date=date, run=run, pair=pair
    )
    facts = (QUIET,) * 10
    rounds = tuple((round(median),) * 3 for median in medians)
    return Record(cell=cell, conditions=conditions, payload=Latency(rounds_ns=rounds, facts=facts))


def two_runs(slowdown: float, **changes: object) -> tuple[list[Record], list[Record]]:
    """Return records of two runs, the second on a machine of the kind that is 1.5 × as slow."""
    reference = "fp32.tflite"
    before = [record(reference, ns=100_000, **changes), record(ns=40_000)]
    after = [
        record(reference, ns=150_000, run="second"),
        record(ns=60_000 * slowdown, run="second", sha="another file"),
    ]
    return before, after


@pytest.fixture
def gate(tmp_path: Path) -> Callable[..., Result]:
    """Return a function that gates records, before and after, with options."""

    def run(before: Sequence[Record], after: Sequence[Record], *options: str) -> Result:
        paths = (tmp_path / "before.jsonl", tmp_path / "after.jsonl")
        for path, records in zip(paths, (before, after), strict=True):
            path.write_bytes(b"")
            append_records(path, records)
        return gate_files(*paths, *options)

    return run


def gate_files(before: Path, after: Path, *options: str) -> Result:
    limits = options or ("--max-slowdown", "1.10")
    return CliRunner().invoke(cli, ["gate", str(after), "--baseline", str(before), *limits])


def checks_in(result: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.parametrize(
    ("slowdown", "answer", "error"),
    [(1.0, "passed", None), (1.25, "failed", GateError), (1.09, UNKNOWN, EvidenceError)],
)
def test_records_of_two_runs_are_compared_by_their_reference(
    gate: Callable[..., Result], slowdown: float, answer: str, error: type[HemlineError] | None
) -> None:
    result = gate(*two_runs(slowdown), "--max-slowdown", "1.10", "--json")
    (check,) = checks_in(result)  # the reference itself is not checked: it is the same file
    assert check["answer"] == answer
    assert check["value"] == pytest.approx(slowdown, rel=0.02)
    assert result.exception is None if error is None else isinstance(result.exception, error)
    assert {GateError: 3, EvidenceError: 4}.get(error, 0) == getattr(error, "exit_code", 0)


def test_cells_that_one_run_measured_need_no_reference(gate: Callable[..., Result]) -> None:
    result = gate([record()], [record(ns=48_000, sha="new")], "--max-slowdown", "1.1", "--json")
    (check,) = checks_in(result)
    assert (check["answer"], check["value"]) == ("failed", pytest.approx(1.2, rel=0.01))


def test_disturbed_rounds_are_left_out(gate: Callable[..., Result]) -> None:
    before, after = two_runs(1.0)
    latency = after[1].payload
    assert isinstance(latency, Latency)
    disturbed = replace(QUIET, disturbed="another process used the core")
    spoilt = replace(
        latency,
        rounds_ns=tuple(r if at < 4 else (10**6,) for at, r in enumerate(latency.rounds_ns)),
        facts=tuple(QUIET if at < 4 else disturbed for at in range(10)),
    )
    (check,) = checks_in(gate(before, [after[0], replace(after[1], payload=spoilt)], *OPTIONS))
    assert (check["answer"], check["value"]) == ("passed", pytest.approx(1.0, rel=0.02))


OPTIONS = ("--max-slowdown", "1.1", "--json")


def test_a_run_whose_equal_pair_differed_is_no_evidence(gate: Callable[..., Result]) -> None:
    pair = Pair(ratio=1.05, low=1.04, high=1.06, retried=True)
    (check,) = checks_in(gate(*two_runs(1.5, pair=pair), *OPTIONS))
    assert check["answer"] == UNKNOWN
    assert check["reason"] == "in its run, one cell timed twice took 1.040 to 1.060 × as long"


def test_unlike_versions_are_named(gate: Callable[..., Result]) -> None:
    before, after = two_runs(1.0)
    other = replace(before[1], cell=replace(before[1].cell, runtime_version="2.2.0"))
    (check,) = checks_in(gate([before[0], other], after, *OPTIONS))
    assert check["reason"] == "litert 2.3.0, was 2.2.0"


def test_a_cell_without_its_like_has_no_answer(gate: Callable[..., Result]) -> None:
    before, after = two_runs(1.0)
    result = gate(before, [*after, record("new.tflite", run="second")], *OPTIONS)
    unknown = checks_in(result)[1]
    assert (unknown["cell"], unknown["answer"]) == ("new.tflite · litert", UNKNOWN)
    assert str(unknown["reason"]).endswith("before.jsonl has no such cell")


def test_records_of_unlike_hosts_are_refused(gate: Callable[..., Result]) -> None:
    before, after = two_runs(1.0, host=replace(HOST, processor="Another", machine="aarch64"))
    before = [before[0], replace(before[1], conditions=before[0].conditions)]
    error = gate(before, after).exception
    assert isinstance(error, HemlineError)
    assert error.exit_code == 2
    assert "measured on Another (aarch64)" in str(error)
    assert str(error).endswith("latencies of different hosts cannot be compared")


def test_a_missing_or_another_reference_is_refused(gate: Callable[..., Result]) -> None:
    before, after = two_runs(1.0)
    assert "has no latency of the reference fp32.tflite@litert" in str(
        gate(before, after[1:]).exception
    )
    other = replace(after[0], cell=replace(after[0].cell, artifact_sha256="other"))
    assert "is not the same file" in str(gate(before, [other, after[1]]).exception)
    assert "write it as ARTIFACT@RUNTIME" in str(
        gate(before, after, "--max-slowdown", "2", "--reference", "fp32").exception
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has no cell to check: it has no records"),
        (b'{"kind":"record","schema":99}\n', "line 1"),
        (b'{"kind":"rec', "has no cell to check: it has no records"),  # cut while it was written
        (b'{"kind":"rec\n{}\n', "line 1"),
        (b'{"a":NaN}\n{}\n', "line 1 is not valid JSON"),
        (b"\xff\xfe\n", "is not a text file"),
    ],
)
def test_damaged_records_get_one_clear_line(tmp_path: Path, content: bytes, message: str) -> None:
    before, after = tmp_path / "before.jsonl", tmp_path / "after.jsonl"
    append_records(before, two_runs(1.0)[0])
    after.write_bytes(content)
    error = gate_files(before, after).exception
    assert isinstance(error, HemlineError)
    assert message in str(error)
    assert "after.jsonl" in str(error)


@pytest.mark.parametrize(
    "limits",
    [
        ("--max-slowdown", "0.9"),
        ("--max-slowdown", "nan"),
        ("--max-drop", "-0.1"),
        ("--max-kb", "0"),
        ("--max-memory-mb", "inf"),
        ("--max-slowdown", "1.1", "--rounds", "2"),
    ],
)
def test_a_limit_that_makes_no_sense_is_wrong_usage(
    gate: Callable[..., Result], limits: tuple[str, ...]
) -> None:
    result = gate(*two_runs(1.0), *limits)
    assert result.exit_code == 2
    assert limits[-2] in result.stderr


def test_a_gate_without_limits_or_of_a_file_against_itself_is_wrong_usage(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    append_records(path, [record()])
    assert "is compared with itself" in str(gate_files(path, path).exception)
    result = gate_files(path, path, "--json")
    assert "no limit to check" in str(result.exception)


def test_several_are_checked_each_against_its_own_baseline(tmp_path: Path) -> None:
    words: list[str] = []
    for name, slowdown in (("first", 1.0), ("second", 2.0)):
        for path, records in zip(("before", "after"), two_runs(slowdown), strict=True):
            append_records(tmp_path / f"{name}-{path}.jsonl", records)
        words += [str(tmp_path / f"{name}-after.jsonl")]
        words += ["--baseline", str(tmp_path / f"{name}-before.jsonl")]
    words += ["--max-slowdown", "1.10", "--select", "int8.tflite", "--json"]
    result = CliRunner().invoke(cli, ["gate", *words])
    assert isinstance(result.exception, GateError)
    answers = {str(check["cell"]): check["answer"] for check in checks_in(result)}
    assert list(answers.values()) == ["passed", "failed"]
    assert [cell.partition(":")[0] for cell in answers] == [
        "first-after.jsonl",
        "second-after.jsonl",
    ]
    result = CliRunner().invoke(cli, ["gate", words[2], *words])
    assert "name one for each" in str(result.exception)


def accuracy(changed: int, worse: int, images: int = 5000, *, labels: bool = True) -> Accuracy:
    """Return predictions of which `changed` are others than 0, and `worse` more are wrong."""
    classes = np.zeros(images, np.uint8)
    classes[:changed] = 1
    return Accuracy(
        split="validation",
        images=images,
        correct=4500 - worse if labels else None,
        agreement=images - changed,
        keras_correct=4500 if labels else None,
        predictions=pack_predictions(classes),
    )


@pytest.mark.parametrize(
    ("changed", "worse", "answer"),
    [(0, 0, "passed"), (20, 2, "passed"), (100, 60, "failed"), (200, 14, UNKNOWN)],
)
def test_accuracy_is_compared_image_by_image(
    gate: Callable[..., Result], changed: int, worse: int, answer: str
) -> None:
    before = replace(record(), payload=accuracy(0, 0))
    after = replace(record(sha="new"), payload=accuracy(changed, worse))
    (check,) = checks_in(gate([before], [after], "--max-drop", "0.3", "--json"))
    assert check["answer"] == answer
    assert check["value"] == pytest.approx(worse / 50, abs=1e-3)


def test_accuracy_is_compared_in_equal_settings_which_the_table_names(
    gate: Callable[..., Result],
) -> None:
    plain = replace(record(), payload=accuracy(0, 0))
    other = replace(plain.cell, settings=Settings(delegate="xnnpack-int8"))
    tuned = replace(plain, cell=other, payload=accuracy(50, 15))  # tuning tried it later
    (check,) = checks_in(gate([plain], [plain, tuned], "--max-drop", "0.2", "--json"))
    assert (check["cell"], check["value"], check["high"]) == ("int8.tflite · litert", 0.0, 0.0)
    both = checks_in(gate([plain, tuned], [plain, tuned], "--max-drop", "0.2", "--json"))
    assert [(each["cell"], each["high"]) for each in both] == [
        ("int8.tflite · litert", 0.0),
        ("int8.tflite · litert, XNNPACK int8", 0.0),
    ]


def test_a_table_shows_lost_points_as_a_change_below_zero(gate: Callable[..., Result]) -> None:
    before = replace(record(), payload=accuracy(0, 0))
    after = replace(record(sha="new"), payload=accuracy(100, 60))
    text = gate([before], [after], "--max-drop", "0.3").stdout
    row = next(line.split("  ") for line in text.splitlines() if line.startswith("accuracy"))
    shown = [cell.strip() for cell in row if cell][:5]
    assert (shown[0], *shown[2:]) == (
        "accuracy change",
        "-1.20 points",
        "-1.72 … -0.68",
        "-0.3 points",
    )


def test_the_interval_of_a_drop_is_the_one_of_the_source() -> None:
    lost = lost_points(accuracy(0, 0), accuracy(100, 60))
    assert lost is not None
    # (60 ± 2.5758 · √(101 − 60² / 5002)) / 5002
    assert lost.mean == pytest.approx(1.1995, abs=1e-4)
    assert lost.half == pytest.approx(0.5157, abs=1e-4)


def test_without_labels_or_on_other_images_no_drop_is_known(gate: Callable[..., Result]) -> None:
    for payload in (accuracy(0, 0, labels=False), accuracy(0, 0, images=4990)):
        before, after = (
            replace(record(), payload=accuracy(0, 0)),
            replace(record(sha="new"), payload=payload),
        )
        (check,) = checks_in(gate([before], [after], "--max-drop", "0.3", "--json"))
        assert check["answer"] == UNKNOWN


def test_size_and_memory_are_exact(gate: Callable[..., Result]) -> None:
    memory = replace(
        record(), payload=Memory(peak_bytes=52_000_000, import_ns=1, load_ns=1, first_ns=1)
    )
    options = ("--max-kb", "50", "--max-memory-mb", "51", "--json")
    size, peak = checks_in(gate([record()], [record(), memory], *options))
    assert (size["kind"], size["answer"], size["value"]) == ("size", "passed", 50.0)
    assert (peak["kind"], peak["answer"], peak["value"]) == ("memory", "failed", 52.0)


def counted(per_inference: int, artifact: str = "int8.tflite") -> Record:
    """Return the instructions of a file on an emulated board."""
    there = record(artifact)
    return replace(
        there,
        cell=replace(there.cell, device="emulated:pi4"),
        payload=Instructions(per_inference=per_inference, processor="cortex-a72"),
    )


@pytest.mark.parametrize(("count", "answer"), [(1_040_000, "passed"), (1_060_000, "failed")])
def test_instructions_of_an_emulated_device_are_compared_as_they_are(
    gate: Callable[..., Result], count: int, answer: str
) -> None:
    sides = [counted(1_000_000)], [counted(count)]
    found = checks_in(gate(*sides, "--max-slowdown", "1.05", "--json", "--device", "emulated:pi4"))
    assert [(each["answer"], each["value"]) for each in found] == [(answer, count / 1e6)]
    assert found[0]["cell"] == "int8.tflite · litert, on emulated:pi4"
    unasked = gate(*sides, "--max-slowdown", "1.05").exception
    assert "has no cell to check" in str(unasked)


def test_the_few_images_of_a_check_on_a_device_are_no_accuracy(gate: Callable[..., Result]) -> None:
    whole = replace(record(), payload=accuracy(0, 0))
    later = replace(whole.conditions, date="2999-01-01T00:00:00Z")
    cell = replace(whole.cell, device="emulated:pi4")
    predictions = pack_predictions(np.zeros(100, np.uint8))
    few_images = Accuracy(
        split="validation",
        images=100,
        correct=90,
        agreement=100,
        keras_correct=90,
        predictions=predictions,
    )
    few = replace(whole, cell=cell, conditions=later, payload=few_images)
    (check,) = checks_in(gate([whole], [whole, few], "--max-drop", "0.5", "--json"))
    assert check["answer"] == "passed"


def test_a_limit_that_nothing_was_measured_for_does_not_pass(gate: Callable[..., Result]) -> None:
    options = ("--max-drop", "1", "--max-memory-mb", "9", "--max-kb", "99", "--json")
    drop, size, memory = checks_in(gate([record()], [record()], *options))
    assert (drop["answer"], size["answer"], memory["answer"]) == (UNKNOWN, "passed", UNKNOWN)
    assert drop["reason"] == "no measurement to check it with"


def test_what_is_not_verified_in_the_installed_version_has_no_answer(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    aged = [
        replace(each, verdicts=tuple(replace(v, version="0.1") for v in each.verdicts))
        for each in manifest.artifacts
    ]
    subject = Subject(bundle=bundle, manifest=replace(manifest, artifacts=tuple(aged)))
    side = Side(name="bundle", records=(), subject=subject)
    options = {"rounds": 3, "patterns": ("int8.onnx",), "progress": print}
    (check,), _ = interleaved_checks((side, side), LocalDevice(), 1.1, **options)  # type: ignore[arg-type]
    assert (check.cell, check.answer) == ("int8.onnx · onnxruntime", UNKNOWN)
    assert check.reason == "it was verified only in other versions of this runtime"


def test_cells_are_selected_by_artifact_and_runtime(gate: Callable[..., Result]) -> None:
    options = ("--max-kb", "50", "--json", "--select")
    records = [record("fp32.tflite"), record()]
    assert len(checks_in(gate(records, records, *options, "litert"))) == 2
    assert len(checks_in(gate(records, records, *options, "int8.*@litert"))) == 1
    message = str(gate(records, records, *options, "onnx").exception)
    assert message.endswith("it has fp32.tflite@litert, int8.tflite@litert")


CHECKS = (
    Check(kind="size", cell="a|b.tflite", answer="passed", value=1.0, limit=2.0),
    Check(kind="slowdown", cell="b\x00", answer="failed", value=1.2, low=1.1, high=1.3, limit=1.05),
    Check(kind="memory", cell="c", answer=UNKNOWN, limit=2.0, reason="killed <by> the system"),
)


def test_junit_has_a_case_for_each_check_that_failed_or_was_skipped() -> None:
    suite = ElementTree.fromstring(gate_junit(CHECKS))  # noqa: S314 — it was written here
    assert dict(suite.attrib, name="") == {
        "name": "",
        "tests": "3",
        "failures": "1",
        "skipped": "1",
        "errors": "0",
    }
    passed, failed, skipped = suite
    assert list(passed) == []
    assert (failed.get("classname"), failed.get("name")) == ("slowdown", "b?")
    assert failed[0].tag == "failure"
    assert failed[0].get("message") == "1.200 ×, 1.100 … 1.300, limit 1.05 ×"
    assert skipped[0].tag == "skipped"
    assert "killed <by> the system" in str(skipped[0].get("message"))


def test_markdown_has_a_row_for_each_check() -> None:
    text = gate_markdown(CHECKS, ("main", "branch"))
    title, _, names, _, *rows = text.splitlines()
    assert title == (
        "### hemline gate: failed (3 checks: 1 passed, 1 failed, 1 not enough evidence)"
    )
    assert names == "`branch` against `main`"
    assert len(rows) == 2 + len(CHECKS)
    assert rows[2] == r"| size | a\|b.tflite | 1.0 kB | – | 2 kB | ✅ passed | – |"


def test_the_worst_answer_counts() -> None:
    with pytest.raises(GateError, match="1 of 3 checks failed: slowdown of b"):
        require_passed(CHECKS)
    with pytest.raises(EvidenceError, match="1 of 1 checks have not enough evidence"):
        require_passed(CHECKS[2:])
    with pytest.raises(GateError, match=r"5 of 5 checks failed: .*; and 2 more$"):
        require_passed(CHECKS[1:2] * 5)
    require_passed(CHECKS[:1])
    assert summary(CHECKS[:1]) == "passed (1 checks: 1 passed)"


@pytest.mark.medium
def test_two_bundles_are_measured_in_turn(bundle: Path, tmp_path: Path) -> None:
    before = tmp_path / "before"
    shutil.copytree(bundle, before)
    records = read_records(before / RECORDS_NAME)
    options = ("--max-slowdown", "50", "--max-drop", "0.3", "--max-memory-mb", "9000")
    place = ("--select", "int8.onnx@onnxruntime", "--rounds", "3")
    junit, markdown = tmp_path / "gate.xml", tmp_path / "gate.md"
    written = ("--junit", str(junit), "--markdown", str(markdown))
    result = gate_files(before, bundle, *options, *place, *written, "--json")
    slowdown, drop, memory = checks_in(result)
    assert {str(each["cell"]) for each in (slowdown, drop, memory)} == {"int8.onnx · onnxruntime"}
    if slowdown["answer"] == "passed":
        assert slowdown["low"] < slowdown["value"] < slowdown["high"]  # type: ignore[operator]
    else:  # something else kept the machine busy
        assert "rounds could be used: " in str(slowdown["reason"])
        assert isinstance(result.exception, EvidenceError)
    assert drop["value"] == drop["high"] == 0.0  # the same file
    assert memory["answer"] == "passed"
    assert read_records(before / RECORDS_NAME) == records  # a gate adds nothing to a bundle
    assert ElementTree.parse(junit).getroot().get("tests") == "3"  # noqa: S314
    assert markdown.read_text().startswith("### hemline gate: ")


def test_a_failure_counts_only_where_equal_things_agree() -> None:
    failed = Check(kind="slowdown", cell="cell", answer="failed", value=1.1, limit=1.02)
    for twin_ns, answer in ((40_000, "failed"), (44_000, UNKNOWN)):
        series = _Series(turns=machine(before=40_000, after=44_000, twin=twin_ns))
        for _ in range(6):
            series.measure()
        assert series.confirmed(failed).answer == answer
    assert series.confirmed(failed).reason.startswith(
        "the baseline also differed from itself, by +10."
    )


def machine(**ns: int) -> Turns:
    """Return turns of a machine on which each of three cells takes its time, within 0.5 %."""
    random = np.random.default_rng(4)
    quiet = HostActivity(
        elapsed_ticks=100, busy_ticks=0, stolen_ticks=0, frequency_khz=None, throttled=None
    )

    def result(time: int) -> SimpleNamespace:
        latencies = (round(time * random.normal(1, 0.005)),)
        cell = SimpleNamespace(latencies_ns=latencies)
        return SimpleNamespace(cells=(cell,), peak_memory_bytes=1)

    def turn(cells: tuple[int, int]) -> SimpleNamespace:
        times = list(ns.values())
        results = {at: result(times[at]) for at in cells}
        return SimpleNamespace(results=results, facts=facts_of([quiet]))

    return cast("Turns", SimpleNamespace(failed={}, round=turn))


def test_the_workflow_in_the_docs_is_yaml_whose_commands_exist() -> None:
    path = ROOT / "docs" / "assets" / "gate.yml"
    job = yaml.safe_load(path.read_text())["jobs"]["gate"]
    assert set(job["strategy"]["matrix"]["runner"]) == {"ubuntu-24.04", "ubuntu-24.04-arm"}
    scripts = "\n".join(step.get("run", "") for step in job["steps"])
    commands = re.findall(r"hemline (?:verify|gate|bench) [^|\n]*", scripts)
    assert [each.split()[1] for each in commands] == ["verify", "verify", "gate", "bench"]
    for line in commands:
        require_understood(Command(page=path, line=line.strip(), file=None, exit_code=0))
    assert "$GITHUB_STEP_SUMMARY" in scripts
