"""Broken files are told from files that a runtime rounds differently."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner

from hemline.cli import cli
from hemline.contract.evaluation_set import load_split
from hemline.contract.manifest import Manifest
from hemline.contract.parity import ParityBounds, check_parity
from hemline.contract.specs import OutputSpec
from hemline.errors import GateError
from hemline.export.admission.admitting import require_parity
from hemline.export.admission.trial import Trial, between_runtimes
from hemline.runtime.discovery import installed_names

Logits = npt.NDArray[np.float32]
SPEC = OutputSpec(size=10, dtype="float32")
PROBABILITIES = OutputSpec(size=10, dtype="int8", scale=1 / 256, gives="probabilities")
EIGHT_BIT = ParityBounds(difference=0.17, agreement=0.90)


def some_logits(count: int, seed: int = 1) -> Logits:
    return np.random.default_rng(seed).normal(scale=5, size=(count, 10)).astype(np.float32)


def log_softmax(logits: Logits) -> Logits:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(np.log(np.maximum(powers / powers.sum(axis=1, keepdims=True), 1e-9)), "f4")


def test_equal_outputs_pass_with_no_difference() -> None:
    logits = some_logits(50)
    result = check_parity(logits, logits, SPEC, ParityBounds(difference=0.0, agreement=1.0))
    assert result.passed
    assert (result.images, result.agreement, result.outliers) == (50, 50, 0)
    assert (result.median_difference, result.p99_difference) == (0.0, 0.0)
    assert (result.rms_difference, result.largest_difference) == (0.0, 0.0)


def test_the_figures_are_of_the_largest_difference_of_each_image() -> None:
    reference = np.zeros((4, 10), np.float32)
    reference[:, 3] = 9
    found = reference.copy()
    found[0, :] += [1, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    found[1, :] += [0, 2, 0, 0, 0, 0, 0, 0, -3, 0]
    result = check_parity(found, reference, SPEC, ParityBounds(difference=5.0))
    assert (result.largest_difference, result.median_difference) == (3.0, 0.5)
    assert result.rms_difference == pytest.approx(np.sqrt((1 + 9) / 4))
    assert result.p99_difference == pytest.approx(3 - 0.03 * 2)  # between the two largest


def test_a_few_probabilities_near_a_tie_may_differ_by_more() -> None:
    """8 of 1,016 images by up to 0.34: what two runtimes gave with an int8 ResNet."""
    reference = log_softmax(some_logits(1016))
    found = reference.copy()
    near, other = np.log([0.58, 0.42]), np.log([0.42, 0.58])
    for at in range(8):
        reference[at], found[at] = -20, -20
        reference[at, :2], found[at, :2] = near, other if at else np.log([0.24, 0.76])
    result = check_parity(found, reference, PROBABILITIES, EIGHT_BIT)
    assert result.passed, result.reason
    assert result.largest_difference == pytest.approx(0.34, abs=1e-6)
    assert result.agreement == 1008
    assert result.outliers == 1


@pytest.mark.parametrize("spec", [SPEC, PROBABILITIES])
def test_nonsense_fails(spec: OutputSpec) -> None:
    reference, found = (log_softmax(some_logits(200, seed)) for seed in (1, 2))
    result = check_parity(found, reference, spec, EIGHT_BIT)
    assert not result.passed
    assert f"{spec.gives} differ by up to" in result.reason
    assert "% of the labels agree with the reference (at least 90 %)" in result.reason


def test_nonsense_of_a_model_that_decides_little_fails_by_its_labels() -> None:
    """All probabilities near 0.1: none differs by much, and the labels are other ones."""
    reference, found = (log_softmax(some_logits(200, seed) / 50) for seed in (1, 2))
    result = check_parity(found, reference, PROBABILITIES, EIGHT_BIT)
    assert result.outliers == 0
    assert result.reason.startswith("only ")


def test_one_image_in_twelve_that_is_far_off_fails() -> None:
    reference = some_logits(240)
    found = reference.copy()
    found[::12] += 1  # no label changes, and most images have equal bits
    result = check_parity(found, reference, SPEC, EIGHT_BIT)
    assert result.agreement == 240
    assert "beyond it 20 of 240 images" in result.reason


def test_values_that_are_not_finite_fail_and_have_figures_for_json() -> None:
    logits = some_logits(20)
    for value in (np.nan, np.inf):
        found = logits.copy()
        found[7, 2] = value
        for pair in ((found, logits), (logits, found)):
            result = check_parity(*pair, SPEC, EIGHT_BIT)
            assert result.reason == "logits are not finite"
            json.dumps(result.largest_difference, allow_nan=False)


def test_outputs_of_another_shape_or_none_fail() -> None:
    logits = some_logits(20)
    result = check_parity(logits[:, :9], logits, SPEC, EIGHT_BIT)
    assert result.reason == "outputs of shape (20, 9) instead of (20, 10)"
    assert not check_parity(logits[:0], logits[:0], SPEC, EIGHT_BIT).passed


@pytest.mark.parametrize("count", [1, 2, 3])
def test_of_a_handful_of_images_each_must_be_within_the_bound(count: int) -> None:
    reference = some_logits(count)
    found = reference.copy()
    found[0, 0] += 0.1
    assert check_parity(found, reference, SPEC, EIGHT_BIT).passed
    found[0, 0] += 0.1
    assert not check_parity(found, reference, SPEC, EIGHT_BIT).passed


def test_a_tie_that_float_rounding_decides_is_no_other_label() -> None:
    reference = np.zeros((20, 10), np.float32)
    reference[:, 4] = reference[:, 5] = 8
    found = reference.copy()
    found[:, 5] += 1e-5
    result = check_parity(found, reference, SPEC, ParityBounds(difference=1e-3, agreement=0.999))
    assert result.agreement == 0
    assert result.passed, result.reason


def test_float_files_may_change_hardly_any_label() -> None:
    reference = some_logits(1000)
    found = reference.copy()
    tight = ParityBounds(difference=1e-3, agreement=0.999)
    found[:2] = np.roll(found[:2], 1, axis=1)
    assert "differ by up to" in check_parity(found, reference, SPEC, tight).reason
    found[:9] = np.roll(reference[:9], 1, axis=1)
    assert "only 99.1 % of the labels" in check_parity(found, reference, SPEC, tight).reason


def test_shuffled_classes_of_a_real_artifact_fail(bundle: Path, manifest: Manifest) -> None:
    reference = load_split(bundle, "test", manifest.evaluation_sha256).logits
    artifact = manifest.artifact("int8.tflite")
    assert check_parity(reference, reference, artifact.output, artifact.bounds).passed
    shuffled = np.roll(reference, 1, axis=1)
    result = check_parity(shuffled, reference, artifact.output, artifact.bounds)
    assert "logits differ by" in result.reason
    assert "% of the labels agree" in result.reason


needs_both = pytest.mark.skipif(
    not {"litert", "tflite-runtime"} <= set(installed_names()),
    reason="tflite-runtime has no build for this Python",
)


def smooth_images(count: int) -> npt.NDArray[np.uint8]:
    """Return uint8 (count, 16, 16, 1): 16 flat squares each."""
    random = np.random.default_rng(1)
    squares = 0.5 + 0.25 * random.normal(size=(count, 4, 4, 1))
    whole = squares.repeat(4, axis=1).repeat(4, axis=2)
    return np.asarray(255 * whole.clip(0, 1), np.uint8)


@pytest.fixture(scope="module")
def int8_softmax(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an int8 classifier with a softmax inside and logits of 20, whose answers tip over."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from hemline.train.tensorflow import quiet_keras

    keras = quiet_keras()
    import tensorflow as tf

    keras.utils.set_random_seed(1)
    images, folder = smooth_images(300).astype(np.float32), tmp_path_factory.mktemp("softmax")
    pixels = x = keras.Input((16, 16, 1))
    for channels, strides in ((8, 1), (8, 1), (16, 2)):
        x = keras.layers.Conv2D(channels, 3, strides, padding="same", activation="relu")(x)
    last = keras.layers.Dense(10)
    logits = last(keras.layers.Flatten()(x))
    found = keras.Model(pixels, logits).predict(images, verbose=0)
    gain = 20 / found.std(axis=0)
    last.set_weights([last.get_weights()[0] * gain, -found.mean(axis=0) * gain])
    keras.Model(pixels, keras.layers.Softmax()(logits)).export(folder / "saved", verbose=False)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved"))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image[None]] for image in images[:100])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    (folder / "model.tflite").write_bytes(converter.convert())
    return folder / "model.tflite"


@pytest.mark.medium
@needs_both
def test_an_int8_classifier_with_a_softmax_inside_passes_in_both_runtimes(
    int8_softmax: Path, tmp_path: Path
) -> None:
    np.save(tmp_path / "images.npy", smooth_images(300))
    words = ["verify", str(int8_softmax), "--labels", ",".join("abcdefghij"), "--json"]
    words += ["--images", str(tmp_path / "images.npy"), "-o", str(tmp_path / "out.tflite")]
    result = CliRunner().invoke(cli, words, catch_exceptions=False)
    document = json.loads(result.stdout)
    other = document["runtimes"][1]
    # otherwise this test shows nothing: the largest difference alone would have refused the file
    assert other["largest_difference"] > document["stamp"]["tolerance"]
    assert other["agreement"] >= 0.95 * other["compared"]
    checked = CliRunner().invoke(cli, ["verify", str(tmp_path / "out.tflite")])
    assert checked.exit_code == 0, checked.output
    assert {line.rpartition(": ")[2] for line in checked.stdout.splitlines()} == {"passed"}


@pytest.mark.parametrize("spoil", [lambda p: np.roll(p, 1, axis=1), lambda p: p[::-1]])
def test_the_same_classifier_with_other_answers_in_one_runtime_is_refused(
    spoil: Callable[[Logits], Logits],
) -> None:
    probabilities = np.exp(log_softmax(some_logits(316)))

    def tried(runtime: str, outputs: Logits) -> Trial:
        return Trial(
            runtime=runtime, version="1", generated=outputs, given=None, takes_batches=True
        )

    bounds = ParityBounds(difference=between_runtimes(True).share_of(4), agreement=0.90)
    with pytest.raises(GateError, match="% of the labels agree with the reference"):
        require_parity(
            (tried("a", probabilities), tried("b", spoil(probabilities))), PROBABILITIES, bounds
        )
