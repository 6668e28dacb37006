"""From the start of a process to the first label, and its memory, against a bare script."""

from __future__ import annotations

import statistics
from pathlib import Path

from measurement import (
    BUNDLE,
    Result,
    installed_package,
    interleaved,
    median_ratio,
    process_cost,
    report,
)

_ROUNDS = 21
_TIME_LIMIT, _MEMORY_LIMIT = 1.15, 1.10

_IMAGE = "import sys, numpy as np; image = np.load(sys.argv[2], mmap_mode='r')[0]\n"
_OURS = _IMAGE + (
    "from hemline.runtime import Classifier\n"
    "with Classifier.load(sys.argv[1], runtime='{runtime}') as c: print(c.classify(image).label)"
)
_BARE_TFLITE = _IMAGE + (
    "from {module} import Interpreter\n"
    "i = Interpreter(model_path=sys.argv[1], num_threads=1); i.allocate_tensors()\n"
    "i.set_tensor(i.get_input_details()[0]['index'], (image ^ 128).view(np.int8)[None])\n"
    "i.invoke(); print(i.get_tensor(i.get_output_details()[0]['index'])[0].argmax())"
)
_BARE_ONNX = _IMAGE + (
    "import onnxruntime as ort\n"
    "o = ort.SessionOptions(); o.intra_op_num_threads = o.inter_op_num_threads = 1\n"
    "s = ort.InferenceSession(sys.argv[1], o, providers=['CPUExecutionProvider'])\n"
    "print(s.run(None, {{s.get_inputs()[0].name: image[None]}})[0].argmax())"
)
_PAIRS = (
    ("int8.tflite", "litert", _BARE_TFLITE.format(module="ai_edge_litert.interpreter")),
    ("int8.tflite", "tflite-runtime", _BARE_TFLITE.format(module="tflite_runtime.interpreter")),
    ("int8.onnx", "onnxruntime", _BARE_ONNX.format()),
)


def measure(path: Path, name: str, runtime: str, bare_code: str) -> list[Result]:
    """Measure time and memory of one artifact in one runtime."""
    arguments = (str(BUNDLE / name), str(BUNDLE / "evaluation" / "test-images.npy"))
    peaks: dict[str, list[int]] = {"ours": [], "bare": []}

    def cost(who: str, code: str) -> float:
        seconds, peak = process_cost(code, *arguments, path=path)
        peaks[who].append(peak)
        return seconds

    ours_code = _OURS.format(runtime=runtime)
    cost("ours", ours_code), cost("bare", bare_code)  # fill the page cache
    a, b = interleaved(lambda: cost("ours", ours_code), lambda: cost("bare", bare_code), _ROUNDS)
    ratio, (ours_ms, bare_ms) = median_ratio(a, b), (1000 * statistics.median(x) for x in (a, b))
    ours_mb, bare_mb = (statistics.median(peaks[who]) / 1e6 for who in ("ours", "bare"))
    return [
        Result(
            claim=f"first label, {name} in {runtime}: at most {_TIME_LIMIT} × a bare script",
            value=ratio,
            unit="×",
            met=ratio <= _TIME_LIMIT,
            detail=f"{ours_ms:.0f} ms, bare {bare_ms:.0f} ms",
        ),
        Result(
            claim=f"memory, {name} in {runtime}: at most {_MEMORY_LIMIT} × a bare script",
            value=ours_mb / bare_mb,
            unit="×",
            met=ours_mb / bare_mb <= _MEMORY_LIMIT,
            detail=f"{ours_mb:.1f} MB, bare {bare_mb:.1f} MB",
        ),
    ]


def main() -> None:
    """Measure every pair and write the results."""
    with installed_package() as path:
        report("cold_start", [result for pair in _PAIRS for result in measure(path, *pair)])


if __name__ == "__main__":
    main()
