"""Hemline's batch-1 median against litert-benchmark on the same file and threads."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from measurement import BUNDLE, Result, interleaved, median_ratio, report

from hemline.contract.job import Job, JobCell
from hemline.contract.stamp import read_stamped
from hemline.runtime.process import JobProcess

_ROUNDS, _INVOCATIONS, _WARMUP = 21, 2000, 200
_LIMIT = 0.05


# The tool rounds its results to 0.01 ms, more than half of what the int8 file takes.
_UNROUNDED = (
    "import ai_edge_litert.tools.benchmark_litert_model as tool\n"
    "tool.round = lambda value, digits: value\n"
    "tool.main()"
)


def hemline_us(process: JobProcess, name: str) -> float:
    """Return the median of one round in microseconds."""
    job = Job(
        id="round",
        artifact=str(BUNDLE / name),
        runtime="litert",
        images=str(BUNDLE / "evaluation" / "test-images.npy"),
        count=1,  # the tool runs one input again and again
        cells=(JobCell(warmup=_WARMUP, invocations=_INVOCATIONS),),
        want=("latencies",),
    )
    return statistics.median(process.run(job).cells[0].latencies_ns) / 1000


def tool_us(model: Path, folder: str) -> float:
    """Return the tool's median in microseconds."""
    output = Path(folder) / "result.json"
    subprocess.run(
        [
            sys.executable,
            "-c",
            _UNROUNDED,
            f"--model={model}",
            f"--num_runs={_INVOCATIONS}",
            f"--warmup_runs={_WARMUP}",
            "--num_threads=1",
            f"--result_json={output}",
        ],
        check=True,
        capture_output=True,
    )
    document = json.loads(output.read_text())
    return float(document["latency"]["median_ms"]) * 1000


def measure(name: str) -> Result:
    """Measure one file."""
    with tempfile.TemporaryDirectory() as folder, JobProcess() as process:
        model = Path(folder) / name
        model.write_bytes(read_stamped(BUNDLE / name).model)
        hemline_us(process, name), tool_us(model, folder)
        a, b = interleaved(
            lambda: hemline_us(process, name), lambda: tool_us(model, folder), _ROUNDS
        )
    ratio = median_ratio(a, b)
    return Result(
        claim=f"{name}: batch-1 median within {_LIMIT:.0%} of litert-benchmark",
        value=ratio,
        unit="×",
        met=abs(ratio - 1) <= _LIMIT,
        detail=f"{statistics.median(a):.1f} µs, tool {statistics.median(b):.1f} µs",
    )


if __name__ == "__main__":
    report("benchmark_tool", [measure("int8.tflite"), measure("fp32.tflite")])
