"""10,000 images from a checkpoint: Hemline's forward pass against Keras' predict at batch 32."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
from measurement import Result, interleaved, median_ratio, report

from hemline.data.fetch import load_images
from hemline.train.checkpoint import MODEL_NAME, ZOO
from hemline.train.tensorflow import quiet_keras

keras = quiet_keras()

from hemline.train.predictor import Predictor  # noqa: E402 — after TensorFlow's noise was off

_ROUNDS = 9
_LEAST = 3.0


def seconds(call: Callable[[], object]) -> float:
    """Return the time of one call."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def main() -> None:
    """Measure and write the result."""
    model = keras.models.load_model(ZOO / "hem-50k" / MODEL_NAME, compile=False)
    pixels = load_images("fashion-mnist").test_images
    predictor = Predictor(model, fixed=True)

    def ours() -> np.ndarray:
        return predictor.logits(pixels)

    def theirs() -> np.ndarray:
        return np.asarray(model.predict(pixels, batch_size=32, verbose=0))

    # the first calls trace their graphs; both must answer alike
    same = float((ours().argmax(axis=1) == theirs().argmax(axis=1)).mean())
    if same < 0.999:
        raise SystemExit(f"only {100 * same:.2f} % of the answers are the same")
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
