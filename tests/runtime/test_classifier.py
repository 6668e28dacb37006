"""The classifier beside its contract (test_conformance.py): loading, batches, what it refuses."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hemline.data.datasets import Images
from hemline.errors import (
    BackendError,
    DataError,
    FileFormatError,
    UnknownNameError,
    UnsupportedRuntimeError,
    UsageError,
)
from hemline.runtime import Classifier
from hemline.runtime.backends import BACKENDS, require_working


@pytest.fixture(scope="module")
def pixels(images: Images) -> np.ndarray:
    return images.test_images[:70]


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
    with pytest.raises(
        UnsupportedRuntimeError, match=r"a \.tflite file: onnxruntime cannot open it"
    ):
        Classifier.load(bundle / "int8.tflite", runtime="onnxruntime")


def test_an_altered_artifact_never_reaches_the_backend(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytearray((bundle / "int8.tflite").read_bytes())
    content[1000] ^= 1
    (tmp_path / "int8.tflite").write_bytes(content)
    monkeypatch.setattr("hemline.runtime.classifier.open_session", None)
    with pytest.raises(FileFormatError, match="was modified"):
        Classifier.load(tmp_path / "int8.tflite")


def test_a_missing_backend_names_its_package(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("onnxruntime")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr("hemline.runtime.discovery.installed", lambda _: False)
    with pytest.raises(BackendError, match=r"pip install onnxruntime"):
        Classifier.load(bundle / "int8.onnx")


def test_numpy_2_under_tflite_runtime_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    monkeypatch.setattr(np, "__version__", "2.1.0")
    with pytest.raises(BackendError, match="does not work with numpy 2.1.0: pip install 'numpy<2'"):
        require_working(BACKENDS["tflite-runtime"])


def test_tflite_runtime_beside_tensorflow_is_refused_before_it_crashes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", sys)
    with pytest.raises(BackendError, match="crashes in a process that has loaded tensorflow"):
        require_working(BACKENDS["tflite-runtime"])


def test_files_of_unlike_size_in_a_batch_are_named(bundle: Path, tmp_path: Path) -> None:
    for name, side in (("a", 28), ("b", 14)):
        np.save(tmp_path / f"{name}.npy", np.zeros((side, side), np.uint8))
    unlike = [tmp_path / "a.npy", tmp_path / "b.npy"]
    with (
        Classifier.load(bundle / "int8.tflite", preprocess="none") as classifier,
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
