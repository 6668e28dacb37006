"""10,000 images from a checkpoint: a job in Keras against Keras' predict at batch 32."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from measurement import Result, interleaved, median_ratio, report

from hemline.bench.evaluation.running import keras_cell
from hemline.contract.checkpoint import MODEL_NAME
from hemline.contract.job import Job
from hemline.contract.specs import LOGITS
from hemline.data.fetch import load_images
from hemline.runtime.process import JobProcess
from hemline.train.checkpoint import ZOO
from hemline.train.tensorflow import quiet_keras

_ROUNDS = 9
_LEAST = 3.0


def seconds(call: Callable[[], object]) -> float:
    """Return the time of one call."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def main() -> None:
    """Measure and write the result."""
    checkpoint = ZOO / "hem-50k"
    model = quiet_keras().models.load_model(checkpoint / MODEL_NAME, compile=False)
    pixels = load_images("fashion-mnist").test_images
    with tempfile.TemporaryDirectory(prefix="hemline-") as folder, JobProcess() as process:
        images = Path(folder) / "images.npy"
        np.save(images, pixels)
        job = Job(
            id="evaluation",
            artifact=str(checkpoint),
            runtime="keras",
            images=str(images),
            cells=(keras_cell(pixels),),
            want=("outputs",),
            arrays=folder,
        )

        def ours() -> np.ndarray:
            (cell,) = process.run(job).cells
            return np.load(cell.outputs[LOGITS])

        def theirs() -> np.ndarray:
            return np.asarray(model.predict(pixels, batch_size=32, verbose=0))

        _measure(ours, theirs)


def _measure(ours: Callable[[], np.ndarray], theirs: Callable[[], np.ndarray]) -> None:
    # the first calls trace their graphs; both must predict the same classes
    same = float((ours().argmax(axis=1) == theirs().argmax(axis=1)).mean())
    if same < 0.999:
        raise SystemExit(f"only {100 * same:.2f} % of the predictions are the same")
    a, b = interleaved(lambda: seconds(theirs), lambda: seconds(ours), _ROUNDS)
    ratio = median_ratio(a, b)
    report(
        "evaluation_speed",
        [
            Result(
                claim="evaluating 10,000 images from a checkpoint: at least 3 × Keras' predict at "
                "batch 32",
                value=ratio,
                unit="×",
                met=ratio >= _LEAST,
                detail=f"hem-50k {statistics.median(b):.2f} s, "
                f"predict {statistics.median(a):.2f} s",
            )
        ],
    )


if __name__ == "__main__":
    main()
