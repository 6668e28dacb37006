"""Every model of the MODELS table goes through every scheme and is right in every runtime."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnxruntime import InferenceSession

from hemline.data.datasets import Images
from hemline.export.bundle import ExportRequest, export_bundle
from hemline.export.quantization.options import PostTrainingOptions, QuantizationOptions
from hemline.export.schemes import EIGHT_BIT, find_schemes
from hemline.export.verification import verify_bundle
from hemline.runtime.discovery import installed_names
from hemline.train.nets.models import MODELS
from hemline.train.recipes.recipe import RECIPES, Recipe
from hemline.train.tensorflow import quiet_keras

# Enough to know the bars: between logits that are all alike 8 bits would decide by chance. The
# averages of normalization need a few hundred steps, VGG16 without any needs a low rate.
SMALL: dict[str, Any] = {
    "validation": 100, "precision": "float32", "batch": 20, "schedule": "one-cycle",
}  # fmt: skip
CHANGES: dict[str, dict[str, Any]] = {
    **{f"hem-{size}k": {"epochs": 6} for size in (20, 50, 100, 500)},
    "mlp": {"epochs": 4, "batch": 10},
    "cnn": {"epochs": 4},
    "deep-cnn": {"epochs": 24},
    "mobilenetv2": {"epochs": 30, "resize": 32},
    "vgg16": {"epochs": 3, "resize": 32, "learning_rate": 2e-4},
    "resnet50": {"epochs": 6, "resize": 32},
}


def small_recipe(name: str) -> Recipe:
    return RECIPES["plain"].with_changes({**SMALL, **CHANGES[name]})


@pytest.mark.slow  # the bundle of conftest.py is hem-50k by every scheme, verified
@pytest.mark.parametrize("name", MODELS)
def test_a_preset_is_right_in_every_runtime_by_every_scheme(
    name: str, images: Images, tmp_path: Path
) -> None:
    quiet_keras()
    from hemline.train.training import TrainRequest, train

    request = TrainRequest(
        model=MODELS[name],
        recipe=small_recipe(name),
        recipe_name="small",
        seed=1,
        folder=tmp_path / "checkpoint",
    )
    card = train(request, images, on_epoch=lambda *_: None)
    assert card.trained.score("test").accuracy > 0.5, "it has not learned enough to be judged"
    wanted = ExportRequest(
        checkpoint=tmp_path / "checkpoint",
        bundle=tmp_path / "bundle",
        schemes=find_schemes(()),
        options=QuantizationOptions(post_training=PostTrainingOptions(images=100)),
    )
    # raises where one is not right
    manifest = verify_bundle(tmp_path / "bundle", export_bundle(wanted, images))
    verdicts = [
        (artifact.scheme, verdict.runtime, verdict.status)
        for artifact in manifest.artifacts
        for verdict in artifact.verdicts
    ]
    assert set(verdicts) == {
        (scheme.name, each.runtime, "passed")
        for scheme in find_schemes(())
        for each in scheme.supported_runtimes
        if each.runtime in installed_names()
    }
    sizes = {artifact.name: artifact.size_bytes for artifact in manifest.artifacts}
    assert sizes["int8.tflite"] < 0.5 * sizes["fp32.tflite"]
    assert sizes["int8.onnx"] < 0.5 * sizes["fp32.onnx"]


ENTRANCES = list(itertools.product(("_without_means", "_from_minus_one_to_one"), (1, 3), (16, 12)))
# each way to prepare pixels, each number of channels, resized and as they are
QUICK = [("_without_means", 3, 16), ("_from_minus_one_to_one", 1, 12)]


@pytest.mark.parametrize(
    ("prepare", "channels", "side"),
    [each if each in QUICK else pytest.param(*each, marks=pytest.mark.slow) for each in ENTRANCES],
)
def test_8_bit_files_take_pixels_where_pretrained_weights_want_something_else(
    prepare: str, channels: int, side: int
) -> None:
    """The entrances of the transfer models, with a small net behind them."""
    keras = quiet_keras()
    import onnx

    from hemline.export.quantization.calibration import Calibration
    from hemline.export.quantization.float_graph import calibrated_plan
    from hemline.export.quantization.quantized import Quantized
    from hemline.export.sources.keras import KerasSource
    from hemline.export.writers import onnx as onnx_writer
    from hemline.export.writers import tflite as tflite_writer
    from hemline.train.nets import transfer

    x = pixels = keras.Input((12, 12, channels))
    if side != 12:
        x = keras.layers.Resizing(side, side)(x, training=False)
    x = getattr(transfer, prepare)(x)
    x = keras.layers.Conv2D(4, 3)(keras.layers.ZeroPadding2D(1)(x))
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(pixels, keras.layers.Dense(3)(x))
    images = np.random.default_rng(1).integers(0, 256, (20, 12, 12, channels), np.uint8)
    expected = np.asarray(model(images.astype(np.float32), training=False))
    calibration = Calibration(images=images, sha256="")
    with KerasSource(model) as source:
        graph = source.float_graph
        quantized = Quantized(float_graph=graph, plan=calibrated_plan(graph, calibration))
        lite = tflite_writer.convert_int8(source, quantized)  # raises unless pixels go in
        file = onnx_writer.convert_int8(source, quantized)
    assert (lite.input.dtype, file.input.dtype) == ("int8", "uint8")
    nodes = onnx.load_from_string(file.content).graph.node
    dequantized = {node.output[0] for node in nodes if node.op_type == "DequantizeLinear"}
    for node in nodes:
        read = [name for name in node.input if name in dequantized]
        assert len(set(read)) == len(read), "ONNX Runtime 1.12 breaks down there"
    (found,) = InferenceSession(file.content).run(None, {"image": images})
    bound = EIGHT_BIT.share_of(2) * np.abs(expected).max()
    assert np.abs(found - expected).max() <= bound
