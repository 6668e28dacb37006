"""Golden vectors: what Python computes at each step, and nobody's photographs."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from hemline.contract import schema
from hemline.errors import BackendError, GateError
from hemline.export.pack.packed import Packed, PackOptions
from hemline.export.pack.packing import choose
from hemline.export.pack.table import TARGETS
from hemline.export.pack.vectors import (
    NAME,
    GoldenVectors,
    _vector,
    golden_vectors,
    write_vectors,
)
from hemline.runtime import Classifier


def chosen(bundle: Path, artifact: str) -> Packed:
    return choose(bundle, TARGETS["pi"], PackOptions(artifact=artifact))


@pytest.mark.parametrize("artifact", ["int8.tflite", "int8.onnx", "fp32.onnx"])
def test_each_step_is_what_python_computes(bundle: Path, tmp_path: Path, artifact: str) -> None:
    written = write_vectors(tmp_path, chosen(bundle, artifact))
    read = schema.load(GoldenVectors, tmp_path / NAME)
    assert read == written
    real = {"int8.tflite": np.arange(256) - 128}.get(artifact, np.arange(256))
    with Classifier.load(bundle / artifact) as classifier:
        for each in read.vectors:
            pixels = np.array(each.pixels, np.uint8)
            expected = classifier.classify(pixels.reshape(read.input.shape))
            np.testing.assert_array_equal(each.tensor, real[pixels])
            np.testing.assert_array_equal(np.float32(each.logits), expected.logits)
            steps = np.float32(each.output) - np.float32(read.output.zero_point)
            np.testing.assert_array_equal(steps * np.float32(read.output.scale), expected.logits)
            assert (each.label, each.index, each.score) == (
                expected.label,
                expected.index,
                expected.score,
            )


def test_the_first_image_has_every_pixel_value_and_most_classes_occur(bundle: Path) -> None:
    vectors = golden_vectors(chosen(bundle, "int8.tflite")).vectors
    assert set(vectors[0].pixels) == set(range(256))
    assert len({each.index for each in vectors}) >= 8
    assert sum(each.decided for each in vectors) >= len(vectors) // 2
    assert len({each.pixels for each in vectors}) == len(vectors)


@pytest.mark.parametrize("artifact", ["int8.tflite", "int8.onnx", "dynamic.tflite", "fp32.onnx"])
def test_labels_are_decided_and_tolerances_are_of_rounding(bundle: Path, artifact: str) -> None:
    golden = golden_vectors(chosen(bundle, artifact))
    span = np.ptp([each.logits for each in golden.vectors])
    assert 0 < golden.tolerance <= (1e-3 if artifact == "fp32.onnx" else 4 / 200) * span
    # the slope of a softmax is 1/4 at most
    assert 0 < golden.score_tolerance <= golden.tolerance / 4 / golden.temperature + 1e-6
    assert sum(each.decided for each in golden.vectors) >= len(golden.vectors) // 2


def test_a_score_at_the_threshold_is_not_decided(bundle: Path) -> None:
    packed = chosen(bundle, "int8.tflite")
    golden = golden_vectors(packed)
    first = next(each for each in golden.vectors if each.decided)
    stamp = dataclasses.replace(packed.stamp, unknown_threshold=first.score)
    image = np.array(first.pixels, np.uint8).reshape(packed.stamp.input.shape)
    with Classifier.load(packed.path) as classifier:
        found = classifier.classify(image)
    assert not _vector(image, found, stamp, golden.tolerance).decided


def test_a_model_that_answers_nothing_but_ties_has_no_vectors(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hemline.export.pack.vectors._tolerance", lambda *_: 20.0)
    with pytest.raises(GateError, match=r"in all 13 images the two best classes are within 20"):
        golden_vectors(chosen(bundle, "int8.tflite"))


def test_images_of_a_custom_data_set_stay_at_home(bundle: Path) -> None:
    packed = chosen(bundle, "int8.tflite")
    custom = dataclasses.replace(packed.manifest, dataset="photos")
    vectors = golden_vectors(dataclasses.replace(packed, manifest=custom)).vectors
    stamped = [v.image(packed.stamp.input.shape).ravel() for v in packed.stamp.test_vectors]
    private = np.load(bundle / "evaluation" / "validation-images.npy").reshape(100, -1)
    shown = {bytes(each.pixels) for each in vectors} - {each.tobytes() for each in stamped}
    assert len(shown) == len(vectors) - len(stamped)
    assert shown.isdisjoint(each.tobytes() for each in private)


def test_without_an_evaluation_set_images_are_generated(bundle: Path, tmp_path: Path) -> None:
    shutil.copy(bundle / "int8.tflite", tmp_path)
    packed = dataclasses.replace(chosen(bundle, "int8.tflite"), bundle=tmp_path)
    vectors = golden_vectors(packed).vectors
    assert len(vectors) == 16
    custom = dataclasses.replace(packed.manifest, dataset="photos")
    assert vectors == golden_vectors(dataclasses.replace(packed, manifest=custom)).vectors


def test_a_runtime_that_is_not_here_is_named(bundle: Path) -> None:
    packed = chosen(bundle, "int8.tflite")
    far = tuple(dataclasses.replace(v, runtime="elsewhere") for v in packed.artifact.verdicts)
    artifact = dataclasses.replace(packed.artifact, verdicts=far)
    with pytest.raises(BackendError, match="passed in elsewhere only, which is not installed here"):
        golden_vectors(dataclasses.replace(packed, artifact=artifact))
