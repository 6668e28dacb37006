"""A sustained run: slices over time, energy above idle, a sentence and a picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image
from scripted_device import Script

from hemline.bench.measuring import sustained
from hemline.bench.measuring.device_bench import BenchRequest, DeviceRun, bench_device
from hemline.bench.measuring.plan import MeasurementPlan, PlannedCell, planned_cells
from hemline.bench.measuring.subject import Subject
from hemline.bench.measuring.sustained import sustain
from hemline.contract.job import PowerReading
from hemline.contract.manifest import Manifest
from hemline.contract.record import Energy, Record, Sustained


@pytest.fixture
def subject(bundle: Path, manifest: Manifest, tmp_path: Path) -> Subject:
    """Return a bundle with the images of another; two artifacts that passed in one runtime."""
    (tmp_path / "evaluation").symlink_to(bundle / "evaluation")
    few = tuple(
        replace(each, verdicts=tuple(v for v in each.verdicts if v.runtime == "litert"))
        for each in manifest.artifacts
        if each.name in ("int8.tflite", "fp32.tflite")
    )
    return Subject(bundle=tmp_path, manifest=replace(manifest, artifacts=few))


@pytest.fixture
def cell(subject: Subject, script: Script) -> PlannedCell:
    (_, version), *_ = script.runtimes()
    return planned_cells(subject, MeasurementPlan(runtimes=(("litert", version),)))[0]


@pytest.fixture
def script(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> Script:
    """Return a device with the runtime that passed, whose clock goes on by 20 s at each look."""
    clock = ticking(20.0)
    clocks = SimpleNamespace(monotonic=lambda: next(clock), sleep=lambda _: None)
    monkeypatch.setattr(sustained, "time", clocks)
    version = subject.manifest.artifacts[0].verdicts[0].version

    return Script(
        version=version,
        time_ns=lambda name, turn: (2000 if name == "fp32.tflite" else 1000) + 10 * turn,
    )


def ticking(step: float) -> Iterator[float]:
    at = 0.0
    while True:
        yield at
        at += step


def watts_of(turn: int) -> tuple[PowerReading, ...]:
    """Return 2 W while the process waits for 3 s between jobs, 5 W in jobs of 1 s."""
    clock, joules = 4.0 * turn, 11.0 * turn
    before = PowerReading(source="RAPL", clock_ns=int(clock * 1e9), joules=joules)
    return (before, replace(before, clock_ns=before.clock_ns + 10**9, joules=joules + 5))


def test_energy_is_that_above_idle(cell: PlannedCell, script: Script) -> None:
    script.power = watts_of
    series, energy = (r.payload for r in sustain(cell, script, 90.0, stop=lambda: None))
    assert isinstance(series, Sustained)
    assert series.seconds == (20.0, 40.0, 60.0, 80.0, 100.0)
    assert series.medians_ns == (2010, 2020, 2030, 2040, 2050)
    assert series.temperatures_millicelsius == ()
    assert len(series.frequencies_khz) == 5
    assert isinstance(energy, Energy)
    seconds, joules, images = 4 * 4 + 1, 4 * 11 + 5, 5 * 500_000  # a second of 2 µs a slice
    assert energy.idle_watts == pytest.approx(2.0)
    assert energy.busy_watts == pytest.approx(joules / seconds)
    assert energy.joules_per_inference == pytest.approx((joules - 2.0 * seconds) / images)


def test_without_power_readings_there_is_no_energy(cell: PlannedCell, script: Script) -> None:
    (record,) = sustain(cell, script, 1.0, stop=lambda: None)
    assert isinstance(record.payload, Sustained)


def test_the_fastest_cell_is_run_and_drawn(subject: Subject, script: Script) -> None:
    said: list[str] = []
    kept: list[Record] = []
    run = DeviceRun(
        write=lambda _, records: kept.extend(records), progress=said.append, report=said.append
    )
    script.capabilities = replace(script.capabilities, verified_here=True)
    plan = MeasurementPlan(rounds=2, invocations=3, warmup=0)
    bench_device(script, [subject], BenchRequest(plan=plan, sustained_seconds=30.0), run)
    (record,) = (r for r in kept if isinstance(r.payload, Sustained))
    assert record.cell.artifact == "int8.tflite"
    assert "int8.tflite in litert for 40 s: 1.0 µs in the first tenth" in "\n".join(said)
    with Image.open(subject.bundle / "sustained-script.png") as picture:
        assert picture.width > 500
