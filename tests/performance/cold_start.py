"""From the start of a process to the first label, its memory, and the one-file runtime beside it.

Against a bare script with the same backend; and the import of the runtime against numpy's own.
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

from hemline.contract.stamp import read_stamped
from hemline.runtime.one_file import NAME, write_runtime_file

_ROUNDS = 21
_TIME_LIMIT, _MEMORY_LIMIT, _IMPORT_LIMIT = 1.10, 1.10, 0.10

_IMAGE = "import sys, numpy as np; image = np.load(sys.argv[2], mmap_mode='r')[0]\n"
_OURS = _IMAGE + (
    "from hemline.runtime import Classifier\n"
    "with Classifier.load(sys.argv[1], runtime='{runtime}') as c: p = c.classify(image)\n"
    "print(p.label, p.score)"
)
_LABEL = "p = np.exp(y - y.max()); print(sys.argv[3].split(',')[p.argmax()], p.max() / p.sum())"
_BARE_TFLITE = (
    _IMAGE
    + (
        "from {module} import Interpreter\n"
        "i = Interpreter(model_path=sys.argv[1], num_threads=1); i.allocate_tensors()\n"
        "i.set_tensor(i.get_input_details()[0]['index'], (image ^ 128).view(np.int8)[None])\n"
        "i.invoke(); o = i.get_output_details()[0]; scale, zero = o['quantization']\n"
        "y = (i.get_tensor(o['index'])[0].astype(np.float32) - zero) * scale\n"
    )
    + _LABEL
)
_BARE_ONNX = (
    _IMAGE
    + (
        "import onnxruntime as ort\n"
        "o = ort.SessionOptions(); o.intra_op_num_threads = o.inter_op_num_threads = 1\n"
        "s = ort.InferenceSession(sys.argv[1], o, providers=['CPUExecutionProvider'])\n"
        "y = s.run(None, {s.get_inputs()[0].name: image[None]})[0][0]\n"
    )
    + _LABEL
)
_PAIRS = (
    ("int8.tflite", "litert", _BARE_TFLITE.replace("{module}", "ai_edge_litert.interpreter")),
    (
        "int8.tflite",
        "tflite-runtime",
        _BARE_TFLITE.replace("{module}", "tflite_runtime.interpreter"),
    ),
    ("int8.onnx", "onnxruntime", _BARE_ONNX),
)


def measure(path: Path, name: str, runtime: str, bare_code: str) -> list[Result]:
    """Measure time and memory of one artifact in one runtime."""
    labels = ",".join(read_stamped(BUNDLE / name).stamp.labels)
    arguments = (str(BUNDLE / name), str(BUNDLE / "evaluation" / "test-images.npy"), labels)
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
    """Measure what the import of the runtime adds to numpy's own, both in one process."""
    code = (
        "import time; a = time.perf_counter(); import numpy; b = time.perf_counter()\n"
        "from hemline.runtime import Classifier; print(b - a, time.perf_counter() - b)"
    )
    environment = {**os.environ, "PYTHONPATH": str(path)}
    command = [sys.executable, "-c", code]
    pairs = []
    for _ in range(_ROUNDS):
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True
        ).stdout.split()
        pairs.append((float(done[1]), float(done[0])))
    ours, numpys = zip(*pairs, strict=True)
    ratio = median_ratio(ours, numpys)
    return Result(
        claim=f"import hemline.runtime: at most {_IMPORT_LIMIT} × the import of numpy",
        value=ratio,
        unit="×",
        met=ratio <= _IMPORT_LIMIT,
        detail=f"{1000 * statistics.median(ours):.1f} ms, "
        f"numpy {1000 * statistics.median(numpys):.0f} ms",
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
