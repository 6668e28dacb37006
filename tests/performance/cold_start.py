"""From the start of a process to the first label, its memory, and the one-file runtime beside it.

Against a bare script with the same backend; and what importing the runtime adds to numpy.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from measurement import (
    BUNDLE,
    Result,
    installed_package,
    interleaved,
    median_ratio,
    process_cost,
    report,
)

from hemline.runtime.one_file import NAME, write_runtime_file

_ROUNDS = 21
_TIME_LIMIT, _MEMORY_LIMIT, _IMPORT_LIMIT_MS = 1.10, 1.10, 10.0

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


def importing(path: Path) -> Result:
    """Measure what `import hemline.runtime` takes when numpy is there already."""
    code = (
        "import time, numpy; started = time.perf_counter(); import hemline.runtime\n"
        "print(1000 * (time.perf_counter() - started))"
    )
    environment = {**os.environ, "PYTHONPATH": str(path)}
    taken = [
        float(
            subprocess.run(
                [sys.executable, "-c", code],
                env=environment,
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
        for _ in range(_ROUNDS)
    ]
    median = statistics.median(taken)
    return Result(
        claim=f"import hemline.runtime: at most {_IMPORT_LIMIT_MS:g} ms beyond numpy",
        value=median,
        unit="ms",
        met=median <= _IMPORT_LIMIT_MS,
        detail=f"{min(taken):.1f} to {max(taken):.1f} ms in {_ROUNDS} processes",
    )


def one_file(path: Path, folder: Path) -> Result:
    """Measure `classify` of the one-file runtime against the installed package, same arguments.

    No bound was promised: the zip holds sources, which are compiled at every start.
    """
    packed = folder / NAME
    write_runtime_file(packed)
    image = folder / "image.npy"
    np.save(image, np.load(BUNDLE / "evaluation" / "test-images.npy")[0])
    arguments = ["classify", str(BUNDLE / "int8.tflite"), str(image)]
    starts = (
        "import runpy, sys; sys.argv = sys.argv[1:]; runpy.{}(sys.argv[0], run_name='__main__')"
    )

    def seconds(code: str, what: str) -> float:
        return process_cost(starts.format(code), what, *arguments, path=path)[0]

    a, b = interleaved(
        lambda: seconds("run_path", str(packed)),
        lambda: seconds("run_module", "hemline.runtime"),
        _ROUNDS,
    )
    ratio = median_ratio(a, b)
    return Result(
        claim="first label of hemline-runtime.pyz against the installed package",
        value=ratio,
        unit="×",
        met=True,
        detail=f"{1000 * statistics.median(a):.0f} ms, installed {1000 * statistics.median(b):.0f} "
        f"ms; the file has {packed.stat().st_size / 1000:.0f} kB",
    )


def main() -> None:
    """Measure every pair and write the results."""
    with installed_package() as path, tempfile.TemporaryDirectory() as folder:
        results = [result for pair in _PAIRS for result in measure(path, *pair)]
        report("cold_start", [*results, importing(path), one_file(path, Path(folder))])


if __name__ == "__main__":
    main()
