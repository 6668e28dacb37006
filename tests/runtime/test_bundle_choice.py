"""Which artifact of a bundle is opened, and what selftest says of one that is wrong."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hemline.contract import schema
from hemline.contract.manifest import MANIFEST_NAME, Manifest, Recommendation
from hemline.contract.stamp import read_stamped, stamp_tflite
from hemline.errors import BackendError, FileFormatError, GateError, UnsupportedRuntimeError
from hemline.remedies import described
from hemline.runtime import Classifier, discovery, targets
from hemline.runtime.backends import BACKENDS, Backend, load_module, version_of
from hemline.runtime.bundle_choice import pick_artifact
from hemline.runtime.command_line import main, parser_of
from hemline.runtime.discovery import pick_backend
from hemline.runtime.selftest import run as selftest

Change = Callable[..., None]


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "bundle"))


@pytest.fixture
def change(copy: Path, manifest: Manifest) -> Change:
    """Return a function that writes the manifest with other fields, or other verdicts."""

    def write(status: dict[str, str] | None = None, **fields: object) -> None:
        artifacts = [
            dataclasses.replace(
                artifact,
                verdicts=tuple(
                    dataclasses.replace(v, status=status.get(artifact.name, "failed"))
                    for v in artifact.verdicts
                ),
            )
            if status is not None
            else artifact
            for artifact in manifest.artifacts
        ]
        changed = dataclasses.replace(manifest, artifacts=tuple(artifacts), **fields)
        schema.save(copy / MANIFEST_NAME, changed)

    return write


def test_the_recommended_artifact_is_opened(copy: Path, change: Change) -> None:
    change(recommended="fp16.tflite")
    with Classifier.load(copy) as classifier:
        assert classifier.stamp.name == "fp16.tflite"


def test_a_recommended_one_that_was_wrong_here_is_passed_over(copy: Path, change: Change) -> None:
    change({"fp32.tflite": "passed"}, recommended="fp16.tflite")
    assert pick_artifact(copy, "litert")[0].name == "fp32.tflite"


def test_without_a_choice_it_is_the_smallest_proven_one(
    copy: Path, change: Change, manifest: Manifest
) -> None:
    board = Recommendation(device="browser", artifact="fp32.onnx", because="fast there")
    change(recommended=None, recommended_on=(board,))
    smallest = min(
        (a for a in manifest.artifacts if a.format == "onnx"), key=lambda a: a.size_bytes
    )
    assert pick_artifact(copy, "onnxruntime")[0].name == smallest.name


def test_a_runtime_that_cannot_open_the_recommended_one_gets_another(
    copy: Path, change: Change
) -> None:
    change(recommended="int8.tflite")
    assert pick_artifact(copy, "onnxruntime")[0].suffix == ".onnx"


def test_nothing_proven_is_told_with_what_to_do(copy: Path, change: Change) -> None:
    change({}, recommended=None)
    with pytest.raises(
        UnsupportedRuntimeError, match=r"no artifact of .* passed in litert "
    ) as caught:
        pick_artifact(copy, "litert")
    assert f"run `hemline verify {copy}` where it is installed" in described(caught.value)


def test_no_runtime_at_all_is_told(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hemline.runtime.discovery.installed", lambda _: False)
    with pytest.raises(BackendError, match=r"no runtime for .* is installed: pip install"):
        pick_artifact(copy, None)


def test_one_broken_runtime_keeps_no_other_from_working(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(backend: Backend) -> str:
        if backend.format == "tflite":  # both: a process that loaded TensorFlow has one of them
            raise BackendError(f"{backend.name} is broken here")
        return version_of(backend)

    monkeypatch.setattr(discovery, "version_of", version)
    assert pick_artifact(copy, None)[1].name == "onnxruntime"
    stamp = read_stamped(copy / "int8.tflite").stamp
    monkeypatch.setattr(discovery, "installed", lambda backend: backend.name == "litert")
    with pytest.raises(BackendError, match="litert is broken here"):
        pick_backend(stamp, None)


def test_one_broken_runtime_is_left_out_of_the_targets(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def version(backend: Backend) -> str:
        if backend.name in broken:
            raise BackendError(f"{backend.name} is broken here")
        return version_of(backend)

    broken = {"litert"}
    monkeypatch.setattr(discovery, "version_of", version)
    assert "litert" not in {target.runtime for target in targets.installed_targets()}
    assert "litert is broken here; it is left out" in caplog.messages
    broken |= set(BACKENDS)
    with pytest.raises(BackendError, match="litert is broken here; "):
        targets.installed_targets()


@pytest.mark.parametrize("content", [None, "raise RuntimeError('half')", "import no_such_thing"])
def test_a_package_that_is_half_there_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    """Without any file in it, Python takes the folder for a namespace package."""
    package = tmp_path / "half_there"
    package.mkdir()
    if content is not None:
        (package / "__init__.py").write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    backend = BACKENDS["litert"]._replace(module="half_there.interpreter")
    with pytest.raises(BackendError, match="litert is broken here"):
        version_of(backend)
    with pytest.raises(BackendError, match="litert is broken here"):
        load_module(backend)
    sys.modules.pop("half_there", None)


def test_a_folder_that_is_no_bundle_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="is not a bundle"):
        Classifier.load(tmp_path)


def test_selftest_says_no_to_an_artifact_that_answers_otherwise(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copy / "int8.tflite"
    file = read_stamped(path)
    vectors = [
        dataclasses.replace(v, logits=tuple(value + 30 for value in v.logits))
        for v in file.stamp.test_vectors
    ]
    stamp = dataclasses.replace(file.stamp, test_vectors=tuple(vectors))
    path.write_bytes(stamp_tflite(file.model, stamp))
    with pytest.raises(GateError, match="self-test failed: int8.tflite in"):
        selftest(parser_of("selftest", "hemline").parse_args([str(path)]))
    assert "FAILED" in capsys.readouterr().out


def test_selftest_of_an_artifact_without_images_is_no_success(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = read_stamped(copy / "int8.tflite")
    stamp = dataclasses.replace(file.stamp, test_vectors=())
    (copy / "int8.tflite").write_bytes(stamp_tflite(file.model, stamp))
    assert main(["selftest", str(copy / "int8.tflite")]) == 3
    assert "it contains no test images" in capsys.readouterr().out


def test_selftest_of_a_bundle_passes_over_other_formats(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["selftest", str(copy), "--runtime", "onnxruntime"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum("skipped" in line for line in lines) == len(list(copy.glob("*.tflite")))
    assert sum(": passed" in line for line in lines) == len(list(copy.glob("*.onnx")))


def test_selftest_of_a_bundle_passes_over_what_has_no_runtime_here(
    copy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovery, "installed", lambda backend: backend.name == "onnxruntime")
    assert main(["selftest", str(copy)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum("skipped (no runtime for" in line for line in lines) == len(
        list(copy.glob("*.tflite"))
    )
    monkeypatch.setattr(discovery, "installed", lambda _: False)
    assert main(["selftest", str(copy)]) == 1
    assert "could be tested here: no runtime for" in capsys.readouterr().err
