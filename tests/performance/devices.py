"""What a board costs: jobs over ssh against the same jobs by hand, a second run, an emulated check.

The board is an sshd of this machine on a loopback port (tests/devices/loopback_sshd.py). By hand
means: the one-file runtime started there with the same environment, without Hemline in between.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from measurement import BUNDLE, ROOT, Result, interleaved, median_ratio, report

sys.path.insert(0, str(ROOT / "tests" / "devices"))
from loopback_sshd import running_board, write_ssh

from hemline.bench.devices.checking import check
from hemline.bench.devices.emulation.device import EmulatedDevice
from hemline.bench.devices.ssh.device import SshDevice
from hemline.contract.job import Job, JobCell, JobResult
from hemline.contract.manifest import read_manifest
from hemline.runtime.backends import BACKENDS, version_of
from hemline.runtime.one_file import NAME, write_runtime_file
from hemline.runtime.process import JobProcess
from hemline.user_folders import cache_folder

_ROUNDS, _INVOCATIONS = 41, 400
_SLACK, _ADDED_SECONDS, _EMULATED_SECONDS = 0.03, 1.0, 10.0
_VERSION = version_of(BACKENDS["litert"])


def job() -> Job:
    """Return one round of int8.tflite."""
    return Job(
        id="round",
        artifact=str(BUNDLE / "int8.tflite"),
        runtime="litert",
        images=str(BUNDLE / "evaluation" / "test-images.npy"),
        count=256,
        cells=(JobCell(warmup=20, invocations=_INVOCATIONS),),
        want=("latencies",),
    )


def median_us(result: JobResult) -> float:
    """Return the median latency of a result."""
    if result.failure is not None:
        raise RuntimeError(result.failure.message)
    return statistics.median(result.cells[0].latencies_ns) / 1000


def by_hand(device: SshDevice, runtime_file: Path) -> JobProcess:
    """Start the one-file runtime with the packages that lie on the board."""
    (packages,) = (Path(device.store.known.folder) / "environments").iterdir()
    code = (
        "import runpy, sys; sys.path.insert(0, sys.argv[1]); sys.argv = [sys.argv[2], 'jobs']\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    python = Path(sys.base_prefix) / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    return JobProcess((str(python), "-I", "-c", code, str(packages), str(runtime_file)))


def equal_latencies(device: SshDevice, runtime_file: Path) -> Result:
    """Compare the medians of rounds over ssh with those of rounds by hand, in turn."""
    with device.open("litert", _VERSION) as there, by_hand(device, runtime_file) as hand:
        there.run(job()), hand.run(job())
        a, b = interleaved(
            lambda: median_us(there.run(job())), lambda: median_us(hand.run(job())), _ROUNDS
        )
    ratio = median_ratio(a, b)
    return Result(
        claim=f"latency over ssh against the same job by hand: within {_SLACK:.0%}",
        value=ratio,
        unit="×",
        met=abs(ratio - 1) <= _SLACK,
        detail=f"{statistics.median(a):.2f} µs, by hand {statistics.median(b):.2f} µs",
    )


def second_run(address: str, runtime_file: Path, known: SshDevice) -> Result:
    """Measure what a new connection to a known board adds to a job, and count what it pushes."""
    added, pushed = [], 0
    for _ in range(7):
        started = time.perf_counter()
        with by_hand(known, runtime_file) as hand:
            hand.run(job())
        alone = time.perf_counter() - started
        device = SshDevice(address)
        started = time.perf_counter()
        with device.open("litert", _VERSION) as there:
            there.run(job())
        added.append(time.perf_counter() - started - alone)
        pushed += device.store.pushed_bytes
        device.close()
    median = statistics.median(added)
    return Result(
        claim=f"a second run on a known board: nothing pushed, at most {_ADDED_SECONDS:g} s added",
        value=median,
        unit="s",
        met=median <= _ADDED_SECONDS and pushed == 0,
        detail=f"{min(added):.2f} to {max(added):.2f} s, {pushed} bytes pushed",
    )


def emulated_check() -> Result:
    """Measure a check of int8.tflite on an emulated board, with warm caches."""
    manifest, taken = read_manifest(BUNDLE), []
    for _ in range(4):
        started = time.perf_counter()
        check(
            BUNDLE,
            manifest,
            EmulatedDevice("pi4"),
            only=lambda artifact, runtime, _: (artifact.name, runtime) == ("int8.tflite", "litert"),
            report=str,
        )
        taken.append(time.perf_counter() - started)
    warm = statistics.median(taken[1:])
    return Result(
        claim="emulated pi4, int8.tflite in litert, 100 images and the count: at most "
        f"{_EMULATED_SECONDS:g} s",
        value=warm,
        unit="s",
        met=warm <= _EMULATED_SECONDS,
        detail=f"{min(taken[1:]):.1f} to {max(taken[1:]):.1f} s with warm caches",
    )


def main() -> None:
    """Measure everything and write the results."""
    with tempfile.TemporaryDirectory(prefix="hemline-") as folder:
        place = Path(folder)
        with running_board(place / "board", cache_folder()) as board:
            write_ssh(board, place / "bin" / "ssh")
            os.environ["PATH"] = f"{place / 'bin'}{os.pathsep}{os.environ['PATH']}"
            runtime_file = place / NAME
            write_runtime_file(runtime_file)
            device = SshDevice(board.address)
            with device.open("litert", _VERSION) as runner:
                runner.run(job())  # pushes everything
            results = [
                equal_latencies(device, runtime_file),
                second_run(board.address, runtime_file, device),
            ]
            device.close()
        report("devices", [*results, emulated_check()])


if __name__ == "__main__":
    main()
