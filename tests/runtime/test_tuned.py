"""Tuned settings: applied for this kind of processor on request, else a warning."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from hemline import host
from hemline.contract import schema
from hemline.contract.job import HostFacts
from hemline.contract.manifest import MANIFEST_NAME, Manifest
from hemline.contract.settings import Settings, TunedSettings
from hemline.data.datasets import Images
from hemline.runtime import Classifier
from hemline.runtime.backends import BACKENDS, version_of
from hemline.runtime.command_line import main


@pytest.fixture
def tuned(manifest: Manifest) -> TunedSettings:
    return TunedSettings(
        processor=host.host_facts().processor_kind,
        artifact_sha256=manifest.artifact("int8.tflite").sha256,
        runtime="litert",
        version=version_of(BACKENDS["litert"]),
        threads=1,
        settings=Settings(delegate="builtin"),
        before_ns=2,
        after_ns=1,
        date="2026-01-01T00:00:00Z",
    )


@pytest.fixture
def artifact(bundle: Path, manifest: Manifest, tuned: TunedSettings, tmp_path: Path) -> Path:
    """Return an artifact with the manifest beside it, as one copies it to a device."""
    schema.save(tmp_path / MANIFEST_NAME, dataclasses.replace(manifest, tuned=(tuned,)))
    return Path(shutil.copy(bundle / "int8.tflite", tmp_path))


def opened(classifier: Classifier) -> str:
    return classifier._sessions.session(1).delegate


def test_the_settings_of_this_processor_are_applied_on_request(artifact: Path) -> None:
    with Classifier.load(artifact, tuned=True) as asked, Classifier.load(artifact) as plain:
        assert (opened(asked), opened(plain)) == ("builtin", "XNNPACK")
        assert asked.untuned == ""


def test_a_file_that_was_tuned_alone_finds_its_settings(artifact: Path) -> None:
    own = artifact.with_name(f"{artifact.name}.bench")
    own.mkdir()
    (artifact.parent / MANIFEST_NAME).rename(own / MANIFEST_NAME)
    with Classifier.load(artifact, tuned=True) as classifier:
        assert opened(classifier) == "builtin"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"processor": "Raspberry Pi 4 Model B"}, "it was not tuned for "),
        ({"version": "1.0"}, f"in litert {version_of(BACKENDS['litert'])}"),
        ({"artifact_sha256": "0"}, "it was not tuned for "),
        ({"threads": 200}, "it was not tuned for "),
        ({"settings": Settings(refused=("sse",))}, "only amx"),
        ({"settings": Settings(fp16=True)}, "litert has no such setting on the cpu: fp16"),
    ],
)
def test_what_does_not_apply_here_is_a_warning_and_the_defaults(
    artifact: Path,
    manifest: Manifest,
    tuned: TunedSettings,
    changes: dict[str, object],
    message: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    other = dataclasses.replace(tuned, **changes)  # type: ignore[arg-type]
    schema.save(artifact.parent / MANIFEST_NAME, dataclasses.replace(manifest, tuned=(other,)))
    with Classifier.load(artifact, tuned=True) as classifier:
        assert opened(classifier) == "XNNPACK"
        assert message in classifier.untuned
    assert caplog.messages == [classifier.untuned]


def test_an_artifact_without_a_manifest_beside_it_is_told(
    artifact: Path, images: Images, capsys: pytest.CaptureFixture[str]
) -> None:
    (artifact.parent / MANIFEST_NAME).unlink()
    np.save(artifact.parent / "image.npy", images.test_images[0])
    given = [str(artifact), str(artifact.parent / "image.npy"), "--tuned", "--json"]
    assert main(["classify", *given]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["index"] == int(images.test_labels[0])
    assert printed.err.startswith(f"warning: {artifact} is opened with default settings: ")
    assert "has no manifest.json" in printed.err


def test_tuned_threads_count_unless_others_are_named(
    artifact: Path, manifest: Manifest, tuned: TunedSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = dataclasses.replace(tuned, threads=2)
    schema.save(artifact.parent / MANIFEST_NAME, dataclasses.replace(manifest, tuned=(two,)))
    monkeypatch.setattr(
        "hemline.runtime.tuned.host_facts", lambda: HostFacts(processor=tuned.processor, cores=2)
    )
    with Classifier.load(artifact, tuned=True) as classifier:
        assert classifier._threads == 2
    with Classifier.load(artifact, tuned=True, threads=1) as classifier:
        assert classifier._threads == 1


def test_revisions_of_a_board_are_one_kind() -> None:
    kinds = {
        HostFacts(processor=f"Raspberry Pi 4 Model B{r}").processor_kind for r in ("", " Rev 1.4")
    }
    assert kinds == {"Raspberry Pi 4 Model B"}
