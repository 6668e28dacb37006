"""Verification sees what only running shows: a file that loads and answers nonsense."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from required import missing

from hemline import files
from hemline.cli import cli
from hemline.contract import schema
from hemline.contract.manifest import MANIFEST_NAME, Manifest, Verdict, read_manifest
from hemline.contract.record import RECORDS_NAME, Latency, read_records
from hemline.contract.specs import SupportedRuntime
from hemline.contract.stamp import read_stamped, stamp_tflite
from hemline.environments.environment import RuntimeTarget
from hemline.errors import BackendError, FetchError, GateError, HemlineError, UsageError
from hemline.export import cell_verification
from hemline.export.admission import self_check
from hemline.export.cell_verification import inputs_of
from hemline.export.verification import verify_bundle
from hemline.remedies import described
from hemline.runtime.discovery import installed_names
from hemline.runtime.process import local_command
from hemline.runtime.targets import find_targets, installed_targets
from hemline.small_sets import accuracy_text

_QUANTIZE = """
import sys
from litert_quantizer import quantizer, recipe
maker = quantizer.Quantizer(sys.argv[1])
maker.load_quantization_recipe(recipe.dynamic_wi8_afp32())
open(sys.argv[2], "wb").write(bytes(maker.quantize().quantized_model))
"""


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "bundle"))


@pytest.fixture(scope="module")
def quantized(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return the float model as litert-quantizer makes it dynamic: int8 weights."""
    folder = tmp_path_factory.mktemp("quantized")
    (folder / "float.tflite").write_bytes(read_stamped(bundle / "fp32.tflite").model)
    subprocess.run(
        [sys.executable, "-c", _QUANTIZE, folder / "float.tflite", folder / "dynamic.tflite"],
        check=True,
        capture_output=True,
    )
    return (folder / "dynamic.tflite").read_bytes()


def replace_dynamic(
    bundle: Path, model: bytes, supported_runtimes: tuple[SupportedRuntime, ...]
) -> None:
    """Put a model with the stamp of dynamic.tflite and other claims into a bundle, unverified."""
    path = bundle / "dynamic.tflite"
    stamp = dataclasses.replace(read_stamped(path).stamp, supported_runtimes=supported_runtimes)
    path.write_bytes(stamp_tflite(model, stamp))
    manifest = read_manifest(bundle)
    fresh = [
        dataclasses.replace(
            artifact,
            sha256=files.sha256_of(path),
            size_bytes=path.stat().st_size,
            verdicts=(),
        )
        if artifact.name == path.name
        else artifact
        for artifact in manifest.artifacts
    ]
    schema.save(bundle / MANIFEST_NAME, dataclasses.replace(manifest, artifacts=tuple(fresh)))


def verdict_of(bundle: Path, version: str) -> Verdict:
    verdicts = read_manifest(bundle).artifact("int8.tflite").verdicts
    return next(verdict for verdict in verdicts if verdict.version == version)


def verdict_in(bundle: Path, name: str, runtime: str) -> Verdict:
    verdicts = read_manifest(bundle).artifact(name).verdicts
    return next(verdict for verdict in verdicts if verdict.runtime == runtime)


@pytest.mark.skipif(
    "tflite-runtime" not in installed_names(), reason="tflite-runtime has no build for this Python"
)
def test_a_file_that_loads_and_answers_nonsense_is_found_wrong(
    copy: Path, quantized: bytes
) -> None:
    """A dynamic-range model of litert-quantizer 0.11 is right in LiteRT, not in tflite-runtime."""
    everywhere = (
        SupportedRuntime(runtime="litert", minimum="1.0.0"),
        SupportedRuntime(runtime="tflite-runtime", minimum="2.14.0"),  # which is a lie
    )
    replace_dynamic(copy, quantized, everywhere)
    with pytest.raises(GateError, match="dynamic.tflite in tflite-runtime 2.14.0: logits differ"):
        CliRunner().invoke(cli, ["verify", str(copy)], catch_exceptions=False)
    right, wrong = (verdict_in(copy, "dynamic.tflite", r) for r in ("litert", "tflite-runtime"))
    assert right.status == "passed"
    assert wrong.status == "failed"
    score = wrong.score("test")
    assert score is not None
    # no failure of any kind: it ran on every image, and is as good as guessing among ten classes
    assert score.images == 200
    assert score.accuracy < 0.3
    assert wrong.agreement < 0.3 * score.images


@pytest.mark.medium
@pytest.mark.skipif(
    "tflite-runtime" not in installed_names(), reason="tflite-runtime has no build for this Python"
)
def test_the_same_file_made_elsewhere_is_not_admitted(
    quantized: bytes, manifest: Manifest, tmp_path: Path
) -> None:
    (tmp_path / "dynamic.tflite").write_bytes(quantized)
    words = ["--labels", ",".join(manifest.labels), "--pixels", "0..255"]
    result = CliRunner().invoke(cli, ["verify", str(tmp_path / "dynamic.tflite"), *words])
    assert isinstance(result.exception, GateError)
    assert result.exception.exit_code == 3
    assert "tflite-runtime 2.14.0 disagree: logits differ by up to" in str(result.exception)
    assert not (tmp_path / "dynamic-admitted.tflite").exists()


@pytest.mark.skipif(
    "tflite-runtime" not in installed_names(), reason="tflite-runtime has no build for this Python"
)
def test_the_same_file_that_does_not_claim_it_there_is_no_failure(
    copy: Path, quantized: bytes
) -> None:
    replace_dynamic(copy, quantized, (SupportedRuntime(runtime="litert", minimum="1.0.0"),))
    verify_bundle(copy, read_manifest(copy))
    assert verdict_in(copy, "dynamic.tflite", "tflite-runtime").status == "failed"
    result = CliRunner().invoke(cli, ["verify", str(copy)], catch_exceptions=False)
    assert result.exit_code == 0
    assert "dynamic.tflite in tflite-runtime 2.14.0: failed, logits differ" in result.stdout
    assert "FAILED" in result.stdout


def test_a_file_is_run_outside_its_claim_too(copy: Path) -> None:
    path = copy / "fp32.tflite"
    replace_dynamic(
        copy, read_stamped(path).model, (SupportedRuntime(runtime="litert", minimum="999"),)
    )
    manifest = verify_bundle(copy, read_manifest(copy), find_targets(["litert"]))
    verdict = manifest.artifact("dynamic.tflite").verdicts[-1]
    assert (verdict.runtime, verdict.status) == ("litert", "passed")


def target(code: str, **changes: str) -> RuntimeTarget:
    """Return a target whose job runner is a line of Python."""
    here = next(t for t in installed_targets() if t.runtime == "litert")
    return dataclasses.replace(
        here, command=(sys.executable, "-c", code), **{"version": "9.9.9", **changes}
    )


def test_a_crash_of_native_code_is_a_verdict_and_takes_nothing_with_it(
    copy: Path, manifest: Manifest
) -> None:
    crashing = target("import os, signal; input(); os.kill(os.getpid(), signal.SIGSEGV)")
    with pytest.raises(GateError, match=r"litert 9.9.9: .* ended the job runner \(signal 11\)"):
        verify_bundle(copy, manifest, [crashing, *installed_targets()])
    for artifact in read_manifest(copy).artifacts:
        if artifact.format == "tflite":
            assert artifact.status_in("litert", "9.9.9") == "failed"
        others = [v for v in artifact.verdicts if v.version != "9.9.9"]
        assert others
        assert all(verdict.status == "passed" for verdict in others)


@pytest.mark.medium
def test_a_runtime_that_hangs_is_a_failure_that_is_tried_again(
    copy: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cell_verification, "TRIAL_SECONDS", 1.0)
    hanging = target("import time; input(); time.sleep(600)")
    one = dataclasses.replace(manifest, artifacts=(manifest.artifact("int8.tflite"),))
    with pytest.raises(
        GateError, match=r"int8\.tflite in litert 9\.9\.9: .* returned no result in 1 s"
    ):
        verify_bundle(copy, one, [hanging])
    verdict = verdict_of(copy, "9.9.9")
    assert (verdict.status, verdict.inputs_sha256) == ("failed", "")


def test_a_file_whose_runtime_crashes_has_failed_there(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash = "import os, signal; input(); os.kill(os.getpid(), signal.SIGKILL)"
    monkeypatch.setattr(self_check, "COMMAND", (sys.executable, "-c", crash))
    result = CliRunner().invoke(cli, ["verify", str(copy / "int8.onnx")])
    assert isinstance(result.exception, GateError)
    assert "int8.onnx in onnxruntime: failed (" in result.stdout
    assert "ended the job runner (signal 9)" in result.stdout


def test_a_runtime_that_is_another_version_than_it_says_is_told(
    copy: Path, manifest: Manifest
) -> None:
    changed = dataclasses.replace(target(""), command=local_command())
    with pytest.raises(BackendError, match=r"litert==9.9.9@.* contains litert") as caught:
        verify_bundle(copy, manifest, [changed])
    assert "run `hemline runtimes remove " in described(caught.value)


def test_verdicts_of_other_runtimes_are_kept(copy: Path, manifest: Manifest) -> None:
    verify_bundle(copy, manifest, find_targets(["onnxruntime"]))
    assert read_manifest(copy) == manifest


def test_a_verdict_depends_on_runtime_version_numpy_and_python(manifest: Manifest) -> None:
    artifact, first = manifest.artifacts[0], target("")
    others = [
        dataclasses.replace(first, **change)  # type: ignore[arg-type]
        for change in (
            {"version": "9.9.8"},
            {"numpy_version": "9.9"},
            {"python_version": "3.99.1"},
        )
    ]
    prints = {inputs_of(manifest, artifact, each) for each in (first, *others)}
    assert len(prints) == 4
    patched = dataclasses.replace(first, python_version=f"{first.python_version}9")
    assert inputs_of(manifest, artifact, patched) == inputs_of(manifest, artifact, first)


def test_of_several_pythons_the_worst_counts(manifest: Manifest) -> None:
    artifact = manifest.artifacts[0]
    first = artifact.verdicts[0]
    worse = dataclasses.replace(first, status="failed", python_version="3.99")
    both = dataclasses.replace(artifact, verdicts=(first, worse))
    assert both.status_in(first.runtime, first.version) == "failed"
    assert artifact.status_in(first.runtime, first.version) == "passed"
    assert artifact.status_in(first.runtime, "0") is None


def test_a_runtime_that_no_artifact_is_for_is_told(copy: Path, manifest: Manifest) -> None:
    only = [a for a in manifest.artifacts if a.format == "onnx"]
    with pytest.raises(UsageError, match="no artifact is of the format that litert=="):
        verify_bundle(
            copy, dataclasses.replace(manifest, artifacts=tuple(only)), find_targets(["litert"])
        )


def test_verify_prints_a_table_or_a_document_a_line(copy: Path) -> None:
    result = CliRunner().invoke(cli, ["verify", str(copy)], catch_exceptions=False)
    first, _, row, *_ = result.stdout.splitlines()
    columns = ["runtime (.tflite)", "python", "numpy", "fp32", "fp16", "dynamic", "int8"]
    assert re.split(r"  +", first) == columns
    # the accuracy of each, where it passed
    found = dict(zip(columns, re.split(r"  +", row), strict=True))
    for name in columns[3:]:
        verdict = verdict_in(copy, f"{name}.tflite", "litert")
        assert verdict.status == "passed"
        score = verdict.score("test")
        assert score is not None
        assert found[name] == accuracy_text(score.correct, score.images)
    result = CliRunner().invoke(cli, ["verify", str(copy), "--json"], catch_exceptions=False)
    documents = [json.loads(line) for line in result.stdout.splitlines()]
    assert {document["artifact"] for document in documents} >= {"fp32.tflite", "int8.onnx"}
    assert all(document["python_version"] for document in documents)


def test_a_runtime_that_was_not_added_is_told_with_the_command(copy: Path) -> None:
    words = ["verify", str(copy), "--runtime", "litert==1.4.0"]
    with pytest.raises(UsageError) as caught:
        CliRunner().invoke(cli, words, catch_exceptions=False)
    assert "run `hemline runtimes add litert==1.4.0`" in described(caught.value)


@pytest.mark.slow
def test_another_version_is_added_verified_and_measured_for_real(copy: Path) -> None:
    """litert 2.1.0: the oldest that has wheels for every Python that Hemline runs on."""
    run = CliRunner()
    name = "litert==2.1.0"
    try:
        run.invoke(cli, ["runtimes", "add", name], catch_exceptions=False)
    except FetchError as error:
        missing("index", str(error))
    result = run.invoke(
        cli, ["verify", str(copy), "--runtime", name, "--json"], catch_exceptions=False
    )
    documents = [json.loads(line) for line in result.stdout.splitlines()]
    fresh = [document for document in documents if document["version"] == "2.1.0"]
    assert [document["status"] for document in fresh] == ["passed"] * 4
    bench = ["bench", str(copy), "--quick", "--rounds", "1", "--runtime", name]
    run.invoke(cli, bench, catch_exceptions=False)
    assert "nothing changed" in run.invoke(cli, bench, catch_exceptions=False).output
    timed = [r for r in read_records(copy / RECORDS_NAME) if isinstance(r.payload, Latency)]
    assert {(r.cell.runtime, r.cell.runtime_version) for r in timed} == {("litert", "2.1.0")}
    columns = run.invoke(cli, ["table", str(copy)]).stdout.splitlines()[0]
    assert "litert 2.1.0" in columns


def test_bench_in_a_runtime_that_nothing_was_verified_in_names_the_command(
    copy: Path, manifest: Manifest
) -> None:
    unjudged = tuple(dataclasses.replace(a, verdicts=()) for a in manifest.artifacts)
    schema.save(copy / MANIFEST_NAME, dataclasses.replace(manifest, artifacts=unjudged))
    with pytest.raises(HemlineError, match=r"no artifact that passed .* in litert==\d") as caught:
        CliRunner().invoke(cli, ["bench", str(copy), "--runtime", "litert"], catch_exceptions=False)
    assert f"`hemline verify {copy}` first, with the same --runtime" in described(caught.value)


def test_a_runtime_of_this_machine_is_not_for_other_devices(copy: Path) -> None:
    words = ["bench", str(copy), "--device", "ssh:pi@board", "--runtime", "litert"]
    with pytest.raises(UsageError, match="ssh:pi@board has runtimes of its own") as caught:
        CliRunner().invoke(cli, words, catch_exceptions=False)
    assert described(caught.value).endswith("--runtime needs --device local")
