"""GPUs: what was asked for is what runs, or one line says why not.

A program in place of a GPU shows that the way there is right: SwiftShader. It is fetched into the
user's own cache, so that a second run starts with a warm one.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner
from required import missing

from hemline.bench.devices.addresses import open_device
from hemline.bench.devices.checking import IMAGES, Check, check, only_passed, require_passed
from hemline.bench.devices.gpu.device import GpuDevice
from hemline.bench.devices.gpu.software_gpu import software_gpu
from hemline.cli import cli
from hemline.contract.job import Job, JobCell, JobResult
from hemline.contract.manifest import Manifest, read_manifest
from hemline.contract.record import Accuracy, read_records
from hemline.contract.schema import from_document, to_document
from hemline.errors import GateError, HemlineError, UsageError
from hemline.runtime.process import JobProcess
from hemline.runtime.sessions.gpu_failures import why

# A GPU sums float32 products in another order than a processor: a few units in the last place of
# the largest partial sum, 32 (larger than any here) × 2⁻²³ is 4e-6; seen were 3.7e-6.
FLOAT_TOLERANCE = 1e-5


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide every GPU that this machine may have from processes that the test starts."""
    for name in ("VK_DRIVER_FILES", "VK_ICD_FILENAMES"):
        monkeypatch.setenv(name, "/nowhere/driver.json")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


@pytest.fixture
def software(warm_cache: None) -> GpuDevice:
    try:
        software_gpu()
    except HemlineError as error:
        missing("gpu", str(error))
    return GpuDevice("software")


def job_of(bundle: Path, artifact: str, runtime: str, arrays: Path, **changes: object) -> Job:
    return Job(
        **{  # type: ignore[arg-type]
            "id": "gpu",
            "artifact": str(bundle / artifact),
            "runtime": runtime,
            "images": str(bundle / "evaluation" / "validation-images.npy"),
            "count": 20,
            "cells": (JobCell(),),
            "want": ("outputs",),
            "arrays": str(arrays),
            "accelerator": "gpu",
            **changes,
        }
    )


def logits_of(result: JobResult, cell: int = 0) -> npt.NDArray[np.float32]:
    assert result.failure is None, result.failure
    logits: npt.NDArray[np.float32] = np.load(result.cells[cell].outputs["logits"])
    return logits


@pytest.mark.parametrize(
    ("artifact", "runtime", "message"),
    [
        ("fp32.tflite", "litert", "Vulkan"),
        ("int8.tflite", "tflite-runtime", "tflite-runtime cannot use a GPU: use litert"),
        ("fp32.onnx", "onnxruntime", "onnxruntime"),
    ],
)
@pytest.mark.usefixtures("no_gpu")
def test_asked_for_a_gpu_and_given_a_processor_is_an_error_that_says_why(
    bundle: Path, tmp_path: Path, artifact: str, runtime: str, message: str
) -> None:
    with JobProcess() as process:
        result = process.run(job_of(bundle, artifact, runtime, tmp_path))
    assert result.failure is not None
    assert result.failure.kind == "backend"
    assert message in result.failure.message
    assert "\n" not in result.failure.message
    assert result.cells == ()


def test_an_onnxruntime_without_a_gpu_names_the_extra(bundle: Path, tmp_path: Path) -> None:
    import onnxruntime

    if set(onnxruntime.get_available_providers()) - {
        "CPUExecutionProvider",
        "AzureExecutionProvider",
    }:
        pytest.skip("this onnxruntime was built with a GPU")
    with JobProcess() as process:
        failure = process.run(job_of(bundle, "fp32.onnx", "onnxruntime", tmp_path)).failure
    assert failure is not None
    assert failure.message.startswith("this onnxruntime was built without a GPU (")
    assert failure.message.endswith("pip install 'onnxruntime-gpu[cuda,cudnn]'")


@pytest.mark.parametrize(
    ("artifact", "runtime"), [("fp32.tflite", "litert"), ("int8.onnx", "onnxruntime")]
)
@pytest.mark.usefixtures("no_gpu")
def test_a_fallback_runs_on_the_processor_and_says_so(
    bundle: Path, tmp_path: Path, artifact: str, runtime: str
) -> None:
    with JobProcess() as process:
        there = process.run(job_of(bundle, artifact, runtime, tmp_path, fallback=True))
        fallen = logits_of(there)
        here = logits_of(
            process.run(job_of(bundle, artifact, runtime, tmp_path, accelerator="cpu"))
        )
    np.testing.assert_array_equal(fallen, here)
    assert there.cells[0].delegate.endswith(" instead of a GPU")


def test_a_job_of_an_older_hemline_asks_for_the_processor(bundle: Path, tmp_path: Path) -> None:
    document = to_document(job_of(bundle, "fp32.tflite", "litert", tmp_path))
    del document["accelerator"], document["fallback"]
    job = from_document(Job, {**document, "schema": 1}, where="an old job")
    assert (job.accelerator, job.fallback) == ("cpu", False)


# Lines that LiteRT 2.3, ONNX Runtime 1.31 and Vulkan 1.3 wrote on machines without what they name.
@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (
            "Warning: Couldn't load Vulkan: libvulkan.so.1: cannot open shared object file: No such"
            " file or directory\nERROR: [delegate_webgpu.cc:359] No adapters found",
            "there is no Vulkan library here",
        ),
        (
            "Warning: vkCreateInstance: Found no drivers!\n"
            "Warning: vkCreateInstance failed with VK_ERROR_INCOMPATIBLE_DRIVER",
            "there is no Vulkan driver here",
        ),
        (
            "Warning: Insufficient Vulkan limits for maxTextureDimension3D. "
            "VkPhysicalDeviceLimits::maxImageDimension3D must be at least 2048\n"
            "ERROR: Failed to initialize WebGPU environment: INTERNAL: No adapters found",
            "is too old or lacks what WebGPU needs (Insufficient Vulkan limits",
        ),
        (
            "[E:onnxruntime:Default] Failed to load library libonnxruntime_providers_cuda.so with "
            "error: libcublasLt.so.13: cannot open shared object file: No such file or directory",
            "a library of CUDA is missing (libcublasLt.so.13: cannot open",
        ),
        (
            "CUDA failure 35: CUDA driver version is insufficient for CUDA runtime version",
            "the GPU's driver is too old for this CUDA",
        ),
        ("Failed to get a WebGPU adapter: No supported adapters", "no GPU is available"),
        (
            "ERROR: Following operations are not supported by GPU delegate:\n"
            "REAL: Operation is not supported.\n"
            "RESHAPE: Tensor type(COMPLEX64) is not supported. rfft4\n"
            "RFFT2D: Operation is not supported.",
            "the GPU has no kernels for operators of this model (REAL, RESHAPE, RFFT2D)",
        ),
    ],
)
def test_what_native_code_printed_becomes_a_sentence(lines: str, reason: str) -> None:
    assert reason in why(lines.splitlines(), "it raised")


def test_an_unknown_failure_is_told_in_its_own_words() -> None:
    assert why(["INFO: all is well"], "ERROR: strange\nmore of it") == "strange"


@pytest.mark.parametrize(
    ("name", "fallback", "message"),
    [
        ("gpu:cuda", False, "write gpu or gpu:software"),
        ("local", True, "local has no fallback"),
    ],
)
def test_a_wrong_request_is_told(name: str, fallback: bool, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_device(name, fallback=fallback)


@pytest.mark.medium
@pytest.mark.usefixtures("no_gpu")
def test_a_bench_without_a_gpu_ends_with_the_reason(bundle: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(bundle, tmp_path / "bundle")
    before = read_records(copy / "records.jsonl")
    result = CliRunner().invoke(cli, ["bench", str(copy), "--device", "gpu"])
    assert isinstance(result.exception, HemlineError)
    assert result.exception.exit_code == 1
    assert str(result.exception).startswith("nothing runs on gpu: litert: there is no Vulkan")
    assert read_records(copy / "records.jsonl") == before


def a_check(**changes: object) -> Check:
    fields = {
        "artifact": "fp32.tflite",
        "runtime": "litert",
        "version": "2.3.0",
        "device": "gpu",
        "status": "passed",
        "reason": "",
        **changes,
    }
    return Check(**fields)  # type: ignore[arg-type]


def test_what_is_wrong_on_a_device_ends_with_the_exit_code_of_a_gate() -> None:
    found = (a_check(), a_check(status="failed", reason="logits differ by 3"))
    with pytest.raises(GateError, match="failed on local: fp32.tflite in litert"):
        require_passed(found, open_device("local"))
    require_passed(found[:1], open_device("local"))


def test_only_what_a_gpu_itself_ran_rightly_is_measured(manifest: Manifest) -> None:
    version = next(v.version for v in manifest.artifacts[0].verdicts if v.runtime == "litert")
    ran = a_check(artifact=manifest.artifacts[0].name, version=version)
    imitated = a_check(artifact=manifest.artifacts[1].name, version=version, software=True)
    narrowed = only_passed(manifest, (ran, imitated))
    left = [(a.name, v.runtime) for a in narrowed.artifacts for v in a.verdicts]
    assert left == [(manifest.artifacts[0].name, "litert")]


@pytest.mark.devices
class TestOnSoftware:
    @pytest.mark.smoke
    def test_every_tflite_file_is_right_and_none_is_timed(
        self, bundle: Path, tmp_path: Path, software: GpuDevice
    ) -> None:
        copy = shutil.copytree(bundle, tmp_path / "bundle")
        before = read_records(copy / "records.jsonl")
        result = CliRunner().invoke(cli, ["bench", str(copy), "--device", "gpu:software"])
        assert result.exception is None, result.output
        fresh = [r for r in read_records(copy / "records.jsonl") if r not in before]
        tflite = {a.name for a in read_manifest(bundle).artifacts if a.format == "tflite"}
        assert {r.cell.artifact for r in fresh} >= tflite
        for record in fresh:
            assert record.cell.device == "gpu:software"
            assert "(software)" in record.conditions.delegate
            assert isinstance(record.payload, Accuracy)  # and no Latency, no Memory
            assert record.payload.images == IMAGES
        assert not software.capabilities.latencies

    def test_files_are_as_near_to_the_processor_as_their_arithmetic_allows(
        self, bundle: Path, manifest: Manifest, software: GpuDevice
    ) -> None:
        found = {c.artifact: c for c in check(bundle, manifest, software, report=lambda _: None)}
        for name in ("fp32.tflite", "fp16.tflite"):
            assert (equality := found[name].equality) is not None
            assert equality.largest_difference <= FLOAT_TOLERANCE
        assert (equality := found["int8.tflite"].equality) is not None
        # a GPU computes in float and rounds at the end: one step, rarely
        assert equality.largest_steps is not None
        assert equality.largest_steps <= 1
        assert equality.unequal < equality.logits / 10

    def test_a_batch_gives_what_single_images_give(
        self, bundle: Path, tmp_path: Path, software: GpuDevice
    ) -> None:
        cells = (JobCell(), JobCell(batch=8))
        with software.open("litert", "") as runner:
            result = runner.run(job_of(bundle, "fp32.tflite", "litert", tmp_path, cells=cells))
        assert all(cell.software and cell.delegate.startswith("WebGPU") for cell in result.cells)
        np.testing.assert_allclose(
            logits_of(result, 0), logits_of(result, 1), atol=FLOAT_TOLERANCE, rtol=0
        )

    def test_a_file_with_an_embedding_gives_its_logits(
        self, embedding_bundle: Path, software: GpuDevice
    ) -> None:
        found = check(
            embedding_bundle, read_manifest(embedding_bundle), software, report=lambda _: None
        )
        statuses = {c.artifact: c.status for c in found if c.runtime == "litert"}
        assert statuses
        assert set(statuses.values()) == {"passed"}

    def test_a_fallback_that_is_not_needed_leaves_all_to_the_gpu(
        self, bundle: Path, tmp_path: Path, software: GpuDevice
    ) -> None:
        del software
        with GpuDevice("software", fallback=True).open("litert", "") as runner:
            result = runner.run(job_of(bundle, "fp32.tflite", "litert", tmp_path))
        logits_of(result)
        assert result.cells[0].delegate.endswith("(software)")
