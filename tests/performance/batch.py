"""classify_batch on two threads against one, and classify against Keras' predict at batch 1."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
from measurement import BUNDLE, Result, interleaved, median_ratio, report

from hemline.runtime import Classifier
from hemline.train.checkpoint import ZOO

_IMAGES, _ROUNDS, _KERAS_CALLS = 10_000, 11, 60
_THREADS_RATIO, _KERAS_RATIO = 1.8, 20.0
_PAIRS = (
    ("int8.tflite", "litert"),
    ("fp32.tflite", "litert"),
    ("int8.tflite", "tflite-runtime"),
    ("int8.onnx", "onnxruntime"),
)
# A process of its own: beside TensorFlow, tflite-runtime cannot be measured in this one.
_KERAS = """
import statistics, sys, time, keras, numpy as np
model = keras.models.load_model(sys.argv[1], compile=False)
images = np.load(sys.argv[2])[: int(sys.argv[3])].astype(np.float32)
times = []
for image in images:
    started = time.perf_counter()
    model.predict(image[None], verbose=0)
    times.append(time.perf_counter() - started)
print(statistics.median(times))
"""


def threads(name: str, runtime: str, images: np.ndarray) -> Result:
    """Measure one artifact with one thread and with two, in turn."""
    with (
        Classifier.load(BUNDLE / name, runtime=runtime, threads=1) as one,
        Classifier.load(BUNDLE / name, runtime=runtime, threads=2) as two,
    ):

        def seconds(classifier: Classifier) -> float:
            started = time.perf_counter()
            classifier.classify_batch(images)
            return time.perf_counter() - started

        seconds(one), seconds(two)  # opens the sessions
        a, b = interleaved(lambda: seconds(one), lambda: seconds(two), _ROUNDS)
    ratio, (each_one, each_two) = median_ratio(a, b), (1e6 * min(x) / len(images) for x in (a, b))
    return Result(
        claim=f"classify_batch of {len(images):,}, {name} in {runtime}: two threads at least "
        f"{_THREADS_RATIO} × one",
        value=ratio,
        unit="×",
        met=ratio >= _THREADS_RATIO,
        detail=f"{each_one:.1f} µs an image, two threads {each_two:.1f} µs",
    )


def against_keras(images: np.ndarray) -> Result:
    """Measure one call of the recommended kind against Keras' predict on the same model."""
    paths = [str(ZOO / "hem-50k" / "checkpoint.keras"), str(BUNDLE / "evaluation/test-images.npy")]
    done = subprocess.run(
        [sys.executable, "-c", _KERAS, *paths, str(_KERAS_CALLS)],
        capture_output=True,
        text=True,
        check=True,
    )
    keras = float(done.stdout.split()[-1])
    with Classifier.load(BUNDLE / "fp32.tflite", runtime="litert") as classifier:
        taken = []
        for image in images[:1000]:
            started = time.perf_counter()
            classifier.classify(image)
            taken.append(time.perf_counter() - started)
    ours = float(np.median(taken))
    return Result(
        claim=f"classify fp32.tflite in litert: at least {_KERAS_RATIO:g} × Keras' predict",
        value=keras / ours,
        unit="×",
        met=keras / ours >= _KERAS_RATIO,
        detail=f"{1e6 * ours:.0f} µs, predict at batch 1 {1e3 * keras:.1f} ms",
    )


def main() -> None:
    """Measure everything and write the results."""
    images = np.load(BUNDLE / "evaluation" / "test-images.npy")[:_IMAGES]
    report("batch", [*(threads(*pair, images) for pair in _PAIRS), against_keras(images)])


if __name__ == "__main__":
    main()
