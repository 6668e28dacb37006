"""Settings of a session and of its process: applied, or refused in one line."""

from __future__ import annotations

import ctypes
import dataclasses
import os
import platform
from pathlib import Path

import numpy as np
import pytest

from hemline import host
from hemline.contract.job import Job, JobCell, JobResult
from hemline.contract.settings import Settings
from hemline.errors import BackendError
from hemline.runtime import process_settings
from hemline.runtime.job import JobRunner
from hemline.runtime.process import JobProcess
from hemline.runtime.sessions.delegates import interpreter_options


@pytest.fixture
def job(bundle: Path, tmp_path: Path) -> Job:
    return Job(
        id="one",
        artifact=str(bundle / "int8.tflite"),
        runtime="litert",
        images=str(bundle / "evaluation" / "test-images.npy"),
        count=20,
        arrays=str(tmp_path),
    )


def with_settings(job: Job, **settings: object) -> Job:
    chosen = Settings(**settings)  # type: ignore[arg-type]
    return dataclasses.replace(job, cells=(JobCell(settings=chosen),))


def logits(result: JobResult) -> np.ndarray:
    assert result.failure is None, result.failure
    return result.logits()


@pytest.mark.parametrize(
    ("artifact", "runtime", "settings", "delegate"),
    [
        ("int8.tflite", "litert", {"delegate": "builtin"}, "builtin"),
        ("fp32.tflite", "tflite-runtime", {"delegate": "builtin"}, "builtin"),
        ("int8.tflite", "tflite-runtime", {"delegate": "xnnpack-int8"}, "XNNPACK"),
        ("int8.onnx", "onnxruntime", {"optimization": "basic"}, "CPUExecutionProvider"),
    ],
)
def test_a_session_is_opened_as_its_settings_say(
    job: Job, artifact: str, runtime: str, settings: dict[str, str], delegate: str
) -> None:
    job = dataclasses.replace(
        job, artifact=str(Path(job.artifact).with_name(artifact)), runtime=runtime
    )
    with JobProcess() as process:
        plain = process.run(job)
        chosen = process.run(with_settings(job, **settings))
    assert chosen.cells[0].delegate == delegate
    assert chosen.cells[0].load_ns > 0, "another session"
    assert chosen.cells[0].outputs != plain.cells[0].outputs, "another file"
    # other kernels of the same grid round at most a step or two differently; the int8 logits of
    # this model have a step of about 0.1
    same = logits(chosen).argmax(1) == logits(plain).argmax(1)
    assert same.mean() >= 0.9


def test_the_int8_delegate_resizes_for_batches(job: Job) -> None:
    job = dataclasses.replace(job, runtime="tflite-runtime")
    settings = Settings(delegate="xnnpack-int8")
    cells = tuple(JobCell(batch=batch, settings=settings) for batch in (1, 8))
    with JobProcess() as process:
        single, batched = process.run(dataclasses.replace(job, cells=cells)).cells
    for one, other in zip(single.outputs.values(), batched.outputs.values(), strict=True):
        np.testing.assert_array_equal(np.load(one), np.load(other))


@pytest.mark.parametrize(
    ("runtime", "settings", "message"),
    [
        ("litert", {"optimization": "basic"}, "litert has no such setting on the cpu: graph"),
        ("litert", {"fp16": True}, "litert has no such setting on the cpu: fp16 arithmetic"),
        ("litert", {"delegate": "xnnpack-int8"}, "ai_edge_litert cannot set XNNPACK's flags"),
        ("litert", {"refused": ("sse",)}, "no process can disable 'sse': only amx"),
        ("litert", {"cores": (4095,)}, "cannot use cores [4095]: this process may use"),
    ],
)
def test_what_cannot_be_set_is_refused_in_one_line(
    job: Job, runtime: str, settings: dict[str, object], message: str
) -> None:
    result = JobRunner().run(with_settings(dataclasses.replace(job, runtime=runtime), **settings))
    assert result.failure is not None
    assert message in result.failure.message


def test_a_process_is_set_up_once(job: Job) -> None:
    core = min(os.sched_getaffinity(0))
    with JobProcess() as process:
        pinned = process.run(with_settings(job, cores=(core,)))
        other = process.run(job)
        again = process.run(with_settings(job, cores=(core,)))
    assert pinned.failure is again.failure is None
    assert pinned.host.cores == host.cores(), "the host keeps its cores"
    assert other.failure is not None
    assert other.failure.kind == "job"
    assert f"is set up with core {core}, not with nothing" in other.failure.message


def test_amx_and_fp16_are_refused_where_the_processor_has_neither(
    job: Job, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    recorded = tmp_path / "cpuinfo"
    recorded.write_text("processor\t: 0\nflags\t\t: fpu avx2\nprocessor\t: 1\n")
    monkeypatch.setattr(host, "_CPUINFO", recorded)
    assert host.processor_features() == {"fpu", "avx2"}
    failure = JobRunner().run(with_settings(job, refused=("amx",))).failure
    assert failure is not None
    assert failure.message == "this processor has no AMX to disable"
    with pytest.raises(BackendError, match="this processor has no float16 arithmetic"):
        interpreter_options(object(), 1, Settings(fp16=True))


@pytest.mark.skipif(platform.machine() != "x86_64", reason="AMX is a part of x86-64 processors")
@pytest.mark.skipif("amx_tile" not in host.processor_features(), reason="no AMX here")
def test_a_process_without_amx_gives_the_same_logits(job: Job) -> None:
    with JobProcess() as process, JobProcess() as other:
        plain, refused = process.run(job), other.run(with_settings(job, refused=("amx",)))
    np.testing.assert_array_equal(logits(plain), logits(refused))


def test_the_kernel_is_asked_with_a_stack_that_is_too_small(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the system calls get, as no machine without AMX can tell more."""
    calls: list[tuple[object, ...]] = []

    class Library:
        def sigaltstack(self, stack: object, before: object) -> int:
            described = ctypes.cast(stack, ctypes.POINTER(ctypes.c_size_t))  # type: ignore[arg-type]
            calls.append((described[2], before))
            return 0

        def syscall(self, *numbers: int) -> int:
            calls.append(numbers)
            return -1

    monkeypatch.setattr(process_settings, "processor_features", lambda: {"amx_tile"})
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: Library())
    process_settings.set_up_process(Settings(refused=("amx",)))
    assert calls == [(4096, None), (158, 0x1023, 18, 0)]
