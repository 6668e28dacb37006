"""What every scheme must give, and what the bundle does with it."""

from __future__ import annotations

import dataclasses
import gzip
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from hemline import files
from hemline.cli import cli
from hemline.contract import schema
from hemline.contract.checkpoint import read_card
from hemline.contract.evaluation_set import load_split
from hemline.contract.job import HostFacts
from hemline.contract.manifest import MANIFEST_NAME, Manifest, plan_path, read_manifest
from hemline.contract.record import Accuracy, Conditions, Record, read_records
from hemline.contract.stamp import read_stamped
from hemline.data.datasets import Images, without_copies
from hemline.errors import (
    DataError,
    FileFormatError,
    GateError,
    HemlineError,
    NotNeededError,
    UnknownNameError,
)
from hemline.export import cell_verification, making
from hemline.export.bundle import ExportRequest, export_bundle
from hemline.export.quantization.calibration import calibration_images, training_indices
from hemline.export.quantization.options import PostTrainingOptions, QuantizationOptions
from hemline.export.quantization.plan import QuantizationPlan
from hemline.export.quantization.planning import Planning
from hemline.export.quantization.quantized import Quantized
from hemline.export.scheme import Scheme
from hemline.export.schemes import EIGHT_BIT, FLOAT16, FLOAT32, SCHEMES, find_schemes
from hemline.export.verification import RECORDS_NAME, require_supported_pass, verify_bundle
from hemline.host import host_facts
from hemline.runtime.discovery import installed_names
from hemline.runtime.targets import find_targets
from hemline.train.nets.hem import HEM_50K

# DESIGN: the border of every scheme, (dtype, scale, zero point) in and dtype out
BORDERS = {
    "fp32.tflite": (("float32", 1.0, 0), "float32"),
    "fp16.tflite": (("float32", 1.0, 0), "float32"),
    "dynamic.tflite": (("float32", 1.0, 0), "float32"),
    "int8.tflite": (("int8", 1.0, -128), "int8"),
    "fp32.onnx": (("float32", 1.0, 0), "float32"),
    "int8.onnx": (("uint8", 1.0, 0), "float32"),
}


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    """Return a bundle that a test may change."""
    shutil.copytree(bundle, tmp_path / "bundle")
    return tmp_path / "bundle"


def request(checkpoint: Path, folder: Path, *schemes: str) -> ExportRequest:
    return ExportRequest(
        checkpoint=checkpoint,
        bundle=folder,
        schemes=find_schemes(schemes),
        options=QuantizationOptions(post_training=PostTrainingOptions(images=100)),
    )


@pytest.mark.parametrize("name", [each.file_name for each in find_schemes(())])
def test_pixels_go_in_and_logits_come_out(manifest: Manifest, bundle: Path, name: str) -> None:
    artifact = manifest.artifact(name)
    entrance = (artifact.input.dtype, artifact.input.scale, artifact.input.zero_point)
    assert (entrance, artifact.output.dtype) == BORDERS[name]
    stamp = read_stamped(bundle / name).stamp
    assert (stamp.input, stamp.output) == (artifact.input, artifact.output)
    assert stamp.labels == manifest.labels
    assert stamp.supported_runtimes == SCHEMES[name].supported_runtimes


@pytest.mark.parametrize("name", [each.file_name for each in find_schemes(())])
def test_an_artifact_is_right_in_every_runtime_it_claims(manifest: Manifest, name: str) -> None:
    supported = {
        c.runtime for c in SCHEMES[name].supported_runtimes if c.runtime in installed_names()
    }
    verdicts = {v.runtime: v for v in manifest.artifact(name).verdicts}
    assert supported <= verdicts.keys()
    for runtime in supported:
        verdict = verdicts[runtime]
        assert (verdict.status, verdict.reason) == ("passed", "")
        assert {score.split for score in verdict.scores} == {"validation", "test"}
        assert verdict.rms_difference is not None
        assert verdict.p99_difference is not None
        assert verdict.rms_difference <= verdict.largest_difference
        assert verdict.p99_difference <= verdict.largest_difference
        assert verdict.largest_difference <= manifest.artifact(name).tolerance


def test_schemes_shrink_the_file_as_they_say(manifest: Manifest, bundle: Path) -> None:
    size = {a.name: a.size_bytes for a in manifest.artifacts}
    assert size["fp16.tflite"] < 0.6 * size["fp32.tflite"]
    assert size["int8.tflite"] < 0.4 * size["fp32.tflite"]
    assert size["int8.onnx"] < 0.5 * size["fp32.onnx"]
    for artifact in manifest.artifacts:
        # a gzip of the same bytes has a header of 18 more
        packed = len(gzip.compress((bundle / artifact.name).read_bytes(), 9))
        assert artifact.compressed_bytes is not None
        assert abs(packed - artifact.compressed_bytes) <= 18
        assert artifact.compressed_bytes < artifact.size_bytes


def test_nothing_is_made_again_when_nothing_changed(
    checkpoint: Path, copy: Path, images: Images
) -> None:
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*") if path.is_file()}
    said: list[str] = []
    manifest = export_bundle(request(checkpoint, copy), images, say=said.append)
    verify_bundle(copy, manifest, say=said.append)
    assert said == []
    assert {path: path.stat().st_mtime_ns for path in copy.rglob("*") if path.is_file()} == before


@pytest.mark.medium
def test_an_altered_artifact_alone_is_made_again(
    checkpoint: Path, copy: Path, images: Images
) -> None:
    original = (copy / "fp16.tflite").read_bytes()
    (copy / "fp16.tflite").write_bytes(original[:-9])
    said: list[str] = []
    export_bundle(request(checkpoint, copy), images, say=said.append)
    assert [line.split(":")[0] for line in said] == ["export fp16.tflite"]
    assert len((copy / "fp16.tflite").read_bytes()) == len(original)


@pytest.mark.medium
def test_the_choice_stands_as_long_as_no_file_changes(
    checkpoint: Path, copy: Path, images: Images
) -> None:
    chosen = {"recommended": "int8.onnx", "recommended_because": "the fastest"}
    schema.save(copy / MANIFEST_NAME, dataclasses.replace(read_manifest(copy), **chosen))
    assert export_bundle(request(checkpoint, copy), images).recommended == "int8.onnx"
    again = dict(read_manifest(copy).evaluation_sha256)
    (copy / next(iter(again))).unlink()  # the evaluation set is made again, no file is
    assert export_bundle(request(checkpoint, copy), images).recommended == "int8.onnx"
    assert read_manifest(copy).recommended_because == "the fastest"
    changed = dataclasses.replace(
        request(checkpoint, copy, "int8.onnx"),
        options=QuantizationOptions(post_training=PostTrainingOptions(images=60)),
    )
    assert export_bundle(changed, images).recommended is None, "it was of another file"


def test_a_file_that_was_removed_leaves_the_manifest_when_another_is_exported(
    checkpoint: Path, copy: Path, images: Images
) -> None:
    (copy / "fp32.onnx").unlink()
    said: list[str] = []
    export_bundle(request(checkpoint, copy, "fp16.tflite"), images, say=said.append)
    assert said == []
    assert "fp32.onnx" not in [artifact.name for artifact in read_manifest(copy).artifacts]
    verify_bundle(copy, read_manifest(copy))


def refuse(planning: Planning) -> Quantized:
    raise HemlineError(f"{len(planning.int8.plan.weights)} layers are too many")


def decline(planning: Planning) -> Quantized:
    raise NotNeededError(f"{planning.options.max_drop_points} points are lost at most")


@pytest.mark.medium
def test_a_scheme_that_cannot_be_made_is_left_out_and_the_others_go_on(
    checkpoint: Path, copy: Path, images: Images
) -> None:
    (copy / "int8-bad.onnx").write_bytes(b"of an earlier export")
    int8 = SCHEMES["int8.onnx"]
    bad, idle = (
        dataclasses.replace(int8, name=name, planner=f"{__name__}:{function}")
        for name, function in (("int8-bad", "refuse"), ("int8-idle", "decline"))
    )
    wanted = dataclasses.replace(request(checkpoint, copy), schemes=(bad, idle, int8))
    said: list[str] = []
    manifest = export_bundle(wanted, images, say=said.append)
    assert said[1] == f"left out int8-bad.onnx: {HEM_50K.convolutions + 1} layers are too many"
    assert said[3] == "left out int8-idle.onnx: None points are lost at most"
    assert {each.name: each.needed for each in manifest.left_out} == {
        "int8-bad.onnx": True,
        "int8-idle.onnx": False,
    }
    assert manifest.artifact("int8.onnx").steps == ()
    assert not (copy / "int8-bad.onnx").exists()
    assert read_manifest(copy) == manifest
    said.clear()
    export_bundle(wanted, images, say=said.append)
    assert [line.split(":")[0] for line in said] == [
        "export int8-bad.onnx", "left out int8-bad.onnx"
    ], "what brings nothing is not tried again; what failed is"  # fmt: skip


@pytest.mark.medium
def test_the_only_scheme_that_cannot_be_made_is_an_error(
    checkpoint: Path, tmp_path: Path, images: Images
) -> None:
    bad = dataclasses.replace(SCHEMES["int8.onnx"], planner=f"{__name__}:refuse")
    wanted = dataclasses.replace(request(checkpoint, tmp_path), schemes=(bad,))
    with pytest.raises(HemlineError, match=f"{HEM_50K.convolutions + 1} layers are too many"):
        export_bundle(wanted, images)


@pytest.mark.medium
def test_an_altered_plan_has_its_artifact_made_again(
    checkpoint: Path, copy: Path, images: Images
) -> None:
    plan = copy / plan_path("int8.onnx")
    before = schema.load(QuantizationPlan, plan)
    plan.write_text(plan.read_text().replace("255.0", "254.0"))
    result = CliRunner().invoke(cli, ["plan", str(copy)])
    assert "int8.onnx.json is not the plan that int8.onnx was made by" in str(result.exception)
    said: list[str] = []
    export_bundle(request(checkpoint, copy), images, say=said.append)
    assert [line.split(":")[0] for line in said] == ["export int8.onnx"]
    assert schema.load(QuantizationPlan, plan).activations[0] == before.activations[0]


def test_a_plan_is_shown(bundle: Path) -> None:
    shown = CliRunner().invoke(cli, ["plan", str(bundle / "int8.onnx")]).output
    assert "int8.onnx: calibrator min-max on 100 training images" in shown
    convolutions = re.findall(r"^conv_\d.weight +7  channel$", shown, re.MULTILINE)
    assert len(convolutions) == HEM_50K.convolutions
    assert re.search(r"^dense_1.weight +7  tensor$", shown, re.MULTILINE)
    assert re.search(r"^image +0 +255$", shown, re.MULTILINE)
    lines = CliRunner().invoke(cli, ["plan", str(bundle), "--json"]).output.splitlines()
    assert [json.loads(line)["artifact"] for line in lines] == ["int8.tflite", "int8.onnx"]
    result = CliRunner().invoke(cli, ["plan", str(bundle / "fp32.onnx")])
    assert "fp32.onnx has no quantization plan" in str(result.exception)


@pytest.mark.slow
def test_another_calibration_touches_calibrated_schemes_only(
    checkpoint: Path, copy: Path, images: Images
) -> None:
    changed = dataclasses.replace(
        request(checkpoint, copy),
        options=QuantizationOptions(post_training=PostTrainingOptions(images=60)),
    )
    said: list[str] = []
    export_bundle(changed, images, say=said.append)
    assert {line.split(":")[0] for line in said} == {"export int8.tflite", "export int8.onnx"}


@pytest.mark.medium
def test_a_bundle_keeps_a_sample_of_many_test_images(
    checkpoint: Path, images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "_MOST_TEST_BYTES", 40 * 28 * 28 + 5)
    said: list[str] = []
    made = export_bundle(request(checkpoint, tmp_path, "fp32.tflite"), images, say=said.append)
    total = len(images.test_images)
    assert f"the bundle keeps 40 of the {total:,} test images" in said
    split = load_split(tmp_path, "test", made.evaluation_sha256)
    assert len(split.images) == len(split.logits) == 40
    np.testing.assert_array_equal(split.images, images.test_images[:40])
    assert split.labels is not None
    np.testing.assert_array_equal(split.labels, images.test_labels[:40])


@pytest.mark.slow
def test_a_damaged_manifest_only_costs_time(checkpoint: Path, copy: Path, images: Images) -> None:
    (copy / MANIFEST_NAME).write_text('{"kind": "manifest", "schema": 1')
    manifest = export_bundle(request(checkpoint, copy, "fp32.tflite"), images)
    assert [artifact.name for artifact in manifest.artifacts] == ["fp32.tflite"]


def test_other_images_than_those_trained_on_are_refused(
    checkpoint: Path, tmp_path: Path, images: Images
) -> None:
    other = dataclasses.replace(images, sha256={**images.sha256, "train-images-idx3-ubyte": "0"})
    with pytest.raises(DataError, match="was trained on other fashion-mnist files"):
        export_bundle(request(checkpoint, tmp_path), other)


def test_calibration_images_are_in_no_other_split(checkpoint: Path, images: Images) -> None:
    split = read_card(checkpoint).trained.split
    chosen = calibration_images(images, split, count=100).images
    validation = images.train_images[list(split.validation_indices)]
    assert len(without_copies(chosen, (validation, images.test_images))) == 100
    training = images.train_images[training_indices(len(images.train_images), split)]
    assert len(without_copies(chosen, (training,))) == 0


def test_a_copy_of_a_test_image_is_never_calibrated_on(checkpoint: Path, images: Images) -> None:
    split = read_card(checkpoint).trained.split
    leaky = dataclasses.replace(images, test_images=images.train_images[::2])
    chosen = calibration_images(leaky, split, count=100).images
    assert len(without_copies(chosen, (leaky.test_images,))) == 100


def test_too_few_calibration_images_are_told(checkpoint: Path, images: Images) -> None:
    with pytest.raises(DataError, match="5000 calibration images asked for, 700 are there"):
        calibration_images(images, read_card(checkpoint).trained.split, count=5000)


def test_accuracy_records_hold_the_answers(bundle: Path, manifest: Manifest) -> None:
    split = load_split(bundle, "test", manifest.evaluation_sha256)
    found = [r for r in read_records(bundle / RECORDS_NAME) if isinstance(r.payload, Accuracy)]
    assert len(found) == 2 * (sum(len(a.verdicts) for a in manifest.artifacts) + 1)
    for record in found:
        if isinstance(record.payload, Accuracy) and record.payload.split == "test":
            right = record.payload.classes() == split.labels
            assert (len(right), right.sum()) == (record.payload.images, record.payload.correct)


def keras_records(bundle: Path) -> list[Record]:
    return [r for r in read_records(bundle / RECORDS_NAME) if r.cell.runtime == "keras"]


@pytest.mark.medium
def test_the_keras_record_has_the_conditions_of_the_export(copy: Path) -> None:
    """Verified later or elsewhere, it names the host and the date of the export all the same."""
    path = copy / "evaluation" / "conditions.json"
    manifest = read_manifest(copy)
    conditions = schema.load(Conditions, path)
    assert conditions.host.name == host_facts().name
    assert [r.conditions for r in keras_records(copy)] == [conditions] * 2
    elsewhere = dataclasses.replace(
        conditions,
        host=dataclasses.replace(conditions.host, processor="another"),
        date="2025-01-01T00:00:00Z",
    )
    schema.save(path, elsewhere)
    digest = {"evaluation/conditions.json": files.sha256_of(path)}
    (copy / RECORDS_NAME).unlink()
    verify_bundle(
        copy,
        dataclasses.replace(manifest, evaluation_sha256=manifest.evaluation_sha256 | digest),
        find_targets(["onnxruntime"]),
    )
    verify_bundle(copy, read_manifest(copy), find_targets(["litert"]))
    assert len(keras_records(copy)) == 2, "once a split, however often it is verified"
    for record in keras_records(copy):
        assert record.conditions == elsewhere
        assert record.cell.host.startswith("another, ")


@pytest.mark.medium
def test_the_keras_record_of_an_older_bundle_names_no_host(copy: Path) -> None:
    (copy / "evaluation" / "conditions.json").unlink()
    manifest = read_manifest(copy)
    hashes = dict(manifest.evaluation_sha256)
    del hashes["evaluation/conditions.json"]
    (copy / RECORDS_NAME).unlink()
    older = dataclasses.replace(manifest, evaluation_sha256=hashes)
    verify_bundle(copy, older, find_targets(["onnxruntime"]))
    for record in keras_records(copy):
        assert (record.cell.host, record.conditions.host) == ("", HostFacts())
        assert record.conditions.date == manifest.created


def test_an_altered_evaluation_set_is_refused(copy: Path) -> None:
    labels = np.load(copy / "evaluation" / "test-labels.npy")
    np.save(copy / "evaluation" / "test-labels.npy", (labels + 1) % 10)
    with pytest.raises(FileFormatError, match="test-labels.npy was modified"):
        verify_bundle(copy, read_manifest(copy))


@pytest.mark.medium
def test_a_file_that_is_wrong_inside_its_claim_stops_with_exit_code_3(copy: Path) -> None:
    """The reference is changed instead of the file: whatever disagrees is wrong."""
    path = copy / "evaluation" / "test-logits.npy"
    np.save(path, np.roll(np.load(path), 1, axis=1))
    manifest = read_manifest(copy)
    hashes = {**manifest.evaluation_sha256, "evaluation/test-logits.npy": files.sha256_of(path)}
    with pytest.raises(GateError, match=r"int8\.onnx in onnxruntime .*: logits differ") as caught:
        verify_bundle(copy, dataclasses.replace(manifest, evaluation_sha256=hashes))
    assert caught.value.exit_code == 3
    assert "failed" in {v.status for a in read_manifest(copy).artifacts for v in a.verdicts}


def test_a_wrong_verdict_outside_the_claim_is_no_failure(copy: Path) -> None:
    manifest = read_manifest(copy)
    artifacts = tuple(
        dataclasses.replace(
            artifact,
            verdicts=tuple(
                dataclasses.replace(verdict, runtime="something else", status="failed")
                for verdict in artifact.verdicts
            ),
        )
        for artifact in manifest.artifacts
    )
    require_supported_pass(copy, dataclasses.replace(manifest, artifacts=artifacts))


@pytest.mark.medium
def test_a_slow_cell_is_verified_on_the_first_images_and_marked(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hemline.bench.comparison import compare
    from hemline.bench.report.table import bundle_table

    monkeypatch.setattr(cell_verification, "SLOW_NS", 0)  # then every cell is slow
    monkeypatch.setattr(cell_verification, "SLOW_IMAGES", 60)
    manifest = verify_bundle(copy, read_manifest(copy))
    scores = [s for a in manifest.artifacts for v in a.verdicts for s in v.scores]
    assert {score.images for score in scores} == {60}
    assert {v.status for a in manifest.artifacts for v in a.verdicts} == {"passed"}
    comparison = compare(read_records(copy / RECORDS_NAME))
    assert all("of 60" in row[2] for row in bundle_table(comparison).rows[1:])
    float_row = next(row for row in comparison.rows if row.cell.artifact == "fp32.onnx")
    assert float_row.test.drop_points == 0, "the drop is against the same 60 images"


def test_a_scheme_name_means_every_format() -> None:
    assert [s.file_name for s in find_schemes(("int8",))] == ["int8.tflite", "int8.onnx"]
    assert [s.file_name for s in find_schemes(("int8.onnx",))] == ["int8.onnx"]
    assert find_schemes(()) == tuple(row for row in SCHEMES.values() if row.default)
    with pytest.raises(UnknownNameError, match="did you mean 'int8"):
        find_schemes(("int-8",))


def test_tolerances_grow_with_depth_and_coarseness() -> None:
    fp32, fp16, int8 = (each.share_of(6) for each in (FLOAT32, FLOAT16, EIGHT_BIT))
    assert fp32 < fp16 < int8 <= 0.5
    assert EIGHT_BIT.share_of(3) < EIGHT_BIT.share_of(8)
    # 2 · 4.4 · 8 ÷ (255 · √12) · √(2 · 8): the figure in the derivation beside the value, twice
    assert EIGHT_BIT.share_of(8) == pytest.approx(2 * 0.1594, rel=1e-3)


def test_a_scheme_without_a_tolerance_cannot_be_made() -> None:
    fields = {
        field.name: getattr(SCHEMES["int8.onnx"], field.name)
        for field in dataclasses.fields(Scheme)
        if field.name != "tolerance"
    }
    with pytest.raises(TypeError, match="tolerance"):
        Scheme(**fields)


def test_a_manifest_survives_the_disk(bundle: Path, manifest: Manifest, tmp_path: Path) -> None:
    schema.save(tmp_path / "m.json", manifest)
    assert schema.load(Manifest, tmp_path / "m.json") == manifest


def test_small_logits_do_not_make_the_8_bit_bound_smaller_than_harmless() -> None:
    """A net that has hardly learned has logits of 0.5 that terms of several cancelled to."""
    assert EIGHT_BIT.bound(0.5, 2) == 0.25
    assert EIGHT_BIT.bound(20.0, 2) == EIGHT_BIT.share_of(2) * 20.0 > 1
    assert FLOAT32.bound(0.5, 2) == FLOAT32.share * 0.5
