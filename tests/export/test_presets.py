"""Every model of the MODELS table goes through every scheme and is right in every runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hemline.dataset import Images
from hemline.export.bundle import ExportRequest, export_bundle
from hemline.export.schemes import SCHEMES
from hemline.export.verification import verify_bundle
from hemline.runtime.backends import BACKENDS, installed
from hemline.train.models import MODELS
from hemline.train.recipe import Recipe, find_recipe
from hemline.train.tensorflow import quiet_keras

# Enough to know the bars: between logits that are all alike 8 bits would decide by chance. The
# averages of normalization need a few hundred steps, VGG16 without any needs a low rate.
SMALL: dict[str, Any] = {"validation": 100, "precision": "float32", "batch": 50, "flip": False}
CHANGES: dict[str, dict[str, Any]] = {
    "hem-50k": {"epochs": 4},
    "mlp": {"epochs": 4, "batch": 10},
    "cnn": {"epochs": 4, "batch": 20},
    "deep-cnn": {"epochs": 8, "batch": 20},
    "mobilenetv2": {"epochs": 8, "batch": 20, "resize": 32},
    "vgg16": {"epochs": 3, "batch": 20, "resize": 32, "learning_rate": 2e-4},
    "resnet50": {"epochs": 6, "batch": 20, "resize": 32},
}
QUICK = ("mlp", "cnn")
NAMES = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in MODELS]


def small_recipe(name: str) -> Recipe:
    return find_recipe(MODELS[name].recipe).with_changes({**SMALL, **CHANGES[name]})


@pytest.mark.parametrize("name", NAMES)
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
    assert card.score("test").accuracy > 0.5, "it has not learned enough to be judged"
    wanted = ExportRequest(
        checkpoint=tmp_path / "checkpoint",
        bundle=tmp_path / "bundle",
        schemes=tuple(SCHEMES.values()),
        calibration_count=100,
    )
    # raises where one is not right
    manifest = verify_bundle(tmp_path / "bundle", export_bundle(wanted, images))
    verdicts = [
        (artifact.scheme, verdict.runtime, verdict.status)
        for artifact in manifest.artifacts
        for verdict in artifact.verdicts
    ]
    assert set(verdicts) == {
        (scheme.name, claim.runtime, "right")
        for scheme in SCHEMES.values()
        for claim in scheme.claims
        if installed(BACKENDS[claim.runtime])
    }
    sizes = {artifact.name: artifact.size_bytes for artifact in manifest.artifacts}
    assert sizes["int8.tflite"] < 0.5 * sizes["fp32.tflite"]
    assert sizes["int8.onnx"] < 0.5 * sizes["fp32.onnx"]
