"""A single stamped file, made elsewhere, is measured like a bundle."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from hemline.bench.comparison import compare
from hemline.bench.report.json_lines import json_lines
from hemline.bench.report.table import bundle_table
from hemline.cli import cli
from hemline.contract.manifest import Manifest, read_manifest
from hemline.contract.record import RECORDS_NAME, Accuracy, Record, read_records
from hemline.contract.stamp import Stamp, read_stamped
from hemline.data.datasets import Images
from hemline.errors import HemlineError, UsageError
from hemline.export.admission.admitting import AdmissionRequest, admit
from hemline.export.admission.file_bundle import folder_of, update_file_bundle
from hemline.export.pixel_scale import PixelScale
from hemline.remedies import described


@pytest.fixture(scope="module")
def admitted(bundle: Path, manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an artifact of the bundle, admitted as if it had been made elsewhere."""
    path = tmp_path_factory.mktemp("foreign") / "mine.tflite"
    path.write_bytes(read_stamped(bundle / "int8.tflite").model)
    pixels = PixelScale.of_range(0, 255)
    request = AdmissionRequest(path=path, output=None, labels=manifest.labels, pixels=pixels)
    return admit(request).path


@pytest.fixture
def file(admitted: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(admitted, tmp_path / "mine-admitted.tflite"))


@pytest.fixture
def data(images: Images, tmp_path: Path) -> Path:
    """Return the test images with their classes in another order."""
    path = tmp_path / "data.npz"
    labels = np.array(images.dataset.labels[::-1])
    np.savez(path, x=images.test_images, y=9 - images.test_labels, labels=labels)
    return path


def call(*words: object) -> tuple[str, str]:
    result = CliRunner().invoke(cli, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout, result.stderr


def printed(text: str) -> list[str]:
    """Return the lines but for those on how busy the machine was."""
    machine = ("rounds were disturbed", "check of the run")
    return [line for line in text.splitlines() if not any(each in line for each in machine)]


def refused(*words: object) -> str:
    error = CliRunner().invoke(cli, ["-q", *map(str, words)]).exception
    assert isinstance(error, HemlineError)
    return described(error)


@pytest.mark.medium
def test_without_labelled_images_it_is_measured_and_has_no_accuracy(file: Path) -> None:
    _, said = call("bench", file, "--quick")
    assert "no accuracy: the generated images have no labels; name labelled images with" in said
    assert "nothing changed" in call("bench", file, "--quick")[1]
    text, _ = call("table", file)
    header, _, row, explained, conditions = printed(text)
    assert "agreement: share of images with the label of the source model" in explained
    assert header.split()[:5] == ["artifact", "size", "compressed", "agreement", "litert"]
    assert row.startswith("mine-admitted.tflite")
    assert "µs" in row
    assert "accuracy unknown, because the test images have no labels" in conditions
    for line in call("table", file, "--json")[0].splitlines():
        document = json.loads(line)
        assert document["artifact_sha256"] == read_manifest(folder_of(file)).artifacts[0].sha256
        assert (document["model"], document["test_images"]) == ("mine", 16)
        assert (document["test_correct"], document["test_drop_points"]) == (None, None)
    reasons = printed(call("choose", file)[0])
    assert reasons[0].startswith("Ship mine-admitted.tflite with litert")
    assert reasons[1:] == [
        "It was chosen by latency and size alone: without labels its accuracy is not known."
    ]
    assert json.loads(call("choose", file, "--json")[0])["drop_points"] is None


@pytest.mark.medium
def test_with_labelled_images_it_has_the_accuracy_of_its_classes_by_name(
    file: Path, data: Path, manifest: Manifest
) -> None:
    call("bench", file, "--quick")
    text, said = call("compare", file, "--quick", "--data", data)
    assert "no accuracy" not in said
    assert "accuracy on 200 test images" in text
    assert "smaller" not in text
    assert "drop" not in text
    assert "It was chosen by latency and size alone: there is no source model" in text
    folder = folder_of(file)
    assert (folder / "compare.png").stat().st_size > 10_000
    counts = {verdict.runtime: verdict.score("test") for a in manifest.artifacts
              if a.name == "int8.tflite" for verdict in a.verdicts}  # fmt: skip
    for line in (folder / "compare.jsonl").read_text().splitlines():
        document = json.loads(line)
        score = counts[document["runtime"]]
        assert score is not None
        assert (document["test_images"], document["test_correct"]) == (200, score.correct)
    call("bench", file, "--quick")
    assert read_manifest(folder).dataset == "data", "it keeps the images that it has"
    assert call("evaluate", folder, "--json")[0].count('"test"') == 1
    assert call("verify", folder)[0].count(" 100.00 % (98.1–100.0 %)\n") == len(counts), "passed"


@pytest.mark.slow
def test_the_picture_of_images_without_labels_shows_the_agreement(
    file: Path, images: Images, tmp_path: Path
) -> None:
    np.save(tmp_path / "images.npy", images.test_images[:40, :, :, 0])
    _, said = call("compare", file, "--quick", "--images", tmp_path / "images.npy")
    assert "no accuracy: the images have no labels" in said
    assert (folder_of(file) / "compare.png").stat().st_size > 10_000
    np.save(tmp_path / "classes.npy", images.test_labels[:40])
    words = ("--images", tmp_path / "images.npy", "--expected", tmp_path / "classes.npy")
    assert "accuracy on 40 test images" in call("compare", file, "--quick", *words)[0]


@pytest.mark.slow
def test_its_records_are_not_those_of_another_file(
    file: Path, bundle: Path, manifest: Manifest, tmp_path: Path
) -> None:
    update_file_bundle(file)
    before = read_manifest(folder_of(file))
    path = tmp_path / "other" / "other.tflite"
    path.parent.mkdir()
    path.write_bytes(read_stamped(bundle / "fp32.tflite").model)
    pixels = PixelScale.of_range(0, 255)
    other = admit(
        AdmissionRequest(path=path, output=None, labels=manifest.labels, pixels=pixels)
    ).path
    shutil.copy(other, file)
    with pytest.raises(UsageError, match="is not measured"):
        call("table", file)
    after = update_file_bundle(file)
    assert after.artifacts[0].sha256 != before.artifacts[0].sha256
    assert (before.model, after.model) == ("mine", "other")
    rows = [json.loads(line) for line in call("table", file, "--json")[0].splitlines()]
    assert {row["model"] for row in rows} == {"other"}


@pytest.mark.medium
def test_a_file_in_another_runtime_version_is_measured_there(file: Path) -> None:
    call("bench", file, "--quick", "--runtime", "litert")
    (artifact,) = read_manifest(folder_of(file)).artifacts
    assert [verdict.runtime for verdict in artifact.verdicts] == ["litert"]


def test_what_cannot_be_measured_is_refused_in_one_line(
    file: Path, bundle: Path, data: Path, tmp_path: Path
) -> None:
    bare = tmp_path / "bare.tflite"
    bare.write_bytes(read_stamped(file).model)
    for command in ("bench", "compare", "choose", "table"):
        assert "admit a foreign file with `hemline verify" in refused(command, bare)
        assert refused(command, file, file) == "a bundle or file is named twice"
    for command in ("choose", "table"):
        assert refused(command, file).endswith(f"is not measured; run `hemline bench {file}` first")
    assert not folder_of(bare).exists()
    assert not folder_of(file).exists()
    error = refused("bench", bundle / "int8.tflite")
    assert f"is in the bundle {bundle}, which has its records: use {bundle} instead" in error
    error = refused("bench", bundle, "--data", data)
    assert "is a bundle and contains its images" in error
    error = refused("bench", file, "--data", data, "--images", data)
    assert "not both" in error
    assert refused("bench", file, "--expected", data).startswith("classes without images")


def test_images_that_do_not_fit_are_refused(file: Path, images: Images, tmp_path: Path) -> None:
    path = tmp_path / "other.npz"
    names = np.array([f"class {at}" for at in range(10)])
    np.savez(path, x=images.test_images, y=images.test_labels, labels=names)
    assert "class 0, class 1, class 2 and 7 more cannot be matched" in refused(
        "bench", file, "--data", path
    )
    np.save(tmp_path / "colour.npy", np.zeros((3, 28, 28, 3), np.uint8))
    error = refused("bench", file, "--images", tmp_path / "colour.npy")
    assert "the model needs uint8 images of 28 × 28 × 1" in error


@pytest.mark.slow
def test_class_folders_are_read_at_the_size_and_channels_of_the_file(
    file: Path, manifest: Manifest, tmp_path: Path
) -> None:
    for label in ("Bag", "Coat"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for at in range(2):
            pixels = np.random.default_rng(at).integers(0, 256, (40, 50, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / label / f"{at}.png")
    text, _ = call("compare", file, "--quick", "--data", tmp_path / "photos")
    assert "accuracy on 4 test images" in text
    assert read_manifest(folder_of(file)).labels == manifest.labels


def test_a_stamp_of_a_newer_hemline_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stamp, "SCHEMA", Stamp.SCHEMA - 1)
    assert "upgrade Hemline" in refused("bench", file)


def test_a_source_model_has_no_row_where_its_accuracy_is_not_known(bundle: Path) -> None:
    def unlabelled(record: Record) -> Record:
        assert isinstance(record.payload, Accuracy)
        payload = dataclasses.replace(record.payload, correct=None, keras_correct=None)
        return dataclasses.replace(record, payload=payload)

    records = [r for r in read_records(bundle / RECORDS_NAME) if isinstance(r.payload, Accuracy)]
    table = bundle_table(compare(map(unlabelled, records)))
    assert table.rows[0][0] == "fp32.tflite"
    assert table.columns[:3] == ("artifact", "size", "agreement")


def test_an_imported_model_is_called_the_source(bundle: Path) -> None:
    """And it is told from the artifacts in the runtime of the same name."""

    def imported(record: Record) -> Record:
        if not record.cell.is_source:
            return record
        cell = dataclasses.replace(record.cell, artifact="onnx", runtime="onnx")
        return dataclasses.replace(record, cell=cell)

    comparison = compare(map(imported, read_records(bundle / RECORDS_NAME)))
    assert [source.title for source in comparison.sources] == ["source model"]
    assert bundle_table(comparison).rows[0][0] == "source"
    assert json.loads(json_lines(comparison)[0])["artifact"] == "onnx"
    assert bundle_table(comparison).rows[1:] == bundle_table(
        compare(read_records(bundle / RECORDS_NAME))
    ).rows[1:]  # fmt: skip


@pytest.mark.medium
def test_a_file_beside_a_bundle_is_judged_on_its_images(
    file: Path, bundle: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    call("bench", file, "--quick")
    error = refused("table", folder, file)
    assert f"{folder} was verified on 200 images of fashion-mnist, {file}.bench on other" in error
    assert "(16 images of generated images)" in error
    assert f"with one labelled set (--data {folder} uses the test images" in error
    assert "no accuracy" not in call("bench", folder, file, "--quick")[1]
    table = [line.split() for line in call("table", folder, file)[0].splitlines()]
    assert table[0][:3] == ["model", "artifact", "size"]
    models = [(row[0], row[1]) for row in table[2:10]]
    assert models[0] == (read_manifest(folder).model, "keras")
    assert models[7] == ("mine", "mine-admitted.tflite")
