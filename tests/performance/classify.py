"""What Classifier.classify costs over the backend's bare set, invoke and get, on one file."""

from __future__ import annotations

import importlib
import statistics
import time
from collections.abc import Callable

import numpy as np
from measurement import BUNDLE, Result, interleaved, report

from hemline.contract.stamp import read_stamped
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
_LIMIT_US = 5.0


def bare_call(name: str, runtime: str, image: np.ndarray) -> Callable[[], object]:
    """Return the shortest correct use of a backend: a ready tensor in, a copy of the output out."""
    stamped = read_stamped(BUNDLE / name)
    dtype = stamped.stamp.input.dtype
    tensor = (image ^ 0x80).view(np.int8) if dtype == "int8" else image.astype(dtype)
    tensor = tensor[np.newaxis]
    module = importlib.import_module(BACKENDS[runtime].module)
    if runtime == "onnxruntime":
        options = module.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = module.InferenceSession(
            stamped.model, options, providers=["CPUExecutionProvider"]
        )
        source = session.get_inputs()[0].name
        targets = [session.get_outputs()[0].name]
        return lambda: session.run(targets, {source: tensor})[0]
    interpreter = module.Interpreter(model_content=stamped.model, num_threads=1)
    interpreter.allocate_tensors()
    into = interpreter.get_input_details()[0]["index"]
    out_of = interpreter.get_output_details()[0]["index"]

    def call() -> object:
        interpreter.set_tensor(into, tensor)
        interpreter.invoke()
        return interpreter.get_tensor(out_of)

    return call


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
    over = statistics.median(x - y for x, y in zip(a, b, strict=True))
    return Result(
        claim=f"classify {name} in {runtime}: at most {_LIMIT_US:g} µs over bare calls",
        value=over,
        unit="µs",
        met=over <= _LIMIT_US,
        detail=f"{statistics.median(a):.1f} µs, bare {statistics.median(b):.1f} µs",
    )


def main() -> None:
    """Measure every pair and write the results."""
    image = np.load(BUNDLE / "evaluation" / "test-images.npy")[0]
    report("classify", [measure(name, runtime, image) for name, runtime in _PAIRS])


if __name__ == "__main__":
    main()
