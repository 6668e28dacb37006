"""What a machine says of itself, and what follows for rounds: on recorded systems and times."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from recorded_systems import (
    INTEL_LAPTOP,
    PMIC,
    RASPBERRY_PI_5,
    VIRTUAL_MACHINE,
    write_system,
)
from scripted_device import QUIET, Script, loaded

from hemline.activity import ActivityWatch, process_age_ns
from hemline.bench.devices.browser.chromium import tree_seconds
from hemline.bench.measuring.noise import facts_of, judged, quietest
from hemline.bench.measuring.plan import MeasurementPlan, PlannedCell, planned_cells
from hemline.bench.measuring.rounds import measure_cells
from hemline.bench.measuring.subject import Subject
from hemline.bench.measuring.turns import job_of
from hemline.cli import cli
from hemline.contract.job import HostActivity, JobResult
from hemline.contract.manifest import Manifest
from hemline.contract.record import Latency, Memory, Record, RoundFacts
from hemline.contract.schema import from_document, to_document
from hemline.errors import JobError, UsageError
from hemline.power import PowerMeter, rail_watts

PLAN = MeasurementPlan(rounds=5, invocations=3, warmup=0, thorough=True)


def test_load_is_that_of_others_and_the_frequency_that_of_the_own_core(tmp_path: Path) -> None:
    root = write_system(tmp_path, INTEL_LAPTOP)
    watch = ActivityWatch(root)
    later = "cpu  90300 100 30100 700590 800 0 900 10 0 0"
    slower = {"sys/devices/system/cpu/cpu2/cpufreq/scaling_cur_freq": "1200000"}
    write_system(root, {"proc/stat": later, **slower})
    seen = watch.activity()
    assert (seen.elapsed_ticks, seen.stolen_ticks, seen.frequency_khz) == (1000, 10, 1_200_000)
    assert seen.busy_ticks is not None
    assert 0 <= seen.busy_ticks <= 400  # without what this process used itself
    assert seen.throttled is False
    write_system(root, {"sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "13"})
    assert watch.activity().throttled


def test_own_work_is_no_load(tmp_path: Path) -> None:
    root = write_system(tmp_path, INTEL_LAPTOP)
    watch = ActivityWatch(root)
    until = time.process_time() + 0.05
    while time.process_time() < until:
        pass
    write_system(root, {"proc/stat": "cpu  90005 100 30000 700010 800 0 900 0 0 0"})
    assert watch.activity().busy_ticks in (-1, 0)


def test_the_time_of_a_browser_is_that_of_all_its_processes(tmp_path: Path) -> None:
    """Chromium's helpers end by themselves, so that no one counts their time for its parent."""
    own = os.getpid()
    for process, parent in ((own, 1), (3, own), (4, 3), (5, 1)):
        line = f"{process} (a) b) S {parent} {'0 ' * 9}1 2 3 4 {'0 ' * 20}"
        write_system(tmp_path, {f"proc/{process}/stat": line})
    assert tree_seconds(tmp_path) == 3 * 10 / os.sysconf("SC_CLK_TCK")


def test_ticks_that_short_jobs_count_for_nobody_cancel() -> None:
    """A job of 20 ms has two ticks: what is rounded up in one is rounded down in another."""
    quiet = HostActivity(
        elapsed_ticks=4, busy_ticks=1, stolen_ticks=0, frequency_khz=None, throttled=None
    )
    rounds = [quiet, replace(quiet, busy_ticks=-1)] * 10
    assert facts_of(rounds).busy_share == 0.0
    assert facts_of([replace(quiet, busy_ticks=-1)]).busy_share == 0.0


@pytest.mark.parametrize(("flags", "now"), [("0x50000", False), ("0x50005", True), ("x", None)])
def test_a_board_that_was_slowed_down_once_is_not_slowed_down_now(
    flags: str, now: bool | None, tmp_path: Path
) -> None:
    root = write_system(tmp_path, RASPBERRY_PI_5)
    write_system(root, {"sys/devices/platform/soc/soc:firmware/get_throttled": flags})
    seen = ActivityWatch(root).activity()
    assert (seen.throttled, seen.frequency_khz) == (now, 2_400_000)


def test_what_a_system_does_not_show_is_left_out(tmp_path: Path) -> None:
    seen = ActivityWatch(write_system(tmp_path, VIRTUAL_MACHINE)).activity()
    assert (seen.frequency_khz, seen.throttled) == (None, None)
    assert process_age_ns(tmp_path) is None
    nothing = ActivityWatch(tmp_path / "none").activity()
    assert nothing == HostActivity(
        elapsed_ticks=None, busy_ticks=None, stolen_ticks=None, frequency_khz=None, throttled=None
    )
    facts = facts_of([nothing])
    assert facts == RoundFacts(
        busy_share=None, stolen_share=None, frequency_khz=None, throttled=None, disturbed=None
    )
    assert judged([facts]) == (facts,)
    assert PowerMeter(tmp_path, lambda: "").read() is None


def test_the_age_of_a_process_is_known_to_a_tick(tmp_path: Path) -> None:
    if not hasattr(time, "CLOCK_BOOTTIME"):
        pytest.skip("no clock since the start of the machine")
    tick_ns = 10**9 // os.sysconf("SC_CLK_TCK")
    now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    fields = RASPBERRY_PI_5["proc/self/stat"].split(" ")
    fields[fields.index("1000")] = str(now // tick_ns - 100)
    age = process_age_ns(write_system(tmp_path, {"proc/self/stat": " ".join(fields)}))
    assert age is not None
    assert 99.4 * tick_ns <= age <= 100.6 * tick_ns + 10**9


def test_energy_counters_wrap_around(tmp_path: Path) -> None:
    root = write_system(tmp_path, INTEL_LAPTOP)
    meter = PowerMeter(root)
    write_system(root, {"sys/class/powercap/intel-rapl:0/energy_uj": "671149"})
    reading = meter.read()
    assert reading is not None
    assert (reading.source, round(reading.joules, 6)) == ("RAPL", 1.0)
    write_system(root, {"sys/class/powercap/intel-rapl:0/energy_uj": "2671149"})
    assert (again := meter.read()) is not None
    assert round(again.joules, 6) == 3.0


def test_a_boards_power_is_the_sum_over_its_rails() -> None:
    assert rail_watts(PMIC) == pytest.approx(0.1 * 3.3 + 2.0 * 0.85)
    assert rail_watts("error: no such command") is None


def facts(**fields: object) -> RoundFacts:
    quiet: dict[str, object] = {
        "busy_share": 0.01,
        "stolen_share": 0.0,
        "frequency_khz": 2_000_000,
        "throttled": False,
        "disturbed": None,
    }
    return RoundFacts(**{**quiet, **fields})  # type: ignore[arg-type] — fields by name


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, None),
        ({"busy_share": 0.5}, "other processes used 50 % of the processor"),
        ({"stolen_share": 0.2}, "the hypervisor took 20 % of the processor"),
        ({"frequency_khz": 1_200_000}, "it ran at 1.20 GHz of 2.00"),
        ({"throttled": True}, "the processor was slowed down by heat or low voltage"),
        ({"frequency_khz": None, "busy_share": None, "throttled": None}, None),
    ],
)
def test_a_disturbed_round_says_why(fields: dict[str, object], reason: str | None) -> None:
    rounds = judged([facts(), facts(**fields)])
    assert [each.disturbed for each in rounds] == [None, reason]


def test_quiet_rounds_are_kept_and_of_the_others_the_least_busy() -> None:
    shares = (0.5, 0.01, 0.3, 0.02, 0.4)
    rounds = judged([facts(busy_share=share) for share in shares])
    assert quietest(rounds, 2) == (1, 3)
    assert quietest(rounds, 3) == (1, 2, 3)


@pytest.fixture(scope="module")
def cells(bundle: Path, manifest: Manifest) -> Sequence[PlannedCell]:
    subject = Subject(bundle=bundle, manifest=manifest)
    runtimes = tuple((v.runtime, v.version) for v in manifest.artifacts[0].verdicts)[:1]
    return planned_cells(subject, replace(PLAN, runtimes=runtimes))[:2]


def run(
    cells: Sequence[PlannedCell], script: Script, plan: MeasurementPlan = PLAN
) -> tuple[list[Record], list[str]]:
    kept: list[Record] = []
    said: list[str] = []
    try:
        measure_cells(
            cells, script, plan, keep=lambda _, each: kept.extend(each), progress=said.append
        )
    except JobError as error:
        said.append(f"raised: {error}")
    return kept, said


def marks(latency: Latency) -> set[str | None]:
    return {facts.disturbed for facts in latency.facts}


def latencies(records: Sequence[Record]) -> list[Latency]:
    return [record.payload for record in records if isinstance(record.payload, Latency)]


def test_each_turn_has_a_process_and_one_cell_is_measured_as_two(
    cells: Sequence[PlannedCell],
) -> None:
    script = Script()
    records, _ = run(cells, script)
    assert script.opened == script.ended == 3 * PLAN.rounds
    assert [len(each.rounds_ns) for each in latencies(records)] == [5, 5]
    pairs = {record.conditions.pair for record in records}
    (pair,) = pairs
    assert pair is not None
    assert pair.held
    assert not pair.retried
    assert len({record.conditions.run for record in records}) == 1
    memory = next(record.payload for record in records if isinstance(record.payload, Memory))
    assert memory.package_bytes == 5
    assert memory.process_ns == 7


def test_a_disturbed_round_is_measured_again_for_all_cells(cells: Sequence[PlannedCell]) -> None:
    def activity(turn: int) -> HostActivity:
        return replace(QUIET, busy_ticks=60) if turn == 1 else QUIET

    script = Script(activity=activity)
    records, _ = run(cells, script)
    for latency in latencies(records):
        assert len(latency.rounds_ns) == 5
        assert marks(latency) == {None}
    assert script.opened > 3 * PLAN.rounds


def test_on_a_loaded_machine_the_marks_stay(cells: Sequence[PlannedCell]) -> None:
    script = Script(activity=loaded)
    records, _ = run(cells, script)
    assert script.opened == 2 * 3 * PLAN.rounds
    for latency in latencies(records):
        assert marks(latency) == {"other processes used 60 % of the processor"}


def test_equal_things_that_differ_are_measured_once_more_and_then_marked(
    cells: Sequence[PlannedCell],
) -> None:
    """One of the two is always slower here."""
    only, jitter = cells[:1], (0, 3, 1, 4, 2, 0, 1)

    def uneven(_: str, turn: int) -> int:
        round_number, second = divmod(turn, 2)
        swapped = round_number > 0 and round_number % 2 == 0  # each round reverses the order
        return (1100 if second != swapped else 1000) + jitter[round_number % 7]

    records, said = run(only, Script(time_ns=uneven))
    (pair,) = {record.conditions.pair for record in records}
    assert pair is not None
    assert pair.retried
    assert not pair.held
    assert said[-1].startswith("the same cell timed twice differed by ")


def test_a_cell_that_breaks_leaves_the_others_and_the_pair(cells: Sequence[PlannedCell]) -> None:
    broken, fine = cells
    script = Script(breaks=broken.artifact.name)
    records, said = run(cells, script)
    assert {record.cell.artifact for record in records} == {fine.artifact.name}
    assert sum("ended the job runner (signal 9)" in line for line in said) == 2  # said, then raised
    assert script.turns[broken.artifact.name] == 0


def test_time_outs_follow_from_the_plan_and_then_from_the_first_turn(
    cells: Sequence[PlannedCell],
) -> None:
    script = Script()
    run(cells[:1], script, replace(PLAN, invocations=400, warmup=100, batches=(1,)))
    assert script.limits[0] == 120 + 500
    assert 120 <= script.limits[-1] < 180


def test_a_quick_plan_keeps_its_processes_and_checks_nothing(
    cells: Sequence[PlannedCell],
) -> None:
    script = Script(activity=loaded)
    records, _ = run(cells, script, replace(PLAN, thorough=False, rounds=3))
    assert script.opened == script.ended == 2
    assert {record.conditions.pair for record in records} == {None}
    assert all(marks(latency) != {None} for latency in latencies(records))


def test_a_result_of_an_older_runtime_file_has_no_activity(cells: Sequence[PlannedCell]) -> None:
    result = Script().open("litert", "1").run(job_of(cells[0], Path("images.npy"), PLAN, 0))
    document = to_document(result)
    for name in ("process_ns", "package_bytes", "activity", "power"):
        del document[name]
    older = from_document(JobResult, document, where="the result")
    assert older == replace(result, process_ns=None, package_bytes=None, activity=None, power=())


@pytest.mark.parametrize(("cores", "said"), [("-1", "from 0 to 256"), ("1,x", "1,2,4")])
def test_cores_are_numbers_from_0(cores: str, said: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["bench", str(tmp_path), "--cores", cores])
    assert isinstance(result.exception, UsageError)
    assert said in str(result.exception)
