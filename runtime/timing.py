"""Open and time raw models: any inputs, no stamp."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from hemline.contract.job import CellResult, Node, Value
from hemline.contract.timing import RawModel, TimingJob
from hemline.errors import BackendError, UsageError
from hemline.folders import TemporaryFolder
from hemline.runtime.backends import Tensor
from hemline.runtime.sessions.delegates import interpreter_options
from hemline.runtime.sessions.onnx import session_options


class RawSession(Protocol):
    """One opened model with its inputs set.

    run: invokes it once.
    values: returns what it computes, after the first run.
    delegate, nodes, graph: as in CellResult.
    """

    run: Callable[[], object]
    values: Callable[[], tuple[Value, ...]]
    delegate: str
    nodes: tuple[Node, ...]
    graph: str


def timed_cells(
    job: TimingJob, module: object, opened: dict[str, RawSession], file_format: str
) -> tuple[CellResult, ...]:
    """Open the models that come with their bytes, then time all; return a cell for each.

    Raises BackendError for a model that the runtime refuses, UsageError for one not opened.
    """
    return tuple(_cell(job, model, module, opened, file_format) for model in job.models)


def _cell(
    job: TimingJob, model: RawModel, module: object, opened: dict[str, RawSession], file_format: str
) -> CellResult:
    started = loaded = finished = time.perf_counter_ns()
    fresh = bool(model.content)
    if fresh:
        content = base64.b64decode(model.content)
        opened[model.name] = _SESSIONS[file_format](module, content, job)
        loaded = time.perf_counter_ns()
        opened[model.name].run()
        finished = time.perf_counter_ns()
    if model.name not in opened:
        raise UsageError(f"{model.name} was not opened")
    session = opened[model.name]
    return CellResult(
        threads=job.threads,
        batch=1,
        threads_used=None,
        delegate=session.delegate,
        load_ns=loaded - started,
        first_ns=finished - loaded,
        latencies_ns=_latencies(session.run, job) if job.invocations else (),
        outputs={},
        nodes=session.nodes if fresh else (),
        graph=session.graph if fresh else "",
        values=session.values() if fresh else (),
    )


def _latencies(run: Callable[[], object], job: TimingJob) -> tuple[int, ...]:
    clock = time.perf_counter_ns
    started, limit = clock(), job.slice_ns or 1 << 62
    for _ in range(job.warmup):
        run()
        if clock() - started > limit // 4:
            break
    taken: list[int] = []
    started = before = clock()
    while len(taken) < job.invocations:
        before = clock()
        run()
        after = clock()
        taken.append(after - before)
        if after - started > limit:
            break
    return tuple(taken)


class _RawInterpreter:
    """A TFLite model."""

    graph = ""

    def __init__(self, module: Any, content: bytes, job: TimingJob) -> None:
        """Open a flatbuffer; raises BackendError when the interpreter refuses it."""
        try:
            interpreter = module.Interpreter(
                model_content=content,
                num_threads=job.threads,
                **interpreter_options(module, job.threads, job.settings),
            )
            interpreter.allocate_tensors()
        except (RuntimeError, ValueError, SystemError, AttributeError) as error:
            raise _refused(module.__name__, error) from error
        random = np.random.default_rng(job.seed)
        for detail in interpreter.get_input_details():
            values = _values(random, tuple(detail["shape"]), np.dtype(detail["dtype"]))
            interpreter.set_tensor(detail["index"], values)
        self.run = interpreter.invoke
        self.values = lambda: tuple(
            _value(each["name"], each["dtype"], each["shape"])
            for each in interpreter.get_output_details()
        )
        self.nodes = tuple(
            Node(
                kind=each["op_name"],
                inputs=tuple(str(int(at)) for at in each["inputs"]),
                outputs=tuple(str(int(at)) for at in each["outputs"]),
            )
            for each in getattr(interpreter, "_get_ops_details", list)()
        )
        self.delegate = "XNNPACK" if any(n.kind == "DELEGATE" for n in self.nodes) else "builtin"


class _RawOnnx:
    """An ONNX model."""

    nodes: tuple[Node, ...] = ()

    def __init__(self, module: Any, content: bytes, job: TimingJob) -> None:
        """Open a ModelProto; raises BackendError when ONNX Runtime refuses it."""
        options = session_options(module, job.threads, job.settings)
        with TemporaryFolder() as folder:
            rewritten = Path(folder) / "rewritten.onnx"
            if job.settings.optimization != "none":
                options.optimized_model_filepath = str(rewritten)
            try:
                session = module.InferenceSession(
                    content, options, providers=["CPUExecutionProvider"]
                )
            except Exception as error:  # they share no base class of their own
                raise _refused(module.__name__, error) from error
            found = rewritten.read_bytes() if rewritten.exists() else b""
        self.graph = base64.b64encode(found).decode()
        random = np.random.default_rng(job.seed)
        feeds = {each.name: _values(random, *_input_type(each)) for each in session.get_inputs()}
        self.run = lambda: session.run(None, feeds)
        self.values = lambda: tuple(
            _value(output.name, array.dtype, array.shape)
            for output, array in zip(session.get_outputs(), session.run(None, feeds), strict=True)
        )
        self.delegate = ",".join(session.get_providers())


_SESSIONS: dict[str, Callable[[Any, bytes, TimingJob], RawSession]] = {
    "tflite": _RawInterpreter,
    "onnx": _RawOnnx,
}


def _value(name: str, dtype: Any, shape: Any) -> Value:
    return Value(name=name, dtype=np.dtype(dtype).name, shape=tuple(map(int, shape)))


def _input_type(value: Any) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    """Return the shape, with 1 for what is free, and the type of an input: tensor(float), …."""
    shape = tuple(size if isinstance(size, int) and size > 0 else 1 for size in value.shape)
    name = value.type.removeprefix("tensor(").removesuffix(")")
    return shape, np.dtype({"float": "float32", "double": "float64"}.get(name, name))


def _values(
    random: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[np.generic]
) -> Tensor:
    """Return random values; zeros for indices and truth values, which random ones could break."""
    if dtype.kind == "f":
        return random.random(shape, np.float32).astype(dtype)
    if dtype.itemsize <= 2 and dtype.kind in "iu":
        limits = np.iinfo(dtype)  # type: ignore[type-var]
        return random.integers(limits.min, limits.max, shape, np.int64, endpoint=True).astype(dtype)
    return np.zeros(shape, dtype)


def _refused(runtime: str, error: Exception) -> BackendError:
    return BackendError(f"{runtime} refuses the model: {str(error).strip().splitlines()[0]}")
