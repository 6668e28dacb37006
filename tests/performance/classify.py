"""Classifier.classify against a bare script of the backend: pixels to label and score."""

from __future__ import annotations

import importlib
import statistics
import time
from collections.abc import Callable

import numpy as np
from measurement import BUNDLE, Result, interleaved, median_ratio, report

from hemline.contract.stamp import StampedFile, read_stamped
from hemline.runtime import Classifier
from hemline.runtime.backends import BACKENDS

_ROUNDS, _CALLS = 41, 400
_PAIRS = (
    ("int8.tflite", "litert"),
    ("fp32.tflite", "litert"),
    ("int8.tflite", "tflite-runtime"),
    ("int8.onnx", "onnxruntime"),
    ("fp32.onnx", "onnxruntime"),
)
_LIMIT = 1.05


def bare_call(name: str, runtime: str, image: np.ndarray) -> Callable[[], object]:
    """Return what a careful script does with a backend: from the pixels to label and score."""
    stamped = read_stamped(BUNDLE / name)
    labels, spec = stamped.stamp.labels, stamped.stamp.output
    invoke = invocation(runtime, stamped)
    scale, dtype = np.float32(spec.scale), stamped.stamp.input.dtype

    def call() -> object:
        tensor = (image ^ 0x80).view(np.int8) if dtype == "int8" else image.astype(dtype)
        logits = (invoke(tensor[np.newaxis])[0].astype(np.float32) - spec.zero_point) * scale
        powers = np.exp(logits - logits.max())
        best = powers.argmax()
        return labels[best], powers[best] / powers.sum()

    return call


def invocation(runtime: str, stamped: StampedFile) -> Callable[[np.ndarray], np.ndarray]:
    """Return the shortest correct use of a backend: a tensor in, a copy of the output out."""
    module = importlib.import_module(BACKENDS[runtime].module)
    if runtime == "onnxruntime":
        options = module.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = module.InferenceSession(
            stamped.model, options, providers=["CPUExecutionProvider"]
        )
        source = session.get_inputs()[0].name
        targets = [session.get_outputs()[0].name]
        return lambda tensor: session.run(targets, {source: tensor})[0]
    interpreter = module.Interpreter(model_content=stamped.model, num_threads=1)
    interpreter.allocate_tensors()
    into = interpreter.get_input_details()[0]["index"]
    out_of = interpreter.get_output_details()[0]["index"]

    def invoke(tensor: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(into, tensor)
        interpreter.invoke()
        output: np.ndarray = interpreter.get_tensor(out_of)
        return output

    return invoke


def microseconds(call: Callable[[], object]) -> float:
    """Return the mean time of a call over a short burst."""
    started = time.perf_counter_ns()
    for _ in range(_CALLS):
        call()
    return (time.perf_counter_ns() - started) / _CALLS / 1000


def measure(name: str, runtime: str, image: np.ndarray) -> Result:
    """Measure one artifact in one runtime."""
    bare = bare_call(name, runtime, image)
    with Classifier.load(BUNDLE / name, runtime=runtime) as classifier:

        def ours() -> object:
            return classifier.classify(image)

        microseconds(bare), microseconds(ours)  # warm both
        a, b = interleaved(lambda: microseconds(ours), lambda: microseconds(bare), _ROUNDS)
    ratio = median_ratio(a, b)
    return Result(
        claim=f"classify {name} in {runtime}: at most {_LIMIT} × a bare script",
        value=ratio,
        unit="×",
        met=ratio <= _LIMIT,
        detail=f"{statistics.median(a):.1f} µs, bare {statistics.median(b):.1f} µs",
    )


def main() -> None:
    """Measure every pair and write the results."""
    image = np.load(BUNDLE / "evaluation" / "test-images.npy")[0]
    report("classify", [measure(name, runtime, image) for name, runtime in _PAIRS])


if __name__ == "__main__":
    main()
