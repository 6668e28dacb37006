"""Jobs: one protocol, real child processes, failures that come back as results."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hemline import host
from hemline.child_process import StderrTail
from hemline.contract.evaluation_set import load_split
from hemline.contract.job import Job, JobCell, JobResult
from hemline.contract.manifest import Manifest
from hemline.contract.schema import from_document, to_document
from hemline.errors import JobError
from hemline.runtime import Classifier
from hemline.runtime.job import JobRunner
from hemline.runtime.process import JobProcess, local_command


@pytest.fixture
def job(bundle: Path, tmp_path: Path) -> Job:
    return Job(
        id="one",
        artifact=str(bundle / "int8.tflite"),
        runtime="litert",
        images=str(bundle / "evaluation" / "test-images.npy"),
        count=20,
        cells=(JobCell(), JobCell(batch=8)),
        want=("outputs", "latencies"),
        arrays=str(tmp_path),
    )


def test_a_child_gives_what_the_classifier_gives(
    job: Job, bundle: Path, manifest: Manifest
) -> None:
    with JobProcess() as process:
        result = process.run(job)
    assert result.failure is None
    split = load_split(bundle, "test", manifest.evaluation_sha256)
    with Classifier.load(bundle / "int8.tflite") as classifier:
        expected = classifier.logits(split.images[:20])
    for cell in result.cells:
        np.testing.assert_array_equal(np.load(cell.outputs["logits"]), expected)
    single, batched = result.cells
    assert (len(single.latencies_ns), len(batched.latencies_ns)) == (20, 3)
    assert min(single.latencies_ns) > 0
    assert single.delegate == "XNNPACK"
    assert result.peak_memory_bytes > 10_000_000
    assert result.host.cores >= 1


def test_a_session_stays_open_between_jobs(job: Job) -> None:
    with JobProcess() as process:
        first, second = process.run(job), process.run(replace(job, id="two"))
    assert first.cells[0].load_ns > 0
    assert second.cells[0].load_ns == 0
    assert second.import_ns == first.import_ns > 0


def test_invocations_cycle_over_the_images(job: Job) -> None:
    cell = JobCell(invocations=45, warmup=3)
    result = JobRunner().run(replace(job, cells=(cell,), want=("latencies",)))
    assert len(result.cells[0].latencies_ns) == 45
    assert result.cells[0].outputs == {}


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"artifact": "nothing.tflite"}, "file", "cannot read nothing.tflite"),
        ({"images": "nothing.npy"}, "data", "cannot read the images nothing.npy"),
        ({"first": 10_000}, "data", "has no image 10000"),
        ({"arrays": None}, "data", "has no folder"),
        ({"runtime": "litter"}, "job", "did you mean 'litert'"),
        ({"outputs": ("logit",)}, "job", "unknown output 'logit': did you mean 'logits'?"),
        ({"runtime": "onnxruntime"}, "unsupported", "does not support onnxruntime"),
    ],
)
def test_what_goes_wrong_comes_back_in_the_result(
    job: Job, changes: dict[str, object], kind: str, message: str
) -> None:
    result = JobRunner().run(replace(job, **changes))  # type: ignore[arg-type]
    assert result.failure is not None
    assert result.failure.kind == kind
    assert message in result.failure.message
    assert result.cells == ()


def test_a_child_goes_on_after_a_failed_job(job: Job) -> None:
    with JobProcess() as process:
        assert process.run(replace(job, artifact="nothing")).failure is not None
        assert process.run(job).failure is None


def test_a_child_that_dies_is_told_with_its_last_words(job: Job) -> None:
    code = "import sys; sys.stdin.readline(); print('so long', file=sys.stderr); sys.exit(7)"
    with (
        JobProcess((sys.executable, "-c", code)) as process,
        pytest.raises(JobError, match=r"ended the job runner \(exit code 7\): so long"),
    ):
        process.run(job)


def test_a_child_killed_by_a_signal_is_told(job: Job) -> None:
    code = "import os, sys; sys.stdin.readline(); os.kill(os.getpid(), 11)"
    with (
        JobProcess((sys.executable, "-c", code)) as process,
        pytest.raises(JobError, match="signal 11"),
    ):
        process.run(job)


def test_a_child_that_answers_nonsense_is_told(job: Job) -> None:
    code = "import sys; sys.stdin.readline(); print('{\"kind\": 1}', flush=True); sys.stdin.read()"
    with (
        JobProcess((sys.executable, "-c", code)) as process,
        pytest.raises(JobError, match="no valid result"),
    ):
        process.run(job)


def test_a_child_that_is_silent_is_ended_after_the_time_out(job: Job) -> None:
    code = "import sys; sys.stdin.read()"
    with (
        JobProcess((sys.executable, "-c", code)) as process,
        pytest.raises(JobError, match=r"no result in 0\.2 s"),
    ):
        process.run(job, timeout_seconds=0.2)


def test_a_child_that_says_too_much_has_to_wait_and_leaves_no_thread(
    job: Job, tmp_path: Path
) -> None:
    before = set(threading.enumerate())
    flood = "for _ in range(20_000): sys.stdout.write('x' * 999 + chr(10))"
    code = f"import pathlib, sys\n{flood}\npathlib.Path({str(tmp_path / 'done')!r}).touch()"
    with (
        pytest.raises(JobError, match="no valid result"),
        JobProcess((sys.executable, "-c", code)) as process,
    ):
        process.run(job)
    assert not (tmp_path / "done").exists()
    for thread in set(threading.enumerate()) - before:
        thread.join(5.0)
        assert not thread.is_alive()


def test_of_the_complaints_of_a_child_only_the_last_are_kept(job: Job) -> None:
    flood = "sys.stderr.write('x' * 10_000_000 + '\\nso long\\n')"
    command = (sys.executable, "-c", f"import sys; sys.stdin.readline(); {flood}; sys.exit(7)")
    with (
        JobProcess(command) as process,
        pytest.raises(JobError, match=r"\(exit code 7\): so long"),
    ):
        process.run(job)
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as child:
        stderr = StderrTail(child.stderr)
        child.wait()
        kept = stderr.text()
    assert len(kept) == 1 << 16
    assert kept.endswith("x\nso long\n")


def test_a_command_that_is_not_there_is_told() -> None:
    with pytest.raises(JobError, match="cannot start the job runner"):
        JobProcess(("/nowhere/python3",))


def test_native_output_does_not_disturb_the_protocol(job: Job) -> None:
    """Each line on standard output is one result, also with a runtime that prints."""
    line = json.dumps(to_document(job))
    done = subprocess.run(
        local_command(), input=f"{line}\n\n{line}\n", capture_output=True, text=True, check=True
    )
    results = [
        from_document(JobResult, json.loads(each), where="line")
        for each in done.stdout.splitlines()
    ]
    assert [result.failure for result in results] == [None, None]


def test_a_job_that_is_no_job_ends_the_runner_with_one_line() -> None:
    done = subprocess.run(
        local_command(), input='{"kind": "joke"}\n', capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: the job: kind must be 'job'")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("cpuinfo", "processor"),
    [
        ("model name\t: AMD EPYC\nflags\t\t: fpu avx avx2 sha_ni\n", "AMD EPYC (AVX2)"),
        (
            "model name\t: AMD EPYC\nflags\t\t: avx avx2 avx512f avx512_vnni\n\n"
            "model name\t: another\nflags\t\t: amx_int8\n",
            "AMD EPYC (AVX-512 VNNI)",
        ),
        ("model name\t: Old\nflags\t\t: sse2\n", "Old"),
        ("Features\t: fp asimd\n\nModel\t\t: Raspberry Pi 4\n", "Raspberry Pi 4"),
    ],
)
def test_a_processor_is_told_with_what_decides_its_speed(
    cpuinfo: str, processor: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Virtual machines with and without fast 8-bit instructions call themselves alike."""
    path = tmp_path / "cpuinfo"
    path.write_text(cpuinfo)
    monkeypatch.setattr(host, "_CPUINFO", path)
    monkeypatch.setattr(host, "_BOARD", tmp_path / "none")
    assert host.host_facts().processor == processor


def test_a_system_without_affinity_has_all_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """As macOS and Windows are."""
    monkeypatch.delattr("os.sched_getaffinity")
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    assert host.cores() == 3
    monkeypatch.setattr("os.cpu_count", lambda: None)
    assert host.cores() == 1
