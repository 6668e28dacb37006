"""The contract of the classifier, over every scheme in every backend that it claims."""

from __future__ import annotations

import dataclasses
import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hemline.dataset import Images
from hemline.errors import (
    BackendError,
    ClaimError,
    DataError,
    FileFormatError,
    UnknownNameError,
    UsageError,
)
from hemline.evaluation_set import load_split
from hemline.export.schemes import SCHEMES
from hemline.manifest import Manifest
from hemline.runtime import Classifier
from hemline.runtime.backends import BACKENDS, installed, require_working
from hemline.stamp import read_stamped, stamp_tflite

PAIRS = [
    (name, claim.runtime)
    for name, scheme in SCHEMES.items()
    for claim in scheme.claims
    if installed(BACKENDS[claim.runtime])
]
Answers = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def pixels(images: Images) -> np.ndarray:
    return images.test_images[:70]


@pytest.fixture(scope="module")
def answers(
    bundle: Path, images: Images, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Answers]:
    """Return a function giving one runtime's answers, from a process of its own."""
    folder = tmp_path_factory.mktemp("answers")
    np.save(folder / "images.npy", images.test_images)

    @functools.cache
    def run(runtime: str) -> Answers:
        names = [name for name, other in PAIRS if other == runtime]
        probe = Path(__file__).with_name("probe.py")
        output = folder / f"{runtime}.npz"
        command = [sys.executable, str(probe), str(bundle), str(folder / "images.npy")]
        subprocess.run([*command, str(output), runtime, *names], check=True)
        with np.load(output) as arrays:
            return dict(arrays)

    return run


@pytest.mark.parametrize(("name", "runtime"), PAIRS)
def test_one_image_and_a_batch_give_the_same_answers(
    answers: Callable[[str], Answers], manifest: Manifest, name: str, runtime: str
) -> None:
    found = answers(runtime)
    single, batch = found[f"{name}/single"], found[f"{name}/batch"]
    artifact = manifest.artifact(name)
    if artifact.output.dtype == "int8":
        # kernels for other batch sizes may round a tie the other way: one step of the output
        allowed = artifact.output.scale * 1.001
    elif artifact.scheme in ("fp32", "fp16"):
        # the same sums in another order: 2⁻²⁴ · √600 · 10 layers = 1.5e-5 of logits up to 30
        allowed = 5e-4
    else:
        # an 8-bit step inside, multiplied by the layers behind it: a quarter of the tolerance
        allowed = artifact.tolerance / 4
    np.testing.assert_allclose(single, batch[: len(single)], atol=allowed)
    np.testing.assert_array_equal(batch.argmax(axis=1), found[f"{name}/labels"])


@pytest.mark.parametrize(("name", "runtime"), PAIRS)
def test_two_threads_give_what_one_gives(
    answers: Callable[[str], Answers], manifest: Manifest, name: str, runtime: str
) -> None:
    found = answers(runtime)
    step = manifest.artifact(name).output.scale if name == "int8.tflite" else 5e-4
    np.testing.assert_allclose(found[f"{name}/threads"], found[f"{name}/batch"], atol=step * 1.001)


@pytest.mark.parametrize(("name", "runtime"), PAIRS)
def test_logits_are_the_keras_models_within_the_stated_tolerance(
    answers: Callable[[str], Answers], bundle: Path, manifest: Manifest, name: str, runtime: str
) -> None:
    split, artifact = (
        load_split(bundle, "test", manifest.evaluation_sha256),
        manifest.artifact(name),
    )
    logits = answers(runtime)[f"{name}/batch"]
    assert np.abs(logits - split.logits).max() <= artifact.tolerance
    agreement = (logits.argmax(1) == split.logits.argmax(1)).mean()
    assert agreement >= artifact.minimum_agreement


@pytest.mark.parametrize(("name", "runtime"), PAIRS)
def test_the_stamped_vectors_give_the_stamped_logits(
    answers: Callable[[str], Answers], manifest: Manifest, name: str, runtime: str
) -> None:
    difference = answers(runtime)[f"{name}/vectors"]
    assert len(difference) == 2
    assert difference.max() <= manifest.artifact(name).tolerance


def test_a_small_model_is_really_learned(bundle: Path, images: Images) -> None:
    """Guards the fixtures: tests on a model that knows nothing would prove nothing."""
    with Classifier.load(bundle / "int8.tflite") as classifier:
        labels = [p.index for p in classifier.classify_batch(images.test_images)]
    assert np.mean(np.asarray(labels) == images.test_labels) > 0.9


def test_a_gray_image_may_leave_out_its_channel(bundle: Path, pixels: np.ndarray) -> None:
    with Classifier.load(bundle / "int8.tflite") as classifier:
        flat, full = classifier.classify(pixels[0][..., 0]), classifier.classify(pixels[0])
    np.testing.assert_array_equal(flat.logits, full.logits)


def test_no_images_give_no_predictions(bundle: Path) -> None:
    with Classifier.load(bundle / "int8.tflite") as classifier:
        assert classifier.classify_batch([]) == []
        assert classifier.classify_batch(np.empty((0, 28, 28), np.uint8)) == []


def test_what_is_no_image_is_refused(bundle: Path) -> None:
    with Classifier.load(bundle / "int8.tflite") as classifier:
        with pytest.raises(DataError, match="not None"):
            classifier.classify(None)  # type: ignore[arg-type]
        with pytest.raises(DataError, match="28 × 28 × 1"):
            classifier.classify(np.zeros((14, 14), np.uint8))


@pytest.mark.parametrize("threads", [0, -1, 100_000])
def test_a_thread_count_that_would_exhaust_the_machine_is_refused(
    bundle: Path, threads: int
) -> None:
    with pytest.raises(UsageError, match=f"threads must be from 1 to 256, not {threads}"):
        Classifier.load(bundle / "int8.onnx", threads=threads)


def test_an_unknown_runtime_gets_the_nearest_name(bundle: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'litert'"):
        Classifier.load(bundle / "int8.tflite", runtime="lite-rt")


def test_a_runtime_for_another_format_is_refused(bundle: Path) -> None:
    with pytest.raises(ClaimError, match=r"a \.tflite file: onnxruntime cannot open it"):
        Classifier.load(bundle / "int8.tflite", runtime="onnxruntime")


def test_an_altered_artifact_never_reaches_the_backend(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytearray((bundle / "int8.tflite").read_bytes())
    content[1000] ^= 1
    (tmp_path / "int8.tflite").write_bytes(content)
    monkeypatch.setattr("hemline.runtime.classifier.open_session", None)
    with pytest.raises(FileFormatError, match="was altered"):
        Classifier.load(tmp_path / "int8.tflite")


def test_a_missing_backend_names_its_extra(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("onnxruntime")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr("hemline.runtime.choosing.installed", lambda _: False)
    with pytest.raises(BackendError, match=r"pip install 'hemline\[onnx\]'"):
        Classifier.load(bundle / "int8.onnx")


def test_numpy_2_under_tflite_runtime_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    monkeypatch.setattr(np, "__version__", "2.1.0")
    with pytest.raises(BackendError, match="cannot work with numpy 2.1.0: pip install 'numpy<2'"):
        require_working(BACKENDS["tflite-runtime"])


def test_tflite_runtime_beside_tensorflow_is_refused_before_it_crashes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", sys)
    with pytest.raises(BackendError, match="crashes in a process that has loaded tensorflow"):
        require_working(BACKENDS["tflite-runtime"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input": {"height": 8}}, "the stamp says int8 .8, 28, 1., the model takes int8"),
        ({"input": {"dtype": "uint8", "zero_point": 0}}, "the model takes int8"),
        ({"output": {"classes": 2}, "labels": ("a", "b")}, "names 2 classes, the model has 10"),
    ],
)
def test_a_stamp_that_does_not_fit_the_model_is_refused(
    bundle: Path, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    file = read_stamped(bundle / "int8.tflite")
    fields = {
        name: dataclasses.replace(getattr(file.stamp, name), **value)
        if isinstance(value, dict)
        else value
        for name, value in changes.items()
    }
    stamp = dataclasses.replace(file.stamp, **fields)
    (tmp_path / "int8.tflite").write_bytes(stamp_tflite(file.model, stamp))
    with pytest.raises(FileFormatError, match=message):
        Classifier.load(tmp_path / "int8.tflite")


def test_a_closed_classifier_says_so_and_closes_again(bundle: Path, pixels: np.ndarray) -> None:
    classifier = Classifier.load(bundle / "int8.tflite")
    classifier.close()
    classifier.close()
    with pytest.raises(UsageError, match="was closed: load it again"):
        classifier.classify(pixels[0])
    with pytest.raises(UsageError, match="was closed: load it again"):
        classifier.classify_batch(pixels[:3])


def test_files_of_unlike_size_in_a_batch_are_named(bundle: Path, tmp_path: Path) -> None:
    for name, side in (("a", 28), ("b", 14)):
        np.save(tmp_path / f"{name}.npy", np.zeros((side, side), np.uint8))
    unlike = [tmp_path / "a.npy", tmp_path / "b.npy"]
    with (
        Classifier.load(bundle / "int8.tflite") as classifier,
        pytest.raises(DataError, match="28 × 28 × 1 values"),
    ):
        classifier.classify_batch(unlike)


@pytest.mark.parametrize("name", ["int8.tflite", "int8.onnx"])
def test_nothing_is_written_into_the_home_folder(bundle: Path, tmp_path: Path, name: str) -> None:
    """ONNX Runtime would leave a device identifier there, and send usage data."""
    code = (
        "import sys, numpy as np; from hemline.runtime import Classifier\n"
        "Classifier.load(sys.argv[1]).classify(np.zeros((28, 28), np.uint8))"
    )
    environment = {key: os.environ[key] for key in ("PATH", "LANG") if key in os.environ}
    subprocess.run(
        [sys.executable, "-c", code, str(bundle / name)],
        check=True,
        env={**environment, "HOME": str(tmp_path)},
    )
    assert list(tmp_path.iterdir()) == []


def test_a_renamed_artifact_still_opens(bundle: Path, tmp_path: Path, pixels: np.ndarray) -> None:
    shutil.copy(bundle / "int8.tflite", tmp_path / "my model.tflite")
    with Classifier.load(tmp_path / "my model.tflite") as classifier:
        assert classifier.classify(pixels[0]).label in classifier.labels
