"""Tuned settings: which are tried, which win, and what is stamped into the bundle."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from hemline.bench.devices.addresses import open_device
from hemline.bench.devices.local import LocalDevice
from hemline.bench.measuring.plan import MeasurementPlan, PlannedCell
from hemline.bench.measuring.subject import Subject
from hemline.bench.tuning.options import options_for, threads_on
from hemline.bench.tuning.table import trials_table
from hemline.bench.tuning.tuning import Trial, _stamp, _trial, tune, winners
from hemline.contract.manifest import Manifest, read_manifest
from hemline.contract.record import (
    RECORDS_NAME,
    Accuracy,
    Latency,
    RoundFacts,
    read_records,
)
from hemline.contract.settings import Settings
from hemline.errors import UsageError
from hemline.runtime.targets import find_targets

DELEGATE = Settings(delegate="xnnpack-int8")
QUIET = RoundFacts(
    busy_share=0.0, stolen_share=0.0, frequency_khz=None, throttled=None, disturbed=None
)
BUSY = dataclasses.replace(QUIET, disturbed="other processes")


@pytest.fixture
def subject(bundle: Path, manifest: Manifest, tmp_path: Path) -> Subject:
    copy = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    return Subject(bundle=copy, manifest=manifest)


def trial(
    subject: Subject,
    factor: float,
    *,
    threads: int = 1,
    settings: Settings = DELEGATE,
    facts: RoundFacts = QUIET,
) -> Trial:
    """Return a trial that takes so many times as long, with rounds that spread by 2 %."""
    cell = PlannedCell(
        subject=subject,
        artifact=subject.manifest.artifact("int8.tflite"),
        runtime="tflite-runtime",
        version="2.14.0",
        threads=threads,
        settings=settings,
    )
    noise = np.random.default_rng(0).normal(0, 0.02, (2, 10))
    first, second = (
        tuple((round(ns),) * 5 for ns in scale * np.exp(each))
        for scale, each in zip((10_000, 10_000 * factor), noise, strict=True)
    )
    before = Latency(rounds_ns=first, facts=(QUIET,) * 10)
    after = Latency(rounds_ns=second, facts=(facts,) * 10)
    return _trial(cell, "AMD EPYC", before, after)


def test_only_what_makes_sense_for_a_file_in_a_runtime_is_tried(manifest: Manifest) -> None:
    def tried(artifact: str, runtime: str) -> set[str]:
        return {each.text for each in options_for(manifest.artifact(artifact), runtime)}

    assert tried("int8.tflite", "litert") == {"AMX refused"}
    assert tried("int8.tflite", "tflite-runtime") == {"AMX refused", "XNNPACK int8"}
    assert tried("dynamic.tflite", "tflite-runtime") == {"AMX refused", "no delegate"}
    assert tried("fp32.tflite", "tflite-runtime") == {"fp16 arithmetic"}
    assert tried("fp32.onnx", "onnxruntime") == {"graph optimization extended"}
    assert tried("int8.onnx", "onnxruntime") == set()


@pytest.mark.parametrize(
    ("cores", "threads"), [(1, (1,)), (2, (1, 2)), (4, (1, 2, 4)), (6, (1, 3, 6))]
)
def test_threads_are_tried_up_to_the_cores(cores: int, threads: tuple[int, ...]) -> None:
    assert threads_on(cores) == threads


def test_the_fastest_wins_and_gains_more_than_the_noise(subject: Subject) -> None:
    fast, slower = trial(subject, 0.4), trial(subject, 0.8, settings=Settings(delegate="builtin"))
    assert winners([slower, fast]) == (fast,)
    assert winners([trial(subject, 1.0), trial(subject, 0.995), trial(subject, 1.3)]) == ()


def test_threads_win_only_over_the_best_with_fewer_and_on_a_quiet_machine(
    subject: Subject,
) -> None:
    single = trial(subject, 0.4)
    assert winners([single, trial(subject, 0.395, threads=2)]) == (single,)
    double = trial(subject, 0.2, threads=2)
    assert winners([single, double]) == (double,)
    busy = trial(subject, 0.2, threads=2, facts=BUSY)
    assert winners([single, busy]) == (single,)
    assert "no verdict: the machine was busy" in trials_table([single, busy]).rows[0]


def test_a_stamp_replaces_what_was_tuned_for_the_same_before(subject: Subject) -> None:
    first, other = trial(subject, 0.5), trial(subject, 0.4)
    elsewhere = dataclasses.replace(
        first, tuned=dataclasses.replace(first.tuned, processor="Raspberry Pi 5")
    )
    for trials in ([first], [other]):
        _stamp(subject, trials)
        assert read_manifest(subject.bundle).tuned == (trials[0].tuned,)
    _stamp(subject, [elsewhere])
    assert read_manifest(subject.bundle).tuned == (other.tuned, elsewhere.tuned)
    _stamp(subject, [trial(subject, 1.0)])  # it gains nothing any more
    assert read_manifest(subject.bundle).tuned == (elsewhere.tuned,)


def test_a_device_without_settings_of_a_processor_is_refused(subject: Subject) -> None:
    with open_device("tflm") as device, pytest.raises(UsageError, match="tflm is not a processor"):
        tune(device, [subject], MeasurementPlan(), say=print)


def test_cores_are_not_pinned_while_settings_are_tuned(subject: Subject) -> None:
    plan = MeasurementPlan(settings=(Settings(cores=(0,)),))
    with (
        LocalDevice() as device,
        pytest.raises(UsageError, match="tuning chooses the settings itself"),
    ):
        tune(device, [subject], plan, say=print)


@pytest.mark.slow
def test_settings_are_measured_beside_the_defaults_and_verified(subject: Subject) -> None:
    one = dataclasses.replace(
        subject.manifest, artifacts=(subject.manifest.artifact("int8.tflite"),)
    )
    said: list[str] = []
    with LocalDevice(targets=find_targets(["tflite-runtime"])) as device:
        before = len(read_records(subject.bundle / RECORDS_NAME))
        plan = MeasurementPlan(rounds=3, invocations=20)
        subject = dataclasses.replace(subject, manifest=one)
        trials = tune(device, [subject], plan, say=said.append)
    assert {t.tuned.settings for t in trials} >= {DELEGATE}
    records = read_records(subject.bundle / RECORDS_NAME)[before:]
    judged = {r.cell.settings for r in records if isinstance(r.payload, Accuracy)}
    timed = {r.cell.settings for r in records if isinstance(r.payload, Latency)}
    assert DELEGATE in judged & timed
    stamped = {each.settings for each in read_manifest(subject.bundle).tuned}
    assert stamped == {t.cell.settings for t in winners(trials)}
    if "amx_tile" not in str(Path("/proc/cpuinfo").read_text()):
        assert any("this processor has no AMX to disable" in line for line in said)
