"""Open and time raw models: any inputs, no stamp."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from hemline.contract.job import CellResult, Node, Value
from hemline.contract.timing import RawModel, TimingJob
from hemline.errors import BackendError, UsageError, first_line
from hemline.folders import TemporaryFolder
from hemline.runtime.backends import Tensor
from hemline.runtime.sessions.delegates import interpreter_options
from hemline.runtime.sessions.onnx import session_options


class RawSession(Protocol):
    """One opened model with its inputs set.

    run: invokes it once.
    outputs: returns what it computes by name, after the first run.
    delegate, nodes, graph: as in CellResult.
    """

    run: Callable[[], object]
    outputs: Callable[[], dict[str, Tensor]]
    delegate: str
    nodes: tuple[Node, ...]
    graph: str


class RawModels:
    """The models that a process has opened.

    values: last ones of their inputs and outputs, by the names of tensors. A part of a model that
        is opened after what makes its input gets what it has in the whole: kernels with branches
        take longer for some values than for others.
    """

    def __init__(self) -> None:
        self.values: dict[str, Tensor] = {}
        self._opened: dict[str, RawSession] = {}

    def cells(self, job: TimingJob, module: object, file_format: str) -> tuple[CellResult, ...]:
        """Open the models that come with their bytes, then time all; return a cell for each.

        Raises BackendError for a model that the runtime refuses, UsageError for one not opened.
        """
        cells = [self._open(job, model, module, file_format) for model in job.models]
        runs = [self._opened[model.name].run for model in job.models]
        turns = [runs] if job.in_turn else [[run] for run in runs]
        times = [each for turn in turns for each in _latencies(turn, job)]
        return tuple(
            replace(cell, latencies_ns=each) for cell, each in zip(cells, times, strict=True)
        )

    def _open(
        self, job: TimingJob, model: RawModel, module: object, file_format: str
    ) -> CellResult:
        """Open a model that comes with its bytes; return its cell, without times."""
        started = loaded = finished = time.perf_counter_ns()
        fresh, made = bool(model.content), dict[str, Tensor]()
        if fresh:
            content, given = base64.b64decode(model.content), _Inputs(job.seed, self.values)
            session = _SESSIONS[file_format](module, content, job, given)
            loaded = time.perf_counter_ns()
            session.run()
            finished = time.perf_counter_ns()
            self._opened[model.name], made = session, session.outputs()
            self.values |= made
        if model.name not in self._opened:
            raise UsageError(f"{model.name} is not opened")
        session = self._opened[model.name]
        return CellResult(
            threads=job.threads,
            batch=1,
            threads_used=None,
            delegate=session.delegate,
            load_ns=loaded - started,
            first_ns=finished - loaded,
            latencies_ns=(),
            outputs={},
            nodes=session.nodes if fresh else (),
            graph=session.graph if fresh else "",
            values=tuple(
                Value(name=name, dtype=each.dtype.name, shape=each.shape)
                for name, each in made.items()
            ),
        )


class _Inputs:
    """The inputs of a model: values that its tensors had in another one, else random ones."""

    def __init__(self, seed: int, values: dict[str, Tensor]) -> None:
        self._random, self._values = np.random.default_rng(seed), values

    def of(self, name: str, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> Tensor:
        """Return an input of this name, and keep it."""
        known = self._values.get(name)
        if known is None or (known.shape, known.dtype) != (shape, dtype):
            known = self._values[name] = _values(self._random, shape, dtype)
        return known


def _latencies(runs: Sequence[Callable[[], object]], job: TimingJob) -> list[tuple[int, ...]]:
    """Return the times of models that take turns at each invocation, of each one after another."""
    clock = time.perf_counter_ns
    started, limit = clock(), job.slice_ns or 1 << 62
    for _ in range(job.warmup if job.invocations else 0):
        for run in runs:
            run()
        if clock() - started > limit // 4:
            break
    taken: list[list[int]] = [[] for _ in runs]
    started = clock()
    for _ in range(job.invocations):
        for run, into in zip(runs, taken, strict=True):
            before = clock()
            run()
            into.append(clock() - before)
        if clock() - started > limit:
            break
    return [tuple(each) for each in taken]


class _RawInterpreter:
    """A TFLite model."""

    graph = ""

    def __init__(self, module: Any, content: bytes, job: TimingJob, given: _Inputs) -> None:
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
        for each in interpreter.get_input_details():
            kind = tuple(map(int, each["shape"])), np.dtype(each["dtype"])
            interpreter.set_tensor(each["index"], given.of(each["name"], *kind))
        self.run = interpreter.invoke
        self.outputs = lambda: {
            each["name"]: interpreter.get_tensor(each["index"])
            for each in interpreter.get_output_details()
        }
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

    def __init__(self, module: Any, content: bytes, job: TimingJob, given: _Inputs) -> None:
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
        feeds = {e.name: given.of(e.name, *_input_type(e)) for e in session.get_inputs()}
        names = [each.name for each in session.get_outputs()]
        self.run = lambda: session.run(None, feeds)
        self.outputs = lambda: dict(zip(names, session.run(None, feeds), strict=True))
        self.delegate = ",".join(session.get_providers())


_SESSIONS: dict[str, Callable[[Any, bytes, TimingJob, _Inputs], RawSession]] = {
    "tflite": _RawInterpreter,
    "onnx": _RawOnnx,
}


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
    return BackendError(f"{runtime} rejects the model: {first_line(error)}")
