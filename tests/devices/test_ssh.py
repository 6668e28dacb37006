"""Boards over ssh: a real sshd on a loopback port, cut, filled up, lied to and lied by.

What is fetched for it goes into the user's own cache, so that a second run starts with warm ones.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from loopback_sshd import Board, Cable, NoSshdError, own_python, running_board, trust, write_ssh
from numpy.testing import assert_array_equal
from patience import eventually
from required import missing

from hemline.bench.devices.addresses import open_device
from hemline.bench.devices.emulation.emulator import PROGRAMS, emulator
from hemline.bench.devices.emulation.guest_root import guest_root
from hemline.bench.devices.emulation.raspberry_pis import RASPBERRY_PIS
from hemline.bench.devices.ssh import on_board
from hemline.bench.devices.ssh.board_wheels import board_wheels
from hemline.bench.devices.ssh.connection import Connection
from hemline.bench.devices.ssh.device import SshDevice
from hemline.bench.devices.ssh.store import pushable
from hemline.bench.profiling import onnx_operators
from hemline.bench.profiling.one_operator import Convolution, one_convolution
from hemline.bench.profiling.timing import ModelTimer, TimedModel
from hemline.cli import cli
from hemline.contract.job import HostFacts, Job, JobCell
from hemline.environments.probe_artifact import probe_artifact
from hemline.errors import DeviceError, FetchError, HemlineError, JobError
from hemline.runtime.backends import BACKENDS, version_of
from hemline.user_folders import cache_folder

pytestmark = [pytest.mark.devices, pytest.mark.usefixtures("warm_cache")]

VERSION = version_of(BACKENDS["litert"])
PIXELS = np.arange(40, dtype=np.uint8).reshape(20, 1, 2, 1)
# as probe_artifact tells: left − right, 2 · right
LOGITS = np.stack([PIXELS[:, 0, 0, 0] - 1.0 * PIXELS[:, 0, 1, 0], 2.0 * PIXELS[:, 0, 1, 0]], 1)
LONG = 40_000_000  # invocations: minutes of work, were they not cut


@pytest.fixture
def start_board(tmp_path: Path) -> Iterator[Callable[[str], Board]]:
    """Return a function that starts a board in a folder of this name."""
    with contextlib.ExitStack() as stack:

        def start(name: str) -> Board:
            try:
                return stack.enter_context(running_board(tmp_path / name, cache_folder()))
            except NoSshdError as error:
                missing("ssh", str(error))

        yield start


@pytest.fixture(scope="module")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that all boards but the fresh ones have as theirs, to unpack wheels once."""
    return tmp_path_factory.mktemp("environments")


@pytest.fixture
def fresh_board(start_board: Callable[[str], Board], monkeypatch: pytest.MonkeyPatch) -> Board:
    """Return a board whose key and address the `ssh` on the PATH knows."""
    started = start_board("a board; it's")
    use(started, monkeypatch)
    return started


@pytest.fixture
def board(fresh_board: Board, environments: Path) -> Board:
    """Return a board that soon has the environments of the boards before it."""
    fresh_board.cache.mkdir(parents=True)
    (fresh_board.cache / "environments").symlink_to(environments)
    return fresh_board


def use(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    write_ssh(board, board.folder / "here" / "ssh")
    monkeypatch.setenv("PATH", f"{board.folder}/here{os.pathsep}{os.environ['PATH']}")


@pytest.fixture
def device(board: Board) -> Iterator[SshDevice]:
    with contextlib.closing(SshDevice(board.address)) as opened:
        yield opened


@pytest.fixture
def cable(board: Board) -> Iterator[Cable]:
    with contextlib.closing(Cable(board.port)) as laid:
        yield laid


@pytest.fixture
def far_device(board: Board, cable: Cable) -> Iterator[SshDevice]:
    """Return the board at the end of the cable."""
    with contextlib.closing(SshDevice(board.address_at(cable.port))) as opened:
        yield opened


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return make_job(tmp_path)


def make_job(folder: Path, runtime: str = "litert", invocations: int = 5) -> Job:
    file_format = BACKENDS[runtime].format
    artifact = folder / f"probe.{file_format}"
    artifact.write_bytes(probe_artifact(file_format, runtime))
    np.save(folder / "images.npy", PIXELS)
    return Job(
        id=f"a-{runtime}",
        artifact=str(artifact),
        runtime=runtime,
        images=str(folder / "images.npy"),
        cells=(JobCell(invocations=invocations),),
        want=("outputs", "latencies"),
        arrays=str(folder),
    )


def endless(job: Job) -> Job:
    return replace(job, cells=(JobCell(invocations=LONG),), want=("latencies",))


def board_processes(board: Board) -> list[str]:
    """Return the command lines on this machine that work in the board's folder, sshd aside."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if f"{board.home}/" in line and "sshd" not in line.split(" ")[0]:
                found.append(line)
    return found


def ticks(board: Board) -> int:
    """Return the processor time of what works on the board, in hundredths of a second."""
    spent = 0
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if is_runner(board, path.read_bytes()):
                user, system = (path.parent / "stat").read_text().rpartition(")")[2].split()[11:13]
                spent += int(user) + int(system)
    return spent


def once_it_computes(board: Board, act: Callable[[], object]) -> None:
    """Do something, in a thread, when the next job is well under way on the board."""
    enough = ticks(board) + 20

    def wait() -> None:
        eventually(lambda: ticks(board) >= enough)
        act()

    threading.Thread(target=wait, daemon=True).start()


@pytest.mark.parametrize("runtime", ["litert", "onnxruntime"])
def test_a_board_without_numpy_runs_a_job_and_is_pushed_nothing_the_second_time(
    fresh_board: Board, tmp_path: Path, runtime: str
) -> None:
    board = fresh_board
    job, version = make_job(tmp_path, runtime), version_of(BACKENDS[runtime])
    board.set_python(f'{own_python().removesuffix(chr(34) + "$@" + chr(34))} -S "$@"')
    pushed = []
    for _ in range(2):
        with contextlib.closing(SshDevice(board.address)) as device:
            assert device.survey().numpy is None
            assert device.inspect().host not in (None, HostFacts())
            assert (runtime, version) in device.runtimes()
            with device.open(runtime, version) as runner:
                result = runner.run(job)
            pushed.append(device.store.pushed_bytes)
        assert result.failure is None
        assert (result.id, result.runtime_version) == (job.id, version)
        assert len(result.cells[0].latencies_ns) == 5
        logits = Path(result.cells[0].outputs["logits"])
        assert logits.parent == tmp_path
        assert_array_equal(np.load(logits), LOGITS.astype(np.float32))
        logits.unlink()
    assert pushed[0] > 10_000_000
    assert pushed[1] == 0


def test_nothing_stays_behind(board: Board, device: SshDevice, job: Job) -> None:
    with device.open("litert", VERSION) as runner:
        runner.run(job)
        assert board.sessions()
        assert board_processes(board)
    assert eventually(lambda: not board_processes(board))
    device.close()
    assert eventually(lambda: not board.sessions())
    assert list((board.cache / on_board.WORK).iterdir()) == []
    assert not [each for each in (board.cache / "store").iterdir() if each.name[0] == "."]


def test_a_killed_hemline_leaves_no_connection(board: Board) -> None:
    code = (
        "import sys, time; from hemline.bench.devices.ssh.device import SshDevice; "
        f"SshDevice({board.address!r}).survey(); print('connected', flush=True); time.sleep(600)"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"connected\n"
    assert board.sessions()
    child.kill()
    child.wait()
    child.stdout.close()
    assert eventually(lambda: not board.sessions())


def test_more_runners_than_a_connection_may_have_sessions(
    board: Board, device: SshDevice, job: Job
) -> None:
    """OpenSSH lets ten in by default; ssh then makes a connection of its own for the others."""
    with contextlib.ExitStack() as stack:
        runners = [stack.enter_context(device.open("litert", VERSION)) for _ in range(12)]
        assert all(runner.run(job).failure is None for runner in runners)


def test_a_push_that_was_cut_sends_no_whole_file_again(
    board: Board, cable: Cable, far_device: SshDevice, tmp_path: Path
) -> None:
    size = 8 << 20
    small, large = (tmp_path / name for name in ("small.npy", "large.npy"))
    small.write_bytes(os.urandom(size // 4))
    large.write_bytes(os.urandom(size))
    far_device.survey()
    cable.cut_after = size
    with pytest.raises(DeviceError, match=r"^the connection to .* was lost") as caught:
        far_device.push(pushable(small), pushable(large))
    assert "\n" not in str(caught.value)
    assert eventually(lambda: not board.sessions())
    store = board.cache / "store"
    assert eventually(lambda: [path.name for path in store.iterdir()] == [pushable(small).name])
    before = far_device.store.pushed_bytes
    far_device.push(pushable(small), pushable(large))
    assert far_device.store.pushed_bytes - before == size
    assert {path.read_bytes() for path in store.iterdir()} == {
        small.read_bytes(),
        large.read_bytes(),
    }


def test_a_file_that_is_not_whole_on_the_board_is_sent_anew(
    board: Board, device: SshDevice, tmp_path: Path
) -> None:
    path = tmp_path / "large.npy"
    path.write_bytes(os.urandom(100_000))
    file = pushable(path)
    (board.cache / "store").mkdir()
    (board.cache / "store" / file.name).write_bytes(bytes(50_000))
    device.push(file)
    assert (board.cache / "store" / file.name).read_bytes() == path.read_bytes()
    assert device.store.pushed_bytes == 100_000


def test_a_job_that_was_cut_is_one_line_and_the_next_one_connects_again(
    board: Board, cable: Cable, far_device: SshDevice, job: Job
) -> None:
    with far_device.open("litert", VERSION) as runner:
        runner.run(job)
        assert len(board_processes(board)) == 1
        once_it_computes(board, cable.cut)
        with pytest.raises(DeviceError, match="was lost") as caught:
            runner.run(endless(job))
        assert "\n" not in str(caught.value)
        # what still computed there would disturb the measurements after it
        assert eventually(lambda: not board_processes(board))
        before = far_device.store.pushed_bytes
        assert runner.run(job).failure is None
        assert far_device.store.pushed_bytes == before


def test_work_that_ends_the_board_again_and_again_is_given_up(
    board: Board, device: SshDevice, job: Job
) -> None:
    device.patience_seconds = 60
    board.set_python("kill -9 $PPID; sleep 60")
    with pytest.raises(JobError, match="was lost .*, 3 times during the same work") as caught:
        device.lasting(device.survey)
    board.set_python(own_python())
    assert not isinstance(caught.value, DeviceError)
    assert device.losses == 3
    with device.open("litert", VERSION) as runner:
        assert runner.run(job).failure is None


def test_a_folder_of_no_user_is_one_line(board: Board) -> None:
    lost = SshDevice(board.address, name="pi4", folder="~nosuchuser/hemline")
    with (
        contextlib.closing(lost) as device,
        pytest.raises(HemlineError, match=r"^pi4: ~nosuchuser/hemline: no such user$"),
    ):
        device.survey()


def test_a_board_that_is_gone_says_so(
    board: Board, cable: Cable, far_device: SshDevice, job: Job
) -> None:
    with far_device.open("litert", VERSION) as runner:
        cable.close()
        with pytest.raises(DeviceError, match="was lost|cannot connect|no ssh server"):
            runner.run(job)
        with pytest.raises(DeviceError, match="no ssh server: enable ssh there"):
            runner.run(job)


def test_a_runner_that_dies_is_no_lost_board(board: Board, device: SshDevice, job: Job) -> None:
    with device.open("litert", VERSION) as runner:
        runner.run(job)
        once_it_computes(board, lambda: kill_runner(board))
        with pytest.raises(JobError, match="ended the job runner") as caught:
            runner.run(endless(job))
        assert not isinstance(caught.value, DeviceError)
        assert job.artifact in str(caught.value)
        assert device.connection.opened == 1
        assert runner.run(job).failure is None


def is_runner(board: Board, command: bytes) -> bool:
    return f"{board.cache}/{on_board.WORK}/".encode() in command


def kill_runner(board: Board) -> None:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if is_runner(board, path.read_bytes()):
                os.kill(int(path.parent.name), signal.SIGKILL)


def test_a_job_that_takes_too_long_is_ended_on_the_board(
    board: Board, device: SshDevice, job: Job
) -> None:
    with device.open("litert", VERSION) as runner:
        runner.run(job)
        with pytest.raises(JobError, match=r"returned no result in 0\.5 s"):
            runner.run(endless(job), timeout_seconds=0.5)
        assert eventually(lambda: not board_processes(board))
        assert runner.run(job).failure is None


def test_a_runner_that_was_given_up_before_it_ran_ends_too(
    board: Board, device: SshDevice, job: Job, tmp_path: Path
) -> None:
    """No signal ends it: what would have sent one had gone before Python started."""
    go_on = tmp_path / "go on"
    wait = f"timeout 900 sh -c 'until [ -e \"$0\" ]; do sleep 0.05; done' '{go_on}'"
    board.set_python(f'case "$3" in jobs) {wait};; esac\n{own_python()}')
    with device.open("litert", VERSION) as runner:
        with pytest.raises(JobError, match=r"returned no result in 5 s"):
            # until then the board has got the command, however slow it is
            runner.run(endless(job), timeout_seconds=5)
        assert eventually(lambda: not board.sessions())
        assert board_processes(board)
        go_on.touch()
        assert eventually(lambda: not board_processes(board))


def test_a_failure_inside_a_job_names_the_file_that_is_here(
    device: SshDevice, job: Job, tmp_path: Path
) -> None:
    damaged = bytearray(Path(job.artifact).read_bytes())
    damaged[100] ^= 1
    Path(job.artifact).write_bytes(damaged)
    with device.open("litert", VERSION) as runner:
        result = runner.run(job)
    assert result.failure is not None
    assert result.failure.kind == "file"
    assert result.failure.message.startswith(f"{device.name}: {job.artifact} was modified")


@pytest.mark.parametrize("runtime", ["litert", "onnxruntime"])
def test_models_without_stamps_are_timed_on_the_board(device: SshDevice, runtime: str) -> None:
    content, version = (
        probe_artifact(BACKENDS[runtime].format, runtime),
        version_of(BACKENDS[runtime]),
    )
    with ModelTimer(device, runtime, version) as timer:
        probe = TimedModel(name="probe", content=content)
        first, second = timer.time([probe, replace(probe, name="again")], rounds=3)
        with pytest.raises(JobError, match="^broken: .*rejects the model"):
            timer.time([TimedModel(name="broken", content=b"nothing")])
        assert timer.last is not None
        assert timer.last.host.name == device.host().name
    assert [len(each) for each in first.rounds_ns] == [100, 100, 100]
    assert first.nodes or first.delegate == "CPUExecutionProvider"
    assert 0.1 < first.ns / second.ns < 10


def test_a_board_that_is_lost_while_it_times_is_one_line(
    far_device: SshDevice, cable: Cable
) -> None:
    content = probe_artifact("tflite", "litert")
    with ModelTimer(far_device, "litert", VERSION) as timer:
        timer.time([TimedModel(name="probe", content=content)], rounds=1)
        cable.cut()
        with pytest.raises(DeviceError, match="was lost|cannot be reached|refused"):
            timer.time([TimedModel(name="probe", content=content)])


def test_an_unknown_host_key_is_not_taken_whatever_the_configuration_says(
    board: Board, device: SshDevice
) -> None:
    (board.folder / "known_hosts").write_text("")
    with (board.folder / "ssh.conf").open("a") as configuration:
        configuration.write("StrictHostKeyChecking no\n")
    with pytest.raises(DeviceError, match="is unknown: run `ssh -p .*compare the fingerprint"):
        device.survey()
    assert (board.folder / "known_hosts").read_text() == ""


def test_a_changed_host_key_is_refused(board: Board, device: SshDevice) -> None:
    trust(board.folder, board.folder / "keys" / "user.pub")
    with pytest.raises(DeviceError, match=r"has changed.*ssh-keygen -R"):
        device.survey()


def test_a_board_that_does_not_know_the_key_asks_for_no_password(
    board: Board, device: SshDevice
) -> None:
    (board.folder / "keys" / "user.pub").write_text("")
    with pytest.raises(DeviceError, match="ssh-copy-id -p"):
        device.survey()


def test_no_agent_goes_to_the_board(board: Board, device: SshDevice, tmp_path: Path) -> None:
    socket = str(tmp_path / "agent")
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL)
    try:
        assert eventually(lambda: Path(socket).exists())
        with (board.folder / "ssh.conf").open("a") as configuration:
            configuration.write(f"IdentityAgent {socket}\nForwardAgent yes\n")
        device.survey()
        code, output, _ = device.connection.call(("env",), most_bytes=100_000)
    finally:
        agent.terminate()
        agent.wait()
    assert code == 0
    assert b"SSH_CONNECTION" in output
    assert b"SSH_AUTH_SOCK" not in output


def test_a_python_that_is_too_old_is_refused_with_its_version(
    board: Board, device: SshDevice
) -> None:
    pretend = "import sys; sys.version_info = (3, 8, 10)"
    board.set_python(
        f'flag=$1 c=$2 code=$3; shift 3; {own_python()[:-5]} $flag $c "{pretend}; $code" "$@"'
    )
    with pytest.raises(DeviceError, match=r"has Python 3\.8, but 3\.10 or newer is needed"):
        device.survey()


def test_a_board_without_python_says_what_to_install(board: Board) -> None:
    entry = SshDevice(board.address, name="pi4", python="python3.99")
    with (
        contextlib.closing(entry) as device,
        pytest.raises(DeviceError, match=r"pi4 has no python3\.99: apt-get install python3"),
    ):
        device.survey()


def test_a_board_with_numpy_2_and_tflite_runtime_gets_the_numpy_that_works(
    board: Board, device: SshDevice, tmp_path: Path
) -> None:
    """tflite-runtime with numpy 2 imports, then cannot make an interpreter."""
    version = version_of(BACKENDS["tflite-runtime"])
    system = tmp_path / "system"
    python = own_python().split(" ", 1)[1].rsplit(" ", 1)[0]
    subprocess.run(f"{python} -m venv --without-pip {system}", shell=True, check=True)  # noqa: S602
    (packages,) = system.glob("lib/python3.*/site-packages")
    survey = device.survey()
    for runtime in ("litert", "tflite-runtime"):  # numpy 2 comes with the first one
        for path, _ in board_wheels(runtime, version_of(BACKENDS[runtime]), survey):
            if runtime == "litert" or "tflite" in path.name:
                with zipfile.ZipFile(path) as wheel:
                    wheel.extractall(packages)
    board.set_python(f'exec {system}/bin/python3 "$@"')
    assert str(device.survey().numpy).startswith("2.")
    with device.open("tflite-runtime", version) as runner:
        result = runner.run(make_job(tmp_path, "tflite-runtime"))
    assert result.failure is None
    assert result.numpy_version.startswith("1.")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return the folder of a disk with 2 MB; asked for before a board, so that it sees it too."""
    if os.getuid() != 0:
        pytest.skip("only root may mount a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_is_told_and_stays_no_fuller(
    small_disk: Path, board: Board, tmp_path: Path
) -> None:
    large, small = tmp_path / "large.npy", tmp_path / "small.npy"
    large.write_bytes(os.urandom(3 << 20))
    small.write_bytes(os.urandom(1 << 20))
    pi4 = SshDevice(board.address, name="pi4", folder=str(small_disk / "hemline"))
    with contextlib.closing(pi4) as device:
        with pytest.raises(HemlineError, match=r"pi4 has 2\.1 MB free in .*, 3\.1 MB are needed"):
            device.push(pushable(large))
        device.survey()
        (small_disk / "another's").write_bytes(bytes(3 << 19))  # meanwhile
        free = shutil.disk_usage(small_disk).free
        with pytest.raises(
            HemlineError, match=r"pi4: no space left on device in .*free some space"
        ):
            device.push(pushable(small))
        assert shutil.disk_usage(small_disk).free >= free - (1 << 14)  # two folders
        (small_disk / "another's").unlink()
        device.push(pushable(small))
        assert (small_disk / "hemline" / "store" / pushable(small).name).exists()


def test_two_boards_at_once(
    start_board: Callable[[str], Board],
    board: Board,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both are 127.0.0.1 to this machine; the second one has the first one's keys."""
    other = start_board("other")
    shutil.copy(board.folder / "keys" / "user.pub", other.folder / "keys" / "user.pub")
    kind, key, *_ = (other.folder / "keys" / "host.pub").read_text().split()
    with (board.folder / "known_hosts").open("a") as known:
        known.write(f"[127.0.0.1]:{other.port} {kind} {key}\n")

    def work(place: Board) -> list[bool]:
        folder = tmp_path / str(place.port)
        folder.mkdir()
        with (
            contextlib.closing(SshDevice(place.address)) as device,
            device.open("litert", VERSION) as runner,
        ):
            results = [runner.run(make_job(folder)) for _ in range(5)]
        logits = np.load(results[-1].cells[0].outputs["logits"])
        return [*(r.failure is None for r in results), bool((logits == LOGITS).all())]

    with ThreadPoolExecutor(2) as pool:
        assert all(all(done) for done in pool.map(work, (board, other)))


def test_two_connections_push_the_same_file_at_once(board: Board, tmp_path: Path) -> None:
    path = tmp_path / "large.npy"
    path.write_bytes(os.urandom(20 << 20))

    def work(_: int) -> None:
        with contextlib.closing(SshDevice(board.address)) as device:
            device.push(pushable(path))

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(work, range(3)))
    (whole,) = (board.cache / "store").iterdir()
    assert whole.read_bytes() == path.read_bytes()


LIES = {
    "another shape": "np.save(f'{arrays}/job-1x1-0.npy', np.zeros((20, 3), np.float32))",
    "another type": "np.save(f'{arrays}/job-1x1-0.npy', np.zeros((20, 2), np.float64))",
    "invalid array": "open(f'{arrays}/job-1x1-0.npy', 'wb').write(b'no array')",
    "an object": "np.save(f'{arrays}/job-1x1-0.npy', np.array([[{}, {}]] * 20), allow_pickle=True)",
    "too large": "np.save(f'{arrays}/job-1x1-0.npy', np.zeros((90000, 20), np.float32))",
    "nothing": "pass",
    "cells": "result['cells'] = []",
    "latencies": "result['cells'][0]['latencies_ns'] = [1]",
    "another job": "result['id'] = 'other'",
    "no JSON": "result = {1: set()}",
    "a huge number": "result['import_ns'] = 10 ** 30",
}


@pytest.mark.parametrize("lie", LIES)
def test_a_board_that_lies_is_one_line(
    board: Board, device: SshDevice, job: Job, tmp_path: Path, lie: str
) -> None:
    """A runner in place of ours; whatever path it names for the logits, that is not looked at."""
    launcher = board.folder / "lying.py"
    launcher.write_text(
        f"""
import json, os, sys
sys.path.insert(0, sys.argv[2])
import numpy as np
arrays = sys.argv[-1]
os.makedirs(arrays)
for line in sys.stdin:
    cell = dict(threads=1, batch=1, threads_used=1, delegate='\\x1b[2J', load_ns=1, first_ns=1,
                latencies_ns=[1] * 5, outputs=dict(logits='/etc/passwd'))
    host = dict(machine='x', processor='a\\x1b]0;b\\u202ec', cores=1, memory_bytes=None, system='x',
                governor=None, frequency_khz=None, temperature_millicelsius=None,
                load_average=None, throttled=None)
    result = dict(kind='job result', schema=4, id='job', failure=None, runtime='litert',
                  runtime_version='x', numpy_version='x', python_version='x', import_ns=1,
                  cells=[cell], peak_memory_bytes=1, steady_memory_bytes=None, host=host)
    np.save(f'{{arrays}}/job-1x1-0.npy', np.zeros((20, 2), np.float32))
    {LIES.get(lie, "")}
    print(json.dumps(result) if lie_is_json else 'no json \\x1b[2J', flush=True)
""".replace("lie_is_json", str(lie != "no JSON")).replace("np.save(f'{{", "np.save(f'{")
    )
    real = own_python()
    python = real.split(" ", 1)[1].rsplit(" ", 1)[0]
    board.set_python(
        f'case "$2" in *.py) shift 2; exec {python} -I "{launcher}" "$@";; esac\n{real}'
    )
    if lie == "nothing":
        launcher.write_text(launcher.read_text().replace("np.save(f'{arrays}/job-1x1-0", "str(f'"))
    before = sorted(path.name for path in tmp_path.iterdir())
    with device.open("litert", VERSION) as runner, pytest.raises(JobError) as caught:
        runner.run(job)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1200
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_escape_sequences_of_a_board_do_not_reach_a_terminal(
    board: Board, device: SshDevice
) -> None:
    with contextlib.closing(Connection(device.address)) as connection:
        connection.open()
        script = r"printf '\033[2J\033]0;title\007gone\n' >&2; exit 3"
        code, _, said = connection.call(("sh", "-c", script), most_bytes=10)
    assert code == 3
    assert said.isprintable()
    assert "gone" in said


def test_a_board_that_talks_without_end_is_stopped(device: SshDevice) -> None:
    device.survey()
    with pytest.raises(JobError, match="sent a response of more than 1000 bytes"):
        device.connection.call(("cat", "/dev/zero"), most_bytes=1000)


def test_start_up_files_that_print_disturb_nothing(board: Board, device: SshDevice) -> None:
    real = own_python()
    board.set_python(f"echo 'welcome to the board'\n{real}")
    assert device.survey().platform is not None


def run_hemline(*words: str, code: int = 0) -> str:
    result = CliRunner().invoke(cli, words)
    error = result.exception
    if isinstance(error, HemlineError):
        assert error.exit_code == code, error
        return str(error)
    assert result.exit_code == code, (result.output, error)
    return result.output


@pytest.mark.smoke
def test_a_board_gets_a_name_is_checked_and_used_and_forgotten(
    board: Board, job: Job, tmp_path: Path
) -> None:
    folder = str(board.home / "it's a $(folder); -x")
    address = f"ssh:{board.address}"
    text = run_hemline("device", "add", "pi4", address, "--folder", folder)
    assert f"litert {VERSION}" in text
    assert folder in text
    assert json.loads(run_hemline("device", "list", "--json"))[0]["address"] == address
    assert address in run_hemline("device", "list")
    found = json.loads(run_hemline("device", "check", "pi4", "--json"))
    assert found["host"]["cores"] >= 1
    fits = {(each["runtime"], each["version"]): each["fits"] for each in found["runtimes"]}
    assert fits["litert", VERSION] is True
    with contextlib.closing(open_device("pi4")) as device:
        assert device.name == "pi4"
        with device.open("litert", VERSION) as runner:
            assert runner.run(job).failure is None
    assert Path(folder, "store").is_dir()
    assert "did you mean 'pi4'" in run_hemline("device", "check", "pi5", code=2)
    run_hemline("device", "remove", "pi4")
    assert "no boards in " in run_hemline("device", "list")


def test_a_board_that_cannot_be_reached_gets_no_name(board: Board) -> None:
    error = run_hemline("device", "add", "pi4", "ssh:nobody@127.0.0.1:1", code=1)
    assert "no ssh server" in error
    assert json.loads(run_hemline("device", "list", "--json")) == []


def test_without_a_network_a_board_that_lacks_wheels_says_so(
    board: Board, device: SshDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    with pytest.raises(FetchError, match="the package index cannot be reached"):
        device.open("litert", VERSION)


def be_a_raspberry_pi(board: Board, name: str) -> None:
    """Send the board's python3 through qemu, so that it is of another architecture."""
    pi = RASPBERRY_PIS[name]
    try:
        program, root = emulator(), guest_root(pi)
    except HemlineError as error:
        missing("pi4", str(error))
    command = [
        *program.command(PROGRAMS[pi.architecture]),
        *("-cpu", pi.processor, "-L", str(root.folder)),
        f"{root.folder}/usr/bin/python{root.python}",
    ]
    board.set_python(f'exec {shlex.join(command)} "$@"')


@pytest.mark.parametrize(
    ("name", "platform", "runtime"),
    [
        ("pi4", "aarch64", "litert"),
        ("pi4", "aarch64", "tflite-runtime"),
        ("pi4", "aarch64", "onnxruntime"),
        ("pi-32bit", "armv7l", "tflite-runtime"),
    ],
)
def test_a_raspberry_pi_gets_its_own_wheels_and_gives_the_right_logits(
    board: Board, device: SshDevice, tmp_path: Path, name: str, platform: str, runtime: str
) -> None:
    be_a_raspberry_pi(board, name)
    version = version_of(BACKENDS[runtime])
    assert device.survey().platform == platform
    assert (runtime, version) in device.runtimes()
    with device.open(runtime, version) as runner:
        result = runner.run(make_job(tmp_path, runtime))
    assert result.failure is None
    assert result.host.machine == platform
    assert_array_equal(np.load(result.cells[0].outputs["logits"]), LOGITS.astype(np.float32))


def test_a_raspberry_pi_of_32_bits_says_why_the_others_do_not_fit(
    board: Board, device: SshDevice
) -> None:
    be_a_raspberry_pi(board, "pi-32bit")
    reasons = {fit.runtime: fit.reason for fit in device.fitting()}
    assert reasons["tflite-runtime"] is None
    assert "has no wheel for Python" in str(reasons["litert"])
    assert "has no wheel for Python" in str(reasons["onnxruntime"])


def test_the_graph_that_a_board_executes_is_cut_here_and_timed_there(device: SshDevice) -> None:
    layer = Convolution(height=8, width=8, channels_in=16, channels_out=16, arithmetic="int8")
    model = TimedModel(name="a layer", content=one_convolution(layer, "onnx"))
    version = version_of(BACKENDS["onnxruntime"])
    with ModelTimer(device, "onnxruntime", version) as timer:
        found = onnx_operators.measure_operators(timer, model, False)
    assert found.fusion["QLinearConv"] == 1
    assert sum(cost.macs for cost in found.costs) == layer.macs
    assert all(cost.ns is not None for cost in found.costs)
