"""Several devices: two, each with half of every batch, learn what one learns from all of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from patience import HANG_SECONDS

pytestmark = pytest.mark.slow

PLAIN = {
    "epochs": 3, "batch": 16, "validation": 32, "precision": "float32", "dropout": 0.0,
    "shift": 1, "optimizer": "adam", "learning_rate": 1e-3, "weight_decay": 0.0,
}  # fmt: skip
# No batch normalization and no dropout: those see half of a batch, or draw for a device.
TRAININGS: dict[str, dict[str, Any]] = {
    "adam": {"model": "mlp", **PLAIN},
    "loss": {
        "model": "mlp", **PLAIN, "l2": 0.01, "class_weights": "balanced", "label_smoothing": 0.1,
        "mixup": 0.2, "schedule": "reduce-on-plateau",
    },
    "sphere-muon": {
        "model": "cnn", **PLAIN, "optimizer": "sphere-muon", "learning_rate": 0.03,
        "weight_decay": 5e-4,
    },
    "averages": {
        "model": "mlp", **PLAIN, "ema": 0.8, "optimizer": "sgd", "learning_rate": 0.05,
        "weight_decay": 0.01,
    },
    "distillation": {"model": "mlp", **PLAIN, "teachers": None, "distillation": 0.7},
}  # fmt: skip


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, list[float]]]:
    """Return the history of each training: on one device, on two, and resumed on two."""
    from hemline.train.nets.design import Design
    from hemline.train.nets.models import MODELS, build_model

    teacher = tmp_path_factory.mktemp("teacher")
    model = build_model(MODELS["mlp"], (28, 28, 1), 4, policy="float32", design=Design(width=0.5))
    model.save(teacher / "checkpoint.keras")
    one, two, resumed = [], [], []
    for fields in TRAININGS.values():
        training = {**fields, "teachers": [str(teacher)] if "teachers" in fields else []}
        one.append(training)
        two.append({**training, "strategy": "mirrored"})
        resumed.append({**training, "strategy": "mirrored", "stop_after": 2})
    # dropout and batch normalization only have to work
    two.append({**PLAIN, "model": "hem-50k", "dropout": 0.3, "strategy": "mirrored"})
    return {
        "one": dict(zip(TRAININGS, trained(1, one), strict=True)),
        "mirrored on one": dict(zip(TRAININGS, trained(1, two[:1]), strict=False)),
        "two": dict(zip([*TRAININGS, "the rest"], trained(2, two), strict=True)),
        "resumed": dict(zip(TRAININGS, trained(2, resumed), strict=True)),
    }


def trained(devices: int, trainings: list[dict[str, Any]]) -> list[Any]:
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("two_devices.py")), str(devices)],
        input=json.dumps(trainings),
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return list(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("name", TRAININGS)
def test_two_devices_learn_what_one_learns(name: str, found: Any) -> None:
    one, two = found["one"][name], found["two"][name]
    # sums in another order: float32 rounding of 1e-7, grown over twelve steps
    assert two["loss"] == pytest.approx(one["loss"], rel=1e-4)
    assert two["validation_loss"] == pytest.approx(one["validation_loss"], rel=1e-4)
    assert two["weights"] == pytest.approx(one["weights"], rel=1e-3)


@pytest.mark.parametrize("name", TRAININGS)
def test_a_run_on_two_devices_resumes(name: str, found: Any) -> None:
    whole, resumed = found["two"][name], found["resumed"][name]
    assert resumed["validation_loss"] == pytest.approx(whole["validation_loss"], rel=1e-6)
    assert resumed["weights"] == pytest.approx(whole["weights"], rel=1e-6)


def test_one_device_is_enough_for_the_strategy(found: Any) -> None:
    assert found["mirrored on one"]["adam"]["loss"] == pytest.approx(
        found["one"]["adam"]["loss"], rel=1e-5
    )


def test_normalization_and_dropout_work_on_two_devices(found: Any) -> None:
    losses = found["two"]["the rest"]["loss"]
    assert losses[-1] < losses[0]
