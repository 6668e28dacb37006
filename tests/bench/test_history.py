"""History: steps are found among noise and outliers; hosts and versions keep lines of their own."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from planted_records import PLAIN_HOST as HOST

from hemline.bench.history.changes import change_points
from hemline.bench.history.plot import dates_of
from hemline.bench.history.series import series_of
from hemline.cli import cli
from hemline.contract.record import (
    RECORDS_NAME,
    Cell,
    Conditions,
    Latency,
    Record,
    RoundFacts,
    append_records,
)
from hemline.contract.settings import Settings
from hemline.errors import HemlineError


def planted(seed: int, step: float) -> tuple[list[float], int]:
    """Return 20 to 60 times with 1 to 3 % of noise and outliers, and where they grow by a step."""
    random = np.random.default_rng([seed, 14])
    count = int(random.integers(20, 61))
    logs = random.normal(0, random.uniform(0.01, 0.03), count)
    at = int(random.integers(5, count - 4))
    logs[at:] += np.log1p(step)
    outliers = random.random(count) < 0.05
    logs[outliers] += random.uniform(0.1, 0.5, outliers.sum())
    return [float(time) for time in 40 * np.exp(logs)], at


def test_a_planted_step_is_found_where_it_is_and_none_where_there_is_none() -> None:
    steps = [planted(seed, 0.10) for seed in range(20)]
    found = [any(abs(at - each) <= 2 for each in change_points(times)) for times, at in steps]
    assert sum(found) >= 18
    assert [change_points(planted(seed, 0.0)[0]) for seed in range(20)] == [()] * 20


def test_several_steps_are_found_and_outliers_are_none() -> None:
    random = np.random.default_rng(1)
    times = 40 * np.exp(random.normal(0, 0.01, 60))
    times[20:] *= 1.2
    times[40:] *= 0.7
    times[50] *= 2
    assert change_points(times) == (20, 40)


@pytest.mark.parametrize("times", [[1.0], [5.0] * 30, [40.0, 40.0, 40.0, 60.0, 60.0, 60.0]])
def test_short_and_constant_series_have_no_change(times: list[float]) -> None:
    assert change_points(times) == ()


def test_a_step_without_any_noise_is_found() -> None:
    assert change_points([40.0] * 10 + [50.0] * 10) == (10,)
    assert change_points([40.0] * 10 + [41.0] * 10) == ()  # 2.5 % is less than processes differ


def record(number: int, us: float, **changes: str) -> Record:
    """Return a run of two rounds; `changes` are of the cell."""
    cell = Cell(
        model="tiny",
        artifact="int8.tflite",
        artifact_sha256=f"{number}",
        size_bytes=50_000,
        runtime="litert",
        runtime_version=changes.get("version", "2.3.0"),
        host=changes.get("host", HOST.name),
    )
    date = f"2026-01-{1 + number:02}T00:00:00Z"
    conditions = Conditions(host=HOST, delegate="", versions={}, commit="0123456789", date=date)
    ns = round(1000 * us)
    return Record(cell=cell, conditions=conditions, payload=Latency(rounds_ns=((ns,), (ns,))))


def test_hosts_and_versions_are_never_in_one_line() -> None:
    records = [record(3, 40), record(1, 30), record(2, 50, version="2.4.0"), record(2, 9, host="B")]
    found = series_of(records)
    assert [(each.cell, each.place) for each in found] == [
        ("int8.tflite · litert 2.3.0", f"tiny, {HOST.name}"),
        ("int8.tflite · litert 2.4.0", f"tiny, {HOST.name}"),
        ("int8.tflite · litert 2.3.0", "tiny, B"),
    ]
    assert [run.median_us for run in found[0].runs] == pytest.approx([30, 40])  # by date


def test_runs_of_one_day_are_told_apart_by_their_time() -> None:
    (series,) = series_of([record(1, 40), record(2, 41)])
    assert dates_of(series.runs) == ["2026-01-02", "2026-01-03"]
    hours = ("2026-01-01T09:30:00Z", "2026-01-01T17:05:00Z")
    day = [replace(run, date=date) for run, date in zip(series.runs, hours, strict=True)]
    assert dates_of(day) == ["09:30", "17:05"]


def test_the_version_of_a_runtime_is_beside_its_name() -> None:
    plain = record(1, 40)
    settings = Settings(delegate="xnnpack-int8")
    (series,) = series_of([replace(plain, cell=replace(plain.cell, settings=settings))])
    assert series.cell == "int8.tflite · litert 2.3.0, XNNPACK int8"


def test_disturbed_rounds_are_left_out_unless_there_are_no_others() -> None:
    quiet = RoundFacts(
        busy_share=None, stolen_share=None, frequency_khz=None, throttled=None, disturbed=None
    )
    busy = replace(quiet, disturbed="the processor was throttled")
    half = Latency(rounds_ns=((10_000,), (90_000,)), facts=(quiet, busy))
    none = replace(half, facts=(busy, busy))
    records = (replace(record(at, 1), payload=each) for at, each in ((1, half), (2, none)))
    (series,) = series_of(records)
    assert [run.median_us for run in series.runs] == pytest.approx([10, 30])  # √(10 · 90)


def test_history_prints_a_table_and_writes_pictures_and_files(tmp_path: Path) -> None:
    times = [40 + (at >= 12) * 5 + at % 3 / 10 for at in range(24)]
    append_records(tmp_path / RECORDS_NAME, [record(at, us) for at, us in enumerate(times)])
    table = tmp_path / "table.csv"
    rows = tmp_path / "rows.json"
    options = ["--export-csv", str(table), "--export-json", str(rows)]
    result = CliRunner().invoke(cli, ["history", str(tmp_path), *options])
    assert result.exit_code == 0, result.output
    assert "+12.5 % on 2026-01-13 (01234567)" in result.stdout
    (line,) = csv.DictReader(table.read_text().splitlines())
    assert line["runs"] == "24"
    assert float(line["first (µs)"]) == pytest.approx(40.1)
    runs = json.loads((tmp_path / "rows-runs.json").read_text())
    assert len(runs) == 24
    assert [run["change (%)"] is None for run in runs].index(False) == 12
    with Image.open(tmp_path / "history.png") as picture:
        assert picture.width > 1000


def test_history_without_latencies_says_so(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_bytes(b"")
    result = CliRunner().invoke(cli, ["history", str(tmp_path / "empty.jsonl")])
    assert isinstance(result.exception, HemlineError)
    assert "no matching latency was measured" in str(result.exception)
    assert not (tmp_path / "history.png").exists()
