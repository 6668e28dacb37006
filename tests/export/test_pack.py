"""Packs: whole, the same bytes for the same input, and their self-test really runs."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import uuid
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from click.testing import CliRunner

from hemline.cli import cli
from hemline.contract import schema
from hemline.contract.manifest import MANIFEST_NAME, Artifact, Recommendation, read_manifest
from hemline.contract.score import Score
from hemline.contract.stamp import read_stamped
from hemline.errors import FileFormatError, GateError, UsageError
from hemline.export.api import pack
from hemline.export.pack.bill_of_materials import installed_component, wheel_component
from hemline.export.pack.model_card import model_card
from hemline.export.pack.packed import Packed, PackOptions, filled
from hemline.export.pack.packing import ARCHIVE, choose, write_pack
from hemline.export.pack.packing import BILL as SBOM
from hemline.export.pack.table import TARGETS
from hemline.remedies import described
from hemline.runtime.backends import attribute
from hemline.runtime.one_file import NAME
from hemline.small_sets import accuracy_text

PURL = re.compile(r"pkg:[a-z]+/[^@\s]+@[^@\s]+")  # of the package URL specification


PI = TARGETS["pi"]


class Pack(NamedTuple):
    path: Path
    packed: Packed


@pytest.fixture(scope="module")
def packed(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Pack:
    return make(bundle, tmp_path_factory.mktemp("packs") / "shirts")


def make(
    bundle: Path,
    output: Path,
    artifact: str | None = "int8.tflite",
    *,
    force: bool = False,
    **options: Any,
) -> Pack:
    chosen = choose(bundle, PI, PackOptions(artifact=artifact, **options))
    write_pack(chosen, output, force=force)
    return Pack(output, chosen)


def names_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def bytes_in(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in names_in(folder)}


def selftest(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a pack's self-test with this Python and its packages, from another folder."""
    command = [sys.executable, str(folder / "selftest.py")]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder.parent)


@pytest.mark.parametrize("name", TARGETS)
def test_what_a_row_names_is_there(name: str) -> None:
    row = TARGETS[name]
    assert callable(attribute(row.fill))
    assert callable(attribute(row.fits))
    assert set(row.options) <= {field.name for field in dataclasses.fields(PackOptions)}


def test_a_pack_has_what_every_pack_has(packed: Pack, bundle: Path) -> None:
    common = {"README.md", "MODEL_CARD.md", "SHA256SUMS", "labels.txt", SBOM}
    own = {"int8.tflite", NAME, "selftest.py", "setup.sh", "camera.sh", "hemline.service"}
    assert common | own | {"licences/hemline/LICENSE"} <= names_in(packed.path)
    assert (packed.path / "labels.txt").read_text().splitlines() == list(
        read_manifest(bundle).labels
    )
    assert (packed.path / "int8.tflite").read_bytes() == (bundle / "int8.tflite").read_bytes()
    assert len((packed.path / "README.md").read_text().split("\n")) <= 18


def test_scripts_can_be_run_and_nothing_else(packed: Pack) -> None:
    runnable = {
        name for name in names_in(packed.path) if (packed.path / name).stat().st_mode & stat.S_IXUSR
    }
    assert runnable == {"selftest.py", "setup.sh", "camera.sh", NAME}


def test_the_sums_are_those_of_all_files(packed: Pack) -> None:
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=packed.path, check=True)
    lines = (packed.path / "SHA256SUMS").read_text().splitlines()
    assert {line.split("  ", 1)[1] for line in lines} == names_in(packed.path) - {"SHA256SUMS"}


def test_the_self_test_of_a_pack_passes_here(packed: Pack) -> None:
    done = selftest(packed.path)
    assert done.returncode == 0, done.stderr
    assert "all files are intact" in done.stdout
    assert re.search(r"int8\.tflite in litert \S+: passed", done.stdout)


def test_the_self_test_finds_a_damaged_file(packed: Pack, tmp_path: Path) -> None:
    copy = shutil.copytree(packed.path, tmp_path / "copy")
    (copy / "labels.txt").write_text("shirt\n")
    (copy / "camera.sh").unlink()
    done = selftest(copy)
    assert done.returncode == 1
    assert done.stderr.strip() == (
        "error: damaged or missing: camera.sh, labels.txt; copy the pack again"
    )


def test_the_same_bundle_gives_the_same_bytes(packed: Pack, bundle: Path, tmp_path: Path) -> None:
    first = make(bundle, tmp_path / "a" / f"first{ARCHIVE}").path
    second = make(bundle, tmp_path / "b" / f"second{ARCHIVE}").path
    assert first.read_bytes() == second.read_bytes()
    again = make(bundle, tmp_path / "again").path
    assert bytes_in(again) == bytes_in(packed.path)


def test_an_archive_holds_the_folder(packed: Pack, bundle: Path, tmp_path: Path) -> None:
    made = make(bundle, tmp_path / f"pack{ARCHIVE}")
    with tarfile.open(made.path) as archive:
        archive.extractall(tmp_path, filter="data")
        modes = {info.name: info.mode for info in archive.getmembers()}
    folder = tmp_path / made.packed.name
    assert bytes_in(folder) == bytes_in(packed.path)
    assert modes[f"{folder.name}/setup.sh"] == 0o755
    assert modes[f"{folder.name}/int8.tflite"] == 0o644


def test_the_bill_of_materials_follows_cyclonedx(packed: Pack) -> None:
    """What its schema demands: these keys, enumerations, and references that are unique."""
    text = (packed.path / SBOM).read_text()
    document = json.loads(text)
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    assert document["version"] == 1
    assert uuid.UUID(document["serialNumber"].removeprefix("urn:uuid:"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", document["metadata"]["timestamp"])
    components = document["components"]
    references = [each["bom-ref"] for each in components]
    assert len(set(references)) == len(references)
    assert document["dependencies"] == [
        {"ref": document["metadata"]["component"]["bom-ref"], "dependsOn": references}
    ]
    for each in components:
        assert each["type"] in ("machine-learning-model", "library", "application", "file", "data")
        assert each["name"]
        assert PURL.fullmatch(each.get("purl", "pkg:pypi/a@1"))
        for digest in each.get("hashes", ()):
            assert digest["alg"] == "SHA-256"
            assert re.fullmatch("[0-9a-f]{64}", digest["content"])
        for licence in each.get("licenses", ()):
            assert list(licence) == ["expression"]
    names = {"int8.tflite", "hemline", "ai-edge-litert", "fashion-mnist"}
    assert names == {each["name"] for each in components}


def test_images_of_a_data_set_are_in_the_pack_with_their_licence(packed: Pack) -> None:
    text = (packed.path / "licences" / "fashion-mnist" / "LICENSE").read_text()
    assert "Copyright © 2017 Zalando SE, https://tech.zalando.com" in text
    assert "The above copyright notice and this permission notice shall be included" in text
    assert "Hemline" not in text
    components = json.loads((packed.path / SBOM).read_text())["components"]
    assert components[-1] == {
        "type": "data",
        "bom-ref": "fashion-mnist",
        "name": "fashion-mnist",
        "licenses": [{"expression": "MIT"}],
    }
    card = (packed.path / "MODEL_CARD.md").read_text()
    assert "- images inside: some of Fashion-MNIST for tests (MIT)\n" in card


def test_the_bill_of_materials_has_the_model_and_its_accuracy(packed: Pack, bundle: Path) -> None:
    document = json.loads((packed.path / SBOM).read_text())
    model = document["components"][0]
    artifact = read_manifest(bundle).artifact("int8.tflite")
    assert model["type"] == "machine-learning-model"
    assert model["hashes"] == [{"alg": "SHA-256", "content": artifact.sha256}]
    metric = model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"][0]
    score = artifact.verdicts[0].score("test")
    assert score is not None
    assert float(metric["value"]) == pytest.approx(score.accuracy, abs=5e-5)
    bounds = metric["confidenceInterval"]
    assert float(bounds["lowerBound"]) <= score.accuracy <= float(bounds["upperBound"])


def test_the_model_card_says_what_it_cannot_do(packed: Pack) -> None:
    text = (packed.path / "MODEL_CARD.md").read_text()
    assert "It distinguishes these 10 classes only." in text
    assert "200 test images are too few" in text
    assert "| litert " in text
    assert "## Limits" in text


def test_requirements_pin_the_runtime_that_was_verified(packed: Pack, bundle: Path) -> None:
    lines = (packed.path / "requirements.txt").read_text().splitlines()
    verdict = read_manifest(bundle).artifact("int8.tflite").verdicts[0]
    assert lines == [f"ai-edge-litert=={verdict.version}", "numpy>=1.24", "pillow>=10"]


def test_a_32_bit_board_gets_the_only_runtime_that_is_built_for_it(
    bundle: Path, tmp_path: Path
) -> None:
    made = make(bundle, tmp_path / "pack", machine="armv7l")
    assert (made.path / "requirements.txt").read_text().startswith("tflite-runtime==")
    assert "--system-site-packages" in (made.path / "setup.sh").read_text()
    text = (made.path / "README.md").read_text()
    (verdict,) = [v for v in made.packed.passed if v.runtime == "tflite-runtime"]
    score = verdict.score("test")
    assert score is not None
    assert "board (armv7l)" in text.splitlines()[0]
    assert f"{accuracy_text(score.correct, score.images)} of {score.images} test images" in text
    assert f"correct in tflite-runtime {verdict.version}." in text
    assert "with Python 3.10 or 3.11 (" in text
    assert "litert" not in text
    assert len(text.split("\n")) <= 18
    with pytest.raises(GateError) as error:
        make(bundle, tmp_path / "other", "int8.onnx", machine="armv7l")
    assert "int8.onnx passed in onnxruntime" in str(error.value)
    assert "which armv7l boards cannot have" in str(error.value)


def test_the_camera_script_classifies_what_the_camera_sends(packed: Pack, tmp_path: Path) -> None:
    """Without a camera here, a stand-in for rpicam-vid sends two frames."""
    copy = shutil.copytree(packed.path, tmp_path / "copy")
    frame = np.full(640 * 480 * 3 // 2, 128, np.uint8)
    (tmp_path / "frames").write_bytes(frame.tobytes() * 2)
    rpicam = tmp_path / "bin" / "rpicam-vid"
    rpicam.parent.mkdir()
    rpicam.write_text(f"#!/bin/sh\necho \"$@\" > '{tmp_path}/asked'\ncat '{tmp_path}/frames'\n")
    rpicam.chmod(0o755)
    python = copy / "env" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    done = subprocess.run(
        [copy / "camera.sh", "2"],
        env={**os.environ, "PATH": f"{rpicam.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["frame"] for line in done.stdout.splitlines()] == [0, 1]
    assert (
        "--codec yuv420 --width 640 --height 480 --framerate 2" in (tmp_path / "asked").read_text()
    )


def test_the_camera_script_without_set_up_says_what_to_run(packed: Pack, tmp_path: Path) -> None:
    copy = shutil.copytree(packed.path, tmp_path / "copy")
    done = subprocess.run([copy / "camera.sh"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "error: run ./setup.sh first\n")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not here")
def test_systemd_understands_the_unit(packed: Pack, tmp_path: Path) -> None:
    unit = tmp_path / "hemline.service"
    text = (packed.path / "hemline.service").read_text()
    assert f"/opt/{packed.packed.name}/camera.sh" in text
    unit.write_text(text.replace(f"/opt/{packed.packed.name}/camera.sh", "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
    ours = [line for line in done.stderr.splitlines() if "hemline.service" in line]
    assert ours == []


def test_without_a_choice_the_8_bit_file_is_packed_unless_it_loses_accuracy(
    bundle: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(bundle, tmp_path / "bundle")
    manifest = dataclasses.replace(read_manifest(copy), recommended=None, recommended_on=())

    def scored(artifact: Artifact, correct: int) -> Artifact:
        scores = (Score(split="validation", images=1000, correct=correct),)
        verdicts = tuple(dataclasses.replace(v, scores=scores) for v in artifact.verdicts)
        small = 1000 if artifact.scheme == "dynamic" else artifact.size_bytes
        return dataclasses.replace(artifact, verdicts=verdicts, size_bytes=small)

    def chosen(**correct: int) -> tuple[str, str]:
        artifacts = [scored(a, correct.get(a.scheme, 900)) for a in manifest.artifacts]
        write(copy, dataclasses.replace(manifest, artifacts=tuple(artifacts)))
        packed = choose(copy, TARGETS["web"], PackOptions())
        return packed.artifact.name, packed.why

    loss = "fits a web page and loses at most 0.5 points of validation accuracy"
    assert "dynamic.tflite" in {a.name for a in manifest.artifacts}
    assert chosen(int8=895) == (
        "int8.tflite",
        f"the smallest in 8-bit integers that passed, {loss}",
    )
    assert chosen(int8=894) == ("dynamic.tflite", f"the smallest that passed, {loss}")
    assert chosen(int8=894, dynamic=894)[0] == "fp16.tflite"


def test_the_recommended_artifact_is_packed_or_the_smallest_that_was_verified(
    bundle: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(bundle, tmp_path / "bundle")
    manifest = read_manifest(copy)
    write(copy, dataclasses.replace(manifest, recommended="fp32.onnx"))
    assert choose(copy, PI, PackOptions()).artifact.name == "fp32.onnx"
    failed = [
        dataclasses.replace(a, verdicts=()) if a.name != "fp16.tflite" else a
        for a in manifest.artifacts
    ]
    write(copy, dataclasses.replace(manifest, recommended="fp32.onnx", artifacts=tuple(failed)))
    assert choose(copy, PI, PackOptions()).artifact.name == "fp16.tflite"


def test_a_pack_has_the_choice_for_its_device_and_says_why(bundle: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(bundle, tmp_path / "bundle")
    here = Recommendation(device="local", artifact="int8.tflite", because="Ship it here.")
    there = Recommendation(device="emulated:pi4", artifact="fp16.tflite", because="Ship it there.")
    write(copy, read_manifest(copy).recommending(there).recommending(here))
    arguments = ["pack", str(copy), "--for", "pi", "--output"]
    plain = CliRunner().invoke(cli, [*arguments, str(tmp_path / "plain")])
    why = "on the computer that made this pack; on the target another file can be faster"
    assert f"why int8.tflite: chosen by measurements {why}" in plain.stdout
    assert (
        "chosen for emulated:pi4: fp16.tflite (pack it with --device emulated:pi4)" in plain.stderr
    )
    assert f"next: scp -r {tmp_path / 'plain'} USER@BOARD:" in plain.stderr
    assert f"- choice: {here.because}" in (tmp_path / "plain" / "MODEL_CARD.md").read_text()
    board = [*arguments, str(tmp_path / "board"), "--device", "emulated:pi4"]
    chosen = CliRunner().invoke(cli, board)
    assert "why fp16.tflite: chosen by measurements on emulated:pi4" in chosen.stdout
    assert f"- choice: {there.because}" in (tmp_path / "board" / "MODEL_CARD.md").read_text()
    write(copy, dataclasses.replace(read_manifest(copy), recommended=None))
    unchosen = choose(copy, PI, PackOptions())
    assert unchosen.why.startswith("the smallest in 8-bit integers"), (
        "a choice for a board is not one"
    )
    with pytest.raises(UsageError, match="no file that was chosen for pi5"):
        choose(copy, PI, PackOptions(device="pi5"))


def write(bundle: Path, manifest: object) -> None:
    schema.save(bundle / MANIFEST_NAME, manifest)


def test_a_bundle_that_was_not_verified_is_refused(bundle: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(bundle, tmp_path / "bundle")
    manifest = read_manifest(copy)
    bare = tuple(dataclasses.replace(each, verdicts=()) for each in manifest.artifacts)
    write(copy, dataclasses.replace(manifest, artifacts=bare))
    with pytest.raises(GateError) as error:
        choose(copy, PI, PackOptions())
    assert "passed in no runtime yet; no other artifact fits either" in str(error.value)
    assert described(error.value).endswith(f"run `hemline verify {copy}` first")


def test_an_altered_artifact_is_refused(bundle: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(bundle, tmp_path / "bundle")
    content = bytearray((copy / "int8.tflite").read_bytes())
    content[1000] ^= 1
    (copy / "int8.tflite").write_bytes(content)
    with pytest.raises(FileFormatError, match="is not the file that manifest.json describes"):
        make(copy, tmp_path / "pack")
    assert [each.name for each in tmp_path.iterdir()] == ["bundle"]


def test_nothing_is_overwritten_silently_and_only_packs_are_replaced(
    bundle: Path, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="is there and is not a pack"):
        make(bundle, photos, force=True)
    assert names_in(photos) == {"mine.txt"}
    made = make(bundle, tmp_path / "pack").path
    (made / "stale").touch()
    error = CliRunner().invoke(cli, ["verify", str(made)]).exception
    assert isinstance(error, FileFormatError)
    assert described(error).startswith(f"{made} is a pack; its README.md says")
    with pytest.raises(UsageError) as refused:
        make(bundle, made)
    assert "replace it with --force" in described(refused.value)
    make(bundle, made, force=True)
    assert "stale" not in names_in(made)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["pack", "photos"]


def test_a_bill_of_materials_alone_makes_no_folder_a_pack(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "product").mkdir()
    (tmp_path / "product" / SBOM).write_text("{}")
    with pytest.raises(UsageError, match="is there and is not a pack"):
        make(bundle, tmp_path / "product", force=True)


def test_a_class_name_of_two_lines_is_refused(packed: Pack, tmp_path: Path) -> None:
    labels = ("a\nb", *packed.packed.stamp.labels[1:])
    stamp = dataclasses.replace(packed.packed.stamp, labels=labels)
    with pytest.raises(GateError, match=r"the class name 'a\\nb' has a control character"):
        write_pack(dataclasses.replace(packed.packed, stamp=stamp), tmp_path / "pack")
    assert list(tmp_path.iterdir()) == []


def test_class_names_are_no_markup_in_a_model_card(packed: Pack) -> None:
    labels = ("a|b", "<img src=x>", r"\*c*", *packed.packed.stamp.labels[3:])
    stamp = dataclasses.replace(packed.packed.stamp, labels=labels)
    text = model_card(dataclasses.replace(packed.packed, stamp=stamp))
    assert r"- labels: a\|b, \<img src=x>, \\\*c\*, " in text


def test_only_names_of_the_template_are_filled_in() -> None:
    facts = {"LABELS": '"@STEM@"', "STEM": "int8"}
    assert filled("@LABELS@ of @STEM@, @OTHER@", facts) == '"@STEM@" of int8, @OTHER@'


@pytest.mark.medium
def test_a_pack_does_not_depend_on_the_locale(bundle: Path, tmp_path: Path) -> None:
    choose_and_write = (
        "import sys; from hemline.export.api import pack;"
        "pack(sys.argv[1], 'kotlin', output=sys.argv[2])"
    )
    made = []
    for name, locale in (("ascii", "C"), ("utf-8", "C.UTF-8")):
        plain = {"LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
        command = [sys.executable, "-c", choose_and_write, bundle, tmp_path / name]
        subprocess.run(command, env=os.environ | plain, check=True)
        made.append(bytes_in(tmp_path / name))
    assert made[0] == made[1]


def test_the_next_command_quotes_a_path(bundle: Path, tmp_path: Path) -> None:
    words = ["pack", str(bundle), "--for", "pi", "-o", str(tmp_path / "my pack")]
    result = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert f"next: scp -r '{tmp_path}/my pack' USER@BOARD:" in result.stderr


def test_an_archive_of_another_kind_is_refused(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"an archive ends in \.tar\.gz"):
        make(bundle, tmp_path / "pack.zip")
    assert list(tmp_path.iterdir()) == []


def test_the_camera_of_a_colour_model_sends_pictures(packed: Pack, tmp_path: Path) -> None:
    spec = dataclasses.replace(packed.packed.stamp.input, channels=3)
    stamp = dataclasses.replace(packed.packed.stamp, input=spec)
    write_pack(dataclasses.replace(packed.packed, stamp=stamp), tmp_path / "pack")
    text = (tmp_path / "pack" / "camera.sh").read_text()
    assert "--codec mjpeg" in text
    assert "classify int8.tflite - --quiet" in text


def test_the_command_packs_the_only_bundle(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(bundle, tmp_path / "artifacts" / "my shirts!")
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, ["pack", "--for", "pi"], catch_exceptions=False)
    assert result.exit_code == 0
    assert result.stdout.startswith("packs/my-shirts-pi: int8.tflite for a Raspberry Pi")


def test_python_packs_as_the_command_does(
    packed: Pack, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = PackOptions(artifact="int8.tflite")
    result = pack(bundle, "pi", output=tmp_path / "pack", options=options)
    assert (result.path, result.packed.artifact.name) == (tmp_path / "pack", "int8.tflite")
    assert result.packed.why == "named by the user"
    assert bytes_in(result.path) == bytes_in(packed.path)
    monkeypatch.chdir(tmp_path)
    assert pack(str(bundle), "cpp").path == Path("packs") / f"{bundle.name}-cpp"


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        ("pie", PackOptions(), "unknown target 'pie': did you mean 'pi'"),
        ("cpp", PackOptions(wheels=("3.13",)), "wheels is not for cpp: leave it out"),
        ("pi", PackOptions(artifact="a", device="b"), "an artifact or a device, not both"),
    ],
)
def test_python_refuses_what_does_not_fit_together(
    bundle: Path, tmp_path: Path, target: str, options: PackOptions, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        pack(bundle, target, output=tmp_path / "pack", options=options)
    assert list(tmp_path.iterdir()) == []


def test_options_of_another_target_are_refused(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TARGETS, "pi", dataclasses.replace(PI, options=()))
    result = CliRunner().invoke(cli, ["pack", str(bundle), "--for", "pi", "--wheels", "3.11"])
    assert str(result.exception) == "--wheels is not for pi: leave it out"


def test_the_stamp_in_a_pack_is_that_of_the_bundle(packed: Pack, bundle: Path) -> None:
    found = read_stamped(packed.path / "int8.tflite").stamp
    assert found == read_stamped(bundle / "int8.tflite").stamp == packed.packed.stamp


def wheel(folder: Path, name: str, metadata: str, texts: dict[str, str]) -> Path:
    path = folder / f"{name}-1.0-py3-none-any.whl"
    files = {f"{name}-1.0.dist-info/METADATA": f"Name: {name}\nVersion: 1.0\n{metadata}", **texts}
    record = "".join(f"{each},,\n" for each in files)
    with zipfile.ZipFile(path, "w") as archive:
        for each, text in (files | {f"{name}-1.0.dist-info/RECORD": record}).items():
            archive.writestr(each, text)
    return path


def test_a_wheel_says_its_licence_and_brings_its_texts(tmp_path: Path) -> None:
    texts = {
        "Two_Parts-1.0.dist-info/licenses/LICENSE": "MIT …",
        "two/ThirdPartyNotices.txt": "others",
        "two/module.py": "",
    }
    found = wheel_component(
        wheel(tmp_path, "Two_Parts", "License-Expression: MIT AND Zlib\n", texts)
    )
    assert (found.name, found.version, found.licence) == ("two-parts", "1.0", "MIT AND Zlib")
    assert found.purl == "pkg:pypi/two-parts@1.0"
    assert found.texts == {"LICENSE": "MIT …".encode(), "two/ThirdPartyNotices.txt": b"others"}


def test_an_apache_package_without_the_text_gets_it(tmp_path: Path) -> None:
    old = "Classifier: License :: OSI Approved :: Apache Software License\n"
    found = wheel_component(wheel(tmp_path, "bare", old, {}))
    assert found.licence == "Apache-2.0"
    assert b"Apache License" in found.texts["LICENSE"]
    assert wheel_component(wheel(tmp_path, "silent", "", {})).licence == ""


def test_of_a_package_that_is_not_here_only_the_name_is_known() -> None:
    found = installed_component("ai-edge-litert", "0.0.1")
    assert (found.purl, found.licence) == ("pkg:pypi/ai-edge-litert@0.0.1", "")
