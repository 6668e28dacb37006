"""A fleet of boards over ssh, in a network that delays, cuts and stalls, with boards that restart.

Each board is an sshd on a loopback port with a home of its own; jobs, wheels and results go the way
that they go to a Raspberry Pi.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage

import pytest
from click.testing import CliRunner, Result
from faulty_network import Fault, Way, laid
from loopback_sshd import Board, NoSshdError, let_in, running_board, write_ssh
from required import missing

from hemline.bench.devices.addresses import device_names, open_device
from hemline.bench.devices.registry import Entry, add_entry
from hemline.cli import cli
from hemline.contract import schema
from hemline.contract.manifest import MANIFEST_NAME, read_manifest
from hemline.contract.record import RECORDS_NAME, Accuracy, Latency, read_records
from hemline.user_folders import cache_folder

pytestmark = [pytest.mark.devices, pytest.mark.usefixtures("warm_cache")]

ROUNDS = 3
INVOCATIONS = 100


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """Boards, the ways to them, and the file that names them."""

    boards: tuple[Board, ...]
    ways: tuple[Way, ...]
    file: Path

    @property
    def names(self) -> list[str]:
        return [board.folder.name for board in self.boards]


@pytest.fixture
def start_fleet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[Sequence[Way]], Fleet]]:
    """Return a function that starts a board at the end of each way; they unpack wheels once."""
    with contextlib.ExitStack() as stack:

        def start(ways: Sequence[Way]) -> Fleet:
            folders = [tmp_path / "fleet" / f"pi{at:02}" for at in range(1, len(ways) + 1)]
            try:
                boards = [stack.enter_context(running_board(f, cache_folder())) for f in folders]
            except NoSshdError as error:
                missing("ssh", str(error))
            for way, board in zip(ways, boards, strict=True):
                way.to = board.port
            stack.enter_context(laid(ways))
            write_ssh(boards[0], tmp_path / "here" / "ssh")
            monkeypatch.setenv("PATH", f"{tmp_path}/here{os.pathsep}{os.environ['PATH']}")
            (tmp_path / "environments").mkdir()
            for board, way in zip(boards, ways, strict=True):
                let_in(board, boards[0], way.port)
                board.cache.mkdir(parents=True)
                (board.cache / "environments").symlink_to(tmp_path / "environments")
                address = f"ssh:{board.address_at(way.port)}"
                add_entry(tmp_path / "fleet.toml", Entry(name=board.folder.name, address=address))
            return Fleet(boards=tuple(boards), ways=tuple(ways), file=tmp_path / "fleet.toml")

        yield start


@pytest.fixture
def small(bundle: Path, tmp_path: Path) -> Path:
    """Return a bundle with one file."""
    copy = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    manifest = read_manifest(copy)
    few = tuple(each for each in manifest.artifacts if each.name == "int8.tflite")
    schema.save(copy / MANIFEST_NAME, replace(manifest, artifacts=few))
    return copy


def unpack_once(fleet: Fleet) -> None:
    """Have the boards unpack the wheels of all runtimes into their common folder."""
    with contextlib.closing(open_device(device_names(f"@{fleet.file}")[0])) as device:
        for runtime, version in device.runtimes():
            device.open(runtime, version).close()


def bench(bundle: Path, *words: object) -> Result:
    return CliRunner().invoke(cli, ["bench", str(bundle), "--quick", *map(str, words)])


def rows_of(result: Result, names: Sequence[str]) -> dict[str, list[str]]:
    """Return the words of each board's row in the table of what the boards did."""
    lines = (line.split() for line in result.stdout.splitlines())
    return {line[0]: line[1:] for line in lines if line and line[0] in names}


def assert_nothing_is_lost(bundle: Path, names: Sequence[str], runtimes: int) -> None:
    records = read_records(bundle / RECORDS_NAME)
    for name in names:
        mine = [record.payload for record in records if record.cell.device == name]
        timed = [payload for payload in mine if isinstance(payload, Latency)]
        assert [len(each.rounds_ns) for each in timed] == [ROUNDS] * runtimes
        assert all(len(each) == INVOCATIONS for once in timed for each in once.rounds_ns)
        assert sum(isinstance(payload, Accuracy) for payload in mine) == runtimes


def test_four_boards_are_measured_in_spite_of_delays_losses_and_restarts(
    start_fleet: Callable[[Sequence[Way]], Fleet], small: Path
) -> None:
    ways = [
        Way(to=0),
        Way(to=0, delay_seconds=0.03),
        Way(to=0, faults=[Fault("cut", 1_000), Fault("cut", 150_000), Fault("cut", 250_000)]),
        Way(to=0, faults=[Fault("reboot", 200_000, seconds=3)]),
    ]
    fleet = start_fleet(ways)
    result = bench(small, "--device", f"@{fleet.file}")
    assert result.exit_code == 0, (result.output, result.exception)
    assert_nothing_is_lost(small, fleet.names, 2)
    assert not any(way.faults for way in ways)
    rows = rows_of(result, fleet.names)
    assert {row[0] for row in rows.values()} == {"done"}
    assert [rows[name][7:9] for name in fleet.names[2:]] == [["3", "×"], ["1", "×"]]
    assert all("×" not in rows[name] for name in fleet.names[:2])


def test_a_board_that_does_not_come_back_keeps_what_it_gave_and_costs_no_other(
    start_fleet: Callable[[Sequence[Way]], Fleet], small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes with the artifact in its second runtime."""
    monkeypatch.setattr("hemline.bench.measuring.fleet.PATIENCE_SECONDS", 1.0)
    gone = Way(to=0, faults=[Fault("reboot", 100_000, seconds=3600)])
    fleet = start_fleet([Way(to=0), gone])
    result = bench(small, "--device", f"@{fleet.file}")
    assert result.exit_code == 1, (result.output, result.exception)
    assert_nothing_is_lost(small, fleet.names[:1], 2)
    rows = rows_of(result, fleet.names)
    assert (rows["pi01"][0], rows["pi02"][0]) == ("done", "lost")
    assert "error: pi02: " in result.stderr
    assert "it was lost for 1 s" in result.stderr


FAULTS = (
    {},
    {"delay_seconds": 0.03},
    {"faults": [Fault("cut", 1_000)]},
    {"faults": [Fault("cut", 40_000), Fault("cut", 140_000)]},
    {"faults": [Fault("reboot", 120_000, seconds=5)]},
    {"faults": [Fault("stall", 130_000, seconds=60)]},
    {"delay_seconds": 0.1, "faults": [Fault("cut", 100_000)]},
    {"faults": [Fault("cut", 30_000), Fault("reboot", 60_000, seconds=20)]},
)


@pytest.mark.slow
def test_forty_boards_lose_nothing(
    start_fleet: Callable[[Sequence[Way]], Fleet], small: Path
) -> None:
    fleet = start_fleet([Way(to=0, **deepcopy(FAULTS[at % len(FAULTS)])) for at in range(40)])
    unpack_once(fleet)
    for way in fleet.ways:
        way.sent = 0
    used = processor_seconds()
    result = bench(small, "--device", f"@{fleet.file}")
    print(result.output, f"{processor_seconds() - used:.1f} s of this machine's processor")
    assert result.exit_code == 0, (result.output, result.exception)
    assert_nothing_is_lost(small, fleet.names, 2)
    rows = rows_of(result, fleet.names)
    assert len(rows) == 40
    assert {row[0] for row in rows.values()} == {"done"}
    assert not any(way.faults for way in fleet.ways)
    for name, way in zip(fleet.names, fleet.ways, strict=True):
        assert ("×" in rows[name]) == bool(way.happened), rows[name]


def processor_seconds() -> float:
    """Return what this process and its ended children used; the boards' are not among them."""
    return sum(sum(getrusage(who)[:2]) for who in (RUSAGE_SELF, RUSAGE_CHILDREN))
