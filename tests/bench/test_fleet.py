"""Several devices at once: real runners of this machine, lost and failing as boards do."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from patience import HANG_SECONDS

from hemline.bench.devices.addresses import address_of, device_names
from hemline.bench.devices.device import Capabilities, Device, installed_runtimes
from hemline.bench.devices.local import LocalDevice
from hemline.bench.measuring.device_bench import BenchRequest
from hemline.bench.measuring.fleet import DeviceResult, bench_fleet, open_fleet
from hemline.bench.measuring.plan import MeasurementPlan, cells_of
from hemline.bench.measuring.subject import Subject
from hemline.bench.records import compared, measured_devices
from hemline.bench.report.table import table_of
from hemline.cli import cli
from hemline.contract.job import Job, JobResult
from hemline.contract.manifest import Manifest
from hemline.contract.record import (
    RECORDS_NAME,
    Accuracy,
    Latency,
    Record,
    append_records,
    read_records,
)
from hemline.errors import (
    DeviceError,
    GateError,
    HemlineError,
    JobError,
    UnknownNameError,
    UsageError,
)
from hemline.remedies import described
from hemline.runtime.process import JobProcess

TIMED = Capabilities(latencies=True)
PLAN = MeasurementPlan(rounds=2, invocations=5, warmup=1)


class Clumsy(JobProcess):
    """A runner that fails when its device says so."""

    def __init__(self, board: Board) -> None:
        self._board = board
        super().__init__()

    def run(self, job: Job, *, timeout_seconds: float = 3600.0) -> JobResult:
        """Run a job, unless something happens."""
        with self._board.counting:
            self._board.jobs += 1
            self._board.busy += 1
            self._board.most_busy = max(self._board.most_busy, self._board.busy)
        try:
            if self._board.jobs > self._board.lost_after:
                raise DeviceError(f"{self._board.name} does not answer: check whether it is on")
            if Path(job.artifact).name == self._board.breaks and "latencies" in job.want:
                raise JobError(f"{job.artifact} ended the job runner (signal 11)")
            return super().run(job, timeout_seconds=timeout_seconds)
        finally:
            with self._board.counting:
                self._board.busy -= 1


@dataclass(kw_only=True)
class Board(Device):
    """A device that runs here, and is lost after some jobs or breaks with one artifact."""

    name: str
    place: str = "elsewhere"
    capabilities: Capabilities = TIMED
    lost_after: int = 10**6
    breaks: str = ""
    jobs: int = 0
    busy: int = 0
    most_busy: int = 0
    counting: threading.Lock = field(default_factory=threading.Lock)

    def runtimes(self) -> tuple[tuple[str, str], ...]:
        """Return LiteRT, to keep the tests short."""
        return installed_runtimes()[:1]

    def open(self, runtime: str, version: str) -> Clumsy:
        """Start a child."""
        del runtime, version
        return Clumsy(self)


@pytest.fixture
def manifest(manifest: Manifest) -> Manifest:
    """Return the manifest with two artifacts only: each costs a child in every test."""
    few = tuple(a for a in manifest.artifacts if a.name in ("int8.tflite", "dynamic.tflite"))
    return replace(manifest, artifacts=few)


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "bundle"))


def subject(copy: Path, manifest: Manifest) -> Subject:
    return Subject(bundle=copy, manifest=manifest)


def run(copy: Path, manifest: Manifest, *boards: Board, resume: bool = False) -> list[DeviceResult]:
    """Bench the boards and return the results."""
    request = BenchRequest(plan=PLAN, resume=resume)
    return list(bench_fleet(boards, [subject(copy, manifest)], request, progress=str, report=str))


def records_of(copy: Path, board: Board) -> list[Record]:
    return [r for r in read_records(copy / RECORDS_NAME) if r.cell.device == board.name]


def latencies(copy: Path, board: Board) -> int:
    return sum(isinstance(record.payload, Latency) for record in records_of(copy, board))


def wanted(manifest: Manifest, board: Board) -> int:
    return len(cells_of(subject(Path(), manifest), replace(PLAN, runtimes=board.runtimes())))


@pytest.mark.slow
def test_every_device_gets_its_own_records(copy: Path, manifest: Manifest) -> None:
    one, two = Board(name="one", place="a"), Board(name="two", place="b")
    assert [result.error for result in run(copy, manifest, one, two)] == [None, None]
    for board in (one, two):
        assert latencies(copy, board) == wanted(manifest, board) == 2
        assert any(isinstance(r.payload, Accuracy) for r in records_of(copy, board))


@pytest.mark.slow
def test_a_device_does_one_job_at_a_time(copy: Path, manifest: Manifest) -> None:
    board = Board(name="one")
    run(copy, manifest, board)
    assert board.most_busy == 1


def test_devices_at_one_place_take_turns_and_others_do_not(
    copy: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    others = threading.Event()

    def work(device: Board, *_: object, **__: object) -> None:
        seen.append(f"{device.name} begins")
        if device.place == "b":
            others.set()
        assert others.wait(HANG_SECONDS), "another place waits for its turn"
        time.sleep(0.1)  # for whoever does not wait for its turn
        seen.append(f"{device.name} ends")

    monkeypatch.setattr("hemline.bench.measuring.fleet.bench_device", work)
    run(
        copy,
        manifest,
        Board(name="one", place="a"),
        Board(name="two", place="a"),
        Board(name="three", place="b"),
    )
    assert [event for event in seen if not event.startswith("three")] == [
        "one begins",
        "one ends",
        "two begins",
        "two ends",
    ]


@pytest.mark.medium
def test_a_lost_device_costs_only_its_own_cells_and_resume_completes_them(
    copy: Path, manifest: Manifest
) -> None:
    good, lost = Board(name="good", place="a"), Board(name="lost", place="b", lost_after=4)
    fine, error = (result.error for result in run(copy, manifest, good, lost))
    assert fine is None
    assert isinstance(error, DeviceError)
    assert str(error) == "lost does not answer: check whether it is on"
    assert latencies(copy, good) == wanted(manifest, good)
    assert latencies(copy, lost) == 0
    assert any(isinstance(r.payload, Accuracy) for r in records_of(copy, lost))

    before, back = records_of(copy, good), Board(name="lost", place="b")
    again = Board(name="good", place="a")
    assert all(o.error is None for o in run(copy, manifest, again, back, resume=True))
    assert again.jobs == 0
    assert records_of(copy, good) == before
    assert latencies(copy, back) == wanted(manifest, back)


@pytest.mark.medium
def test_a_device_that_is_lost_while_it_is_checked_keeps_what_it_answered_before(
    copy: Path, manifest: Manifest
) -> None:
    board = Board(name="one", lost_after=1)
    (result,) = run(copy, manifest, board)
    assert isinstance(result.error, DeviceError)
    assert [type(record.payload) for record in records_of(copy, board)] == [Accuracy]
    assert list(result.records) == records_of(copy, board)


@pytest.mark.slow
def test_a_cell_that_breaks_costs_itself_only(copy: Path, manifest: Manifest) -> None:
    board = Board(name="one", breaks="dynamic.tflite")
    (result,) = run(copy, manifest, board)
    assert isinstance(result.error, JobError)
    assert "dynamic.tflite" in str(result.error)
    assert latencies(copy, board) == wanted(manifest, board) - 1
    mended = Board(name="one")
    run(copy, manifest, mended, resume=True)
    assert latencies(copy, board) == wanted(manifest, board)


class Hurt(JobProcess):
    """A runner whose process gets a signal as soon as it runs one artifact."""

    def __init__(self, by: signal.Signals) -> None:
        self._by = by
        super().__init__()

    def run(self, job: Job, *, timeout_seconds: float = 3600.0) -> JobResult:
        """Run a job."""
        if Path(job.artifact).name == "dynamic.tflite":
            os.kill(self._child.pid, self._by)
            timeout_seconds = min(timeout_seconds, 2.0)
        return super().run(job, timeout_seconds=timeout_seconds)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("by", "said"),
    [(signal.SIGKILL, "ended the job runner"), (signal.SIGSTOP, "returned no result in 2 s")],
)
def test_a_cell_that_is_killed_or_hangs_says_so_in_a_line_and_the_rest_go_on(
    by: signal.Signals, said: str, copy: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LocalDevice, "open", lambda *_: Hurt(by))
    lines: list[str] = []
    request = BenchRequest(plan=replace(PLAN, rounds=3, thorough=True))
    subjects = [subject(copy, manifest)]
    (result,) = bench_fleet([LocalDevice()], subjects, request, progress=lines.append, report=str)
    timed = [r.cell.artifact for r in result.records if isinstance(r.payload, Latency)]
    assert set(timed) == {"int8.tflite"}
    failed = [line for line in lines if line.startswith("dynamic.tflite in")]
    assert failed
    assert all("could not be measured: " in line and said in line for line in failed)
    assert isinstance(result.error, JobError)
    assert said in str(result.error)


@pytest.mark.slow
def test_resume_measures_again_what_had_fewer_rounds(copy: Path, manifest: Manifest) -> None:
    board = Board(name="one")
    run(copy, manifest, board)
    jobs = board.jobs
    request = BenchRequest(plan=replace(PLAN, rounds=3), resume=True)
    bench_fleet([board], [subject(copy, manifest)], request, progress=str, report=str)
    assert board.jobs > jobs


@pytest.mark.medium
def test_an_artifact_that_is_wrong_there_is_a_gate_and_gets_no_latency(
    copy: Path, manifest: Manifest
) -> None:
    artifacts = [
        replace(artifact, tolerance=1e-30) if artifact.name == "dynamic.tflite" else artifact
        for artifact in manifest.artifacts
    ]
    board = Board(name="one")
    (result,) = run(copy, replace(manifest, artifacts=tuple(artifacts)), board)
    assert isinstance(result.error, GateError)
    assert "failed on one: dynamic.tflite in litert: logits differ by up to" in str(result.error)
    timed = {r.cell.artifact for r in records_of(copy, board) if isinstance(r.payload, Latency)}
    assert "dynamic.tflite" not in timed
    assert "int8.tflite" in timed


@pytest.mark.medium
def test_what_is_wrong_matters_more_than_what_was_not_measured(
    copy: Path, manifest: Manifest
) -> None:
    artifacts = [
        replace(artifact, tolerance=1e-30) if artifact.name == "dynamic.tflite" else artifact
        for artifact in manifest.artifacts
    ]
    board = Board(name="one", breaks="int8.tflite")
    (result,) = run(copy, replace(manifest, artifacts=tuple(artifacts)), board)
    assert isinstance(result.error, GateError)
    assert {record.cell.artifact for record in result.records} == {"int8.tflite"}


@pytest.mark.slow
def test_a_device_that_was_lost_has_nothing_of_earlier_runs_or_other_processors(
    copy: Path, manifest: Manifest
) -> None:
    board = Board(name="one")
    run(copy, manifest, board)
    other = [
        replace(
            r,
            cell=replace(r.cell, host="another one, 2 cores, Linux"),
            conditions=replace(
                r.conditions, host=replace(r.conditions.host, processor="another one")
            ),
        )
        for r in read_records(copy / RECORDS_NAME)
    ]
    (copy / RECORDS_NAME).unlink()
    append_records(copy / RECORDS_NAME, other)
    lost = Board(name="one", lost_after=2)
    (result,) = run(copy, manifest, lost, resume=True)
    assert isinstance(result.error, DeviceError)
    assert not any(isinstance(record.payload, Latency) for record in result.records)


@pytest.mark.slow
def test_an_interrupt_ends_all_devices_after_the_job_under_way(
    copy: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hemline.bench.measuring.fleet.as_completed", interrupted)
    boards = [Board(name="one", place="a"), Board(name="two", place="b")]
    request = BenchRequest(plan=replace(PLAN, rounds=10_000))
    with pytest.raises(KeyboardInterrupt):
        bench_fleet(boards, [subject(copy, manifest)], request, progress=str, report=str)
    assert all(board.jobs < 10_000 for board in boards)


def interrupted(*_: object) -> None:
    time.sleep(1)
    raise KeyboardInterrupt


@pytest.mark.medium
def test_time_that_is_not_real_is_never_a_latency(copy: Path, manifest: Manifest) -> None:
    board = Board(name="one", capabilities=Capabilities())
    run(copy, manifest, board)
    assert records_of(copy, board)
    assert latencies(copy, board) == 0


@pytest.mark.medium
def test_what_was_measured_on_a_device_is_in_its_table(copy: Path, manifest: Manifest) -> None:
    one, two = Board(name="one", place="a"), Board(name="two", place="b", lost_after=0)
    results = run(copy, manifest, one, two)
    assert [bool(each.records) for each in results] == [True, False]
    subjects = [subject(copy, manifest)]
    assert measured_devices(subjects) == ("local", "one")
    there = compared(subjects, "one")
    table = table_of(subjects, [there])
    assert [name for name in table.columns if name.startswith("litert")]
    assert all(row[-1].endswith(" µs") for row in table.rows if row[0].endswith("tflite"))
    with pytest.raises(UnknownNameError):
        compared(subjects, "two")
    with pytest.raises(UsageError, match="nothing was measured on emulated:pi4") as caught:
        compared(subjects, "emulated:pi4")
    assert described(caught.value).endswith(f"hemline bench {copy} --device emulated:pi4` first")


def test_a_name_that_is_wrong_stops_everything_before_it_begins() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'local'"):
        open_fleet("local,lokal", fallback=False)
    for names in ("local,local", "local,local:"):
        with pytest.raises(UsageError, match="'local' is named twice"):
            open_fleet(names, fallback=False)


def test_a_fleet_file_names_boards_for_every_command(
    copy: Path, manifest: Manifest, tmp_path: Path
) -> None:
    fleet = tmp_path / "fleet.toml"
    fleet.write_text('[pi1]\naddress = "ssh:pi@one"\n[pi2]\naddress = "ssh:pi@two:2222"\n')
    names = device_names(f"local, @{fleet},tflm")
    assert names == ("local", "pi1", "pi2", "tflm")
    devices, failed = open_fleet(names[:3])
    assert [device.name for device in devices] == ["local", "pi1", "pi2"]
    assert [device.place for device in devices[1:]] == ["one", "[two]:2222"]
    assert failed == ()
    assert address_of(names[1]) == "ssh:pi@one"
    with pytest.raises(UnknownNameError):
        address_of("pi1")
    with pytest.raises(UsageError, match="nothing was measured on pi2") as caught:
        compared([subject(copy, manifest)], names[2])
    assert described(caught.value).endswith(f"hemline bench {copy} --device @{fleet}` first")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "fleet.toml does not exist"),
        ("", "fleet.toml names no boards"),
        ("[pi1", "fleet.toml is not valid TOML"),
        ("[pi1]\n", "pi1 must be a table with an address"),
        ('[gpu]\naddress = "ssh:pi@one"\n', "gpu is a kind of device: choose another name"),
        ('[local-1]\naddress = "local"\n', "'local' is not an address"),
        ('[pi1]\naddress = "ssh:pi@one"\n', "'pi1' is named twice among the devices"),
    ],
)
def test_a_fleet_file_that_is_wrong_is_one_line(
    text: str | None, said: str, tmp_path: Path
) -> None:
    fleet = tmp_path / "fleet.toml"
    if text is not None:
        fleet.write_text(text)
    result = CliRunner().invoke(cli, ["bench", str(tmp_path), "--device", f"pi1,@{fleet}"])
    assert isinstance(result.exception, HemlineError)
    assert said in str(result.exception)
    assert "\n" not in described(result.exception)


def test_each_device_has_a_row_that_tells_how_it_ended() -> None:
    errors = (
        None,
        GateError("failed"),
        JobError("ended"),
        DeviceError("is gone"),
        DeviceError("is off"),
        HemlineError("no artifact"),
    )
    results = [
        DeviceResult(device=f"pi{at}", error=error, losses=at == 3, seconds=61)
        for at, error in enumerate(errors)
    ]
    assert [each.row[1] for each in results] == [
        "done",
        "failed",
        "incomplete",
        "lost",
        "not reached",
        "incomplete",
    ]
    full = replace(results[0], checks=(3, 4), cells=5, losses=2)
    assert full.row == ("pi0", "done", "3 of 4", "0 of 5", "2 ×", "61 s", "")


@pytest.mark.medium
def test_the_command_says_what_failed_and_shows_the_rest(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    devices = f"local,tflm:{tmp_path / 'empty'}"
    result = CliRunner().invoke(cli, ["bench", str(copy), "--rounds", "1", "--device", devices])
    assert result.exit_code == 1
    assert "error: tflm: tflite-micro cannot be used" in result.output
    rows = [line.split() for line in result.stdout.splitlines()]
    assert rows[0] == ["device", "status", "measured", "time", "fastest"]
    assert [row[:2] for row in rows[2:4]] == [["local", "done"], ["tflm", "incomplete"]]
    assert rows[5][0] == "artifact"
    assert [row[0] for row in rows[7:]].count("int8.tflite") == 1


@pytest.mark.slow
def test_records_of_a_file_that_was_exported_anew_do_not_count(
    copy: Path, manifest: Manifest
) -> None:
    board = Board(name="one")
    run(copy, manifest, board)
    older = [
        replace(r, cell=replace(r.cell, artifact_sha256="0" * 64))
        for r in read_records(copy / RECORDS_NAME)
    ]
    (copy / RECORDS_NAME).unlink()
    append_records(copy / RECORDS_NAME, older)
    jobs = board.jobs
    run(copy, manifest, board, resume=True)
    assert board.jobs > jobs
