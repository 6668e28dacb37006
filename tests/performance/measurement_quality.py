"""Whether `hemline bench` measures what it says: against other tools, known times and itself.

    python tests/performance/measurement_quality.py [--repeats 100]

About five minutes on a quiet machine, most of them for 100 comparisons of a file with itself.
"""

from __future__ import annotations

import contextlib
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from measurement import BUNDLE, ROOT, Result, interleaved, median_ratio, report

from hemline.bench.devices.local import LocalDevice
from hemline.bench.latency_summary import summarize
from hemline.bench.measuring.plan import FULL, PlannedCell
from hemline.bench.measuring.rounds import measure_cells
from hemline.bench.measuring.subject import Subject
from hemline.bench.measuring.turns import Turns
from hemline.contract.evaluation_set import load_split
from hemline.contract.job import Job, JobCell
from hemline.contract.manifest import read_manifest
from hemline.contract.record import Latency, Record
from hemline.contract.stamp import read_stamped
from hemline.runtime.backends import (
    BACKENDS,
    Backend,
    OutputFacts,
    SessionOptions,
    Tensor,
    find_backend,
    open_session,
)
from hemline.runtime.job import _timed, serve_standard_streams
from hemline.runtime.pixels import PixelEncoder
from hemline.runtime.process import JobProcess
from hemline.statistics import paired_ratio

_RESULTS = ROOT / "results" / "bench" / "measurement.jsonl"
_TOOL_ROUNDS, _INVOCATIONS, _WARMUP = 9, 2000, 200
_TOOL_LIMIT, _HARNESS_LIMIT, _KNOWN_LIMIT, _HELD = 0.05, 0.03, 0.02, 0.9
_BURST = 20  # bare invocations between two looks at the clock, which takes 50 ns
_PROFILED_BATCH = 64  # the profiler itself takes 75 µs a run: 1 % of that batch
# The tool rounds its results to 0.01 ms, more than half of what the int8 file takes.
_UNROUNDED = (
    "import ai_edge_litert.tools.benchmark_litert_model as tool\n"
    "tool.round = lambda value, digits: value\n"
    "tool.main()"
)


class SpinSession:
    """A model that takes a known time."""

    software, arena_bytes, delegate = False, None, "spin"
    duration_ns = 0

    def __init__(self, module: Any, model: bytes, options: SessionOptions) -> None:
        del module, model
        shapes = {each.name: ((1, each.size), np.dtype(each.dtype)) for each in options.outputs}
        self.outputs = {name: OutputFacts.of(*shape) for name, shape in shapes.items()}
        self._result = [np.zeros(*shape) for shape in shapes.values()]

    input_shape, input_dtype = (1, 28, 28, 1), np.dtype(np.int8)

    def run(self, tensor: Tensor, names: Sequence[str] = ()) -> list[Tensor]:
        """Do nothing for the time."""
        del tensor, names
        clock = time.perf_counter_ns
        until = clock() + self.duration_ns
        while clock() < until:
            pass
        return self._result

    def close(self) -> None:
        """Free nothing."""


class SpinningDevice(LocalDevice):
    """This machine with one runtime more."""

    def __init__(self, duration_ns: int) -> None:
        super().__init__()
        self._command = (sys.executable, __file__, "--spin", str(duration_ns))

    def open(self, runtime: str, version: str) -> JobProcess:
        """Start a child that has the runtime."""
        del runtime, version
        return JobProcess(self._command)


def spin(duration_ns: int) -> None:
    """Run jobs with the runtime of a known duration."""
    SpinSession.duration_ns = duration_ns
    row = Backend(
        name="spin", format="tflite", module="numpy", session="__main__:SpinSession", packages=""
    )
    BACKENDS["spin"] = row
    serve_standard_streams()


def known_time(duration_ns: int) -> Result:
    """Measure a model of a known duration the way `bench` does."""
    kept: list[Record] = []
    cell = PlannedCell(
        subject=subject(), artifact=cell_of("int8.tflite").artifact, runtime="spin", version="1"
    )
    measure_cells(
        [cell],
        SpinningDevice(duration_ns),
        FULL,
        keep=lambda _, records: kept.extend(records),
        progress=str,
    )
    latency = next(r.payload for r in kept if isinstance(r.payload, Latency))
    median = summarize(latency).median_us * 1000
    return Result(
        claim=f"a workload of {duration_ns / 1000:g} µs: within {_KNOWN_LIMIT:.0%}",
        value=median / duration_ns,
        unit="×",
        met=abs(median / duration_ns - 1) <= _KNOWN_LIMIT,
        detail=f"{median / 1000:.2f} µs",
    )


def subject() -> Subject:
    return Subject(bundle=BUNDLE, manifest=read_manifest(BUNDLE))


def cell_of(name: str) -> PlannedCell:
    """Return the cell of a file in the first runtime that it passed in."""
    (artifact,) = (each for each in subject().manifest.artifacts if each.name == name)
    verdict = next(each for each in artifact.verdicts if each.status == "passed")
    return PlannedCell(
        subject=subject(), artifact=artifact, runtime=verdict.runtime, version=verdict.version
    )


def hemline_us(process: JobProcess, name: str, runtime: str, batch: int, invocations: int) -> float:
    """Return the median of one round in microseconds."""
    job = Job(
        id="round",
        artifact=str(BUNDLE / name),
        runtime=runtime,
        images=str(BUNDLE / "evaluation" / "test-images.npy"),
        count=batch,  # the tools run one input again and again
        cells=(JobCell(batch=batch, warmup=invocations // 10, invocations=invocations),),
        want=("latencies",),
    )
    return statistics.median(process.run(job).cells[0].latencies_ns) / 1000


def tool_us(model: Path) -> float:
    """Return the median of LiteRT's benchmark in microseconds."""
    output = model.with_suffix(".json")
    options = [
        f"--model={model}",
        f"--num_runs={_INVOCATIONS}",
        f"--warmup_runs={_WARMUP}",
        "--num_threads=1",
        f"--result_json={output}",
    ]
    code = [sys.executable, "-c", _UNROUNDED, *options]
    subprocess.run(code, check=True, capture_output=True)
    return float(json.loads(output.read_text())["latency"]["median_ms"]) * 1000


def profiler_us(name: str, folder: str, batch: int, invocations: int) -> float:
    """Return the median of a run in ONNX Runtime's own profile, in microseconds."""
    import onnxruntime

    file = read_stamped(BUNDLE / name)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_profiling, options.profile_file_prefix = True, f"{folder}/profile"
    session = onnxruntime.InferenceSession(file.model, options, providers=["CPUExecutionProvider"])
    images = np.load(BUNDLE / "evaluation" / "test-images.npy", mmap_mode="r")[:batch]
    tensor = PixelEncoder(file.stamp.input).encode(np.asarray(images))
    feeds = {session.get_inputs()[0].name: tensor}
    for _ in range(invocations + invocations // 10):
        session.run(None, feeds)
    events = json.loads(Path(session.end_profiling()).read_text())
    runs = [event["dur"] for event in events if event.get("name") == "model_run"]
    return float(statistics.median(runs[invocations // 10 :]))


def against(name: str, tool: str, ours: Callable[[], float], theirs: Callable[[], float]) -> Result:
    """Compare Hemline's median with that of a tool, in turn."""
    ours(), theirs()
    a, b = interleaved(ours, theirs, _TOOL_ROUNDS)
    ratio = median_ratio(a, b)
    return Result(
        claim=f"{name}: median within {_TOOL_LIMIT:.0%} of {tool}",
        value=ratio,
        unit="×",
        met=abs(ratio - 1) <= _TOOL_LIMIT,
        detail=f"{statistics.median(a):.1f} µs, tool {statistics.median(b):.1f} µs",
    )


def other_tools() -> Iterator[Result]:
    """Compare with LiteRT's benchmark and ONNX Runtime's profiler."""
    with tempfile.TemporaryDirectory() as folder, JobProcess() as process:
        for name in ("int8.tflite", "fp32.tflite"):
            model = Path(folder) / name
            model.write_bytes(read_stamped(BUNDLE / name).model)
            yield against(
                f"{name}, batch 1",
                "litert-benchmark",
                lambda name=name: hemline_us(process, name, "litert", 1, _INVOCATIONS),
                lambda model=model: tool_us(model),
            )
    with tempfile.TemporaryDirectory() as folder, JobProcess() as process:
        name, batch = "fp32.onnx", _PROFILED_BATCH
        yield against(
            f"{name}, batch {batch}",
            "ONNX Runtime's profiler",
            lambda: hemline_us(process, name, "onnxruntime", batch, 100),
            lambda: profiler_us(name, folder, batch, 100),
        )


def bare_run(session: Any, runtime: str, name: str) -> Callable[[Tensor], object]:
    """Return an invocation without anything of Hemline, in the session's own interpreter."""
    if runtime == "litert":
        interpreter = session._interpreter
        into = interpreter.get_input_details()[0]["index"]
        out = interpreter.get_output_details()[0]["index"]

        def run(tensor: Tensor) -> object:
            interpreter.set_tensor(into, tensor)
            interpreter.invoke()
            return interpreter.get_tensor(out)

        return run
    bare, outputs, key = session._run, [session._names[name]], session._input
    return lambda tensor: bare(outputs, {key: tensor})


def harness(name: str, runtime: str) -> Result:
    """Compare timed invocations with a bare loop in the same session, in turn."""
    file, row = read_stamped(BUNDLE / name), find_backend(runtime)
    encoder = PixelEncoder(file.stamp.input)
    images = load_split(BUNDLE, "test", subject().manifest.evaluation_sha256).images_path
    pixels = np.load(images, mmap_mode="r")[:256]
    tensors = [encoder.encode(np.asarray(pixels[at : at + 1])) for at in range(len(pixels))]
    with contextlib.closing(
        open_session(row, file.model, SessionOptions(file.stamp.outputs, 1, 1))
    ) as session:
        run = bare_run(session, runtime, file.stamp.outputs[0].name)
        cell, names = JobCell(warmup=20, invocations=200), [file.stamp.outputs[0].name]

        def timed() -> float:
            return statistics.median(_timed(session, cell, encoder, pixels, names)) / 1000

        def bare() -> float:
            bursts, clock = [], time.perf_counter_ns
            for first in range(0, 220, _BURST):
                burst = tensors[first : first + _BURST]
                started = clock()
                for tensor in burst:
                    run(tensor)
                bursts.append((clock() - started) / _BURST / 1000)
            return statistics.median(bursts[1:])

        ours, theirs = interleaved(timed, bare, 100)
    ratio = median_ratio(ours, theirs)
    return Result(
        claim=f"{name} in {runtime}: the harness adds at most {_HARNESS_LIMIT:.0%}",
        value=ratio,
        unit="×",
        met=ratio <= 1 + _HARNESS_LIMIT,
        detail=f"{statistics.median(ours):.2f} µs, bare {statistics.median(theirs):.2f} µs",
    )


def equal_things(repeats: int) -> Result:
    """Compare a cell with itself, in the rounds of a full plan; count intervals that hold 1."""
    cells, rounds, held, widths = [cell_of("int8.tflite")] * 2, FULL.rounds, 0, []
    with contextlib.ExitStack() as stack:
        turns = Turns(cells, LocalDevice(), FULL, stack=stack, stop=lambda: None, progress=print)
        for _ in range(repeats):
            found = [turns.round().results for _ in range(rounds)]
            first, second = ([each[i].cells[0].latencies_ns for each in found] for i in (0, 1))
            _, low, high = paired_ratio(first, second)
            held += low <= 1 <= high
            widths.append(math.log(high / low) / 2)
    return Result(
        claim=f"one cell timed as two: the 95 % interval of {rounds} rounds contains 1 in "
        f"{_HELD:.0%} at least",
        value=held / repeats,
        unit="",
        met=held / repeats >= _HELD,
        detail=f"{held} of {repeats}; its half width is {statistics.median(widths):.1%}",
    )


@click.command()
@click.option("--repeats", default=100, show_default=True, help="Comparisons of equal things.")
@click.option("--spin", "spin_ns", type=int, hidden=True)
def main(repeats: int, spin_ns: int | None) -> None:
    """Measure and write the results."""
    if spin_ns is not None:
        spin(spin_ns)
        return
    results = [
        *other_tools(),
        harness("int8.tflite", "litert"),
        harness("int8.onnx", "onnxruntime"),
        known_time(50_000),
        known_time(1_000_000),
        equal_things(repeats),
    ]
    report("measurement_quality", results, _RESULTS)


if __name__ == "__main__":
    main()
