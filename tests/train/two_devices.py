"""Train on so many logical CPU devices: a process of its own, since TensorFlow makes them once.

Reads a JSON list of trainings on standard input and writes one of histories. A training has fields
of Recipe, and: model, stop_after (it is then resumed), teacher (a folder).
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from hemline.contract.card import Epoch, Split
from hemline.train.tensorflow import quiet_keras


def require_devices(count: int) -> None:
    """Divide the processor into logical devices."""
    import tensorflow as tf

    processor = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        processor, [tf.config.LogicalDeviceConfiguration()] * count
    )


def histories(trainings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Fit each training, all in this process."""
    return [history(dict(training)) for training in trainings]


def history(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the losses of each epoch and the sum of all weights."""
    from hemline.data.splits import TrainingData
    from hemline.train.fitting.fitting import Run, Trained, fit
    from hemline.train.nets.design import Design
    from hemline.train.nets.models import MODELS, build_model
    from hemline.train.recipes.recipe import Recipe

    model, stop_after = fields.pop("model"), fields.pop("stop_after", None)
    teachers = tuple(Path(each) for each in fields.pop("teachers", ()))
    random = np.random.default_rng(1)
    labels = (np.arange(96) % 4).astype(np.uint8)
    images = random.integers(0, 200, (96, 28, 28, 1), np.uint8)
    images[np.arange(96), 4 + 4 * labels, 4:24] += np.uint8(55)
    data = TrainingData(
        train_images=images[:64],
        train_labels=labels[:64],
        validation_images=images[64:],
        validation_labels=labels[64:],
        split=Split(seed=1, limit=None, validation_indices=(), validation_sha256="0" * 64),
    )
    with tempfile.TemporaryDirectory() as folder:
        run = Run(
            recipe=Recipe(**fields),
            seed=1,
            precision="float32",
            teachers=teachers,
            folder=Path(folder),
            run_sha256="0" * 64,
        )

        def on_epoch(epoch: Epoch, _: int) -> None:
            if epoch.epoch == stop_after:
                raise KeyboardInterrupt

        def fit_it() -> Trained:
            quiet_keras().utils.set_random_seed(1)
            built = build_model(MODELS[model], (28, 28, 1), 4, design=Design.of(run.recipe))
            return fit(built, run, data, started=time.perf_counter(), on_epoch=on_epoch)

        if stop_after:
            with contextlib.suppress(KeyboardInterrupt):
                fit_it()
            stop_after = None
        trained = fit_it()
    return {
        "loss": [epoch.loss for epoch in trained.history],
        "validation_loss": [epoch.validation_loss for epoch in trained.history],
        "weights": [float(np.abs(array).sum()) for array in trained.model.get_weights()],
    }


if __name__ == "__main__":
    quiet_keras()
    require_devices(int(sys.argv[1]))
    json.dump(histories(json.load(sys.stdin)), sys.stdout)
