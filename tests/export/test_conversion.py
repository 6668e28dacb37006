"""Conversion: folding is exact, claims keep tflite-runtime away from what it cannot run."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hemline.train.tensorflow import quiet_keras

keras = quiet_keras()

from hemline.errors import ClaimError  # noqa: E402 — after TensorFlow's noise was turned off
from hemline.export.converted import with_extremes  # noqa: E402
from hemline.export.folding import fold_rescaling  # noqa: E402
from hemline.runtime import Classifier  # noqa: E402
from hemline.runtime.backends import BACKENDS, installed  # noqa: E402
from hemline.specs import Claim  # noqa: E402
from hemline.stamp import read_stamped, stamp_tflite  # noqa: E402

layers = keras.layers


def model_of(*stack: object) -> object:
    inputs = x = keras.Input((8, 8, 1))
    for layer in stack:
        x = layer(x)  # type: ignore[operator]
    return keras.Model(inputs, x)


def kinds(model: object) -> list[str]:
    return [type(layer).__name__ for layer in model.layers]  # type: ignore[attr-defined]


def test_a_rescaling_goes_into_the_next_kernel() -> None:
    model = model_of(
        layers.Rescaling(1 / 255), layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(3)
    )
    folded = fold_rescaling(model)
    assert "Rescaling" not in kinds(folded)
    images = np.random.default_rng(1).integers(0, 256, (5, 8, 8, 1)).astype(np.float32)
    # both are float32 sums of nine products
    np.testing.assert_allclose(folded(images), model(images), rtol=1e-4, atol=1e-5)  # type: ignore[operator]


@pytest.mark.parametrize(
    "stack",
    [
        (layers.Rescaling(1 / 255, offset=-0.5), layers.Conv2D(4, 3, padding="same")),
        (layers.Rescaling(1 / 255), layers.MaxPooling2D(2), layers.Conv2D(4, 3)),
        (layers.Conv2D(4, 3),),
    ],
    ids=["an offset", "another layer between", "no rescaling"],
)
def test_what_cannot_be_folded_exactly_is_left(stack: tuple[object, ...]) -> None:
    model = model_of(*stack)
    assert fold_rescaling(model) is model


def test_the_extremes_stretch_dark_images_to_the_whole_range() -> None:
    images = np.full((3, 4, 4, 1), 90, np.uint8)
    stretched = with_extremes(images)
    assert (stretched.min(), stretched.max(), len(stretched)) == (0, 255, 4)


@pytest.fixture(scope="module")
def per_channel_dynamic(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return a dynamic-range model with per-channel dense weights: FULLY_CONNECTED version 12."""
    import tensorflow as tf

    folder = str(tmp_path_factory.mktemp("saved"))
    model_of(layers.Flatten(), layers.Dense(64), layers.Dense(10)).export(folder, verbose=False)  # type: ignore[attr-defined]
    converter = tf.lite.TFLiteConverter.from_saved_model(folder)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    content: bytes = converter.convert()
    return content


_OPEN = (
    "import sys, pathlib; from tflite_runtime.interpreter import Interpreter\n"
    "Interpreter(model_content=pathlib.Path(sys.argv[1]).read_bytes()).allocate_tensors()"
)


@pytest.mark.skipif(not installed(BACKENDS["tflite-runtime"]), reason="Python after 3.11")
def test_tflite_runtime_is_refused_by_the_loader_where_it_would_fail(
    per_channel_dynamic: bytes, bundle: Path, tmp_path: Path
) -> None:
    path = tmp_path / "dynamic.tflite"
    path.write_bytes(per_channel_dynamic)
    native = subprocess.run(
        [sys.executable, "-c", _OPEN, str(path)], capture_output=True, text=True
    )
    assert native.returncode != 0, "tflite-runtime runs it now: its claim can be widened"
    assert "version" in native.stderr
    stamp = read_stamped(bundle / "dynamic.tflite").stamp
    taken = dataclasses.replace(stamp.input, height=8, width=8)
    claims = (Claim(runtime="litert", minimum="2.3.0"),)
    narrow = dataclasses.replace(stamp, input=taken, claims=claims)
    path.write_bytes(stamp_tflite(per_channel_dynamic, narrow))
    with pytest.raises(ClaimError, match="not claim to be right in tflite-runtime .*use litert"):
        Classifier.load(path, runtime="tflite-runtime")
    with Classifier.load(path, runtime="litert") as classifier:
        assert classifier.backend.name == "litert"
