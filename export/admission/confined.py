"""Open an untrusted model in a process of limited memory, and read its inputs and outputs.

    python -m hemline.export.admission.confined describe RUNTIME MODEL
    python -m hemline.export.admission.confined channels-last MODEL OUTPUT
    python -m hemline.export.admission.confined form MODEL OUTPUT FORM
    python -m hemline.export.admission.confined whole MODEL OUTPUT
    python -m hemline.export.admission.confined jobs

The first four answer with a Description, the last one is the job runner.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hemline.child_process import how_it_ended, limit_memory, run_child
from hemline.contract.schema import from_document, to_document
from hemline.errors import BackendError, FileFormatError, HemlineError, JobError, Remedy
from hemline.export.admission.descriptions import Description, TensorFacts
from hemline.files import parse_json, read_bytes, write_bytes
from hemline.runtime.backends import Backend, find_backend, load_module, require_working, version_of
from hemline.runtime.job import serve_standard_streams
from hemline.safe_path import module_command

COMMAND = module_command("hemline.export.admission.confined")
MEMORY_BYTES = 4 << 30  # of addresses, beyond what the process has before it opens a model
OPENING_SECONDS = 60.0
_LONGEST_REASON = 300


def describe(backend: Backend, model: Path, *, shown: Path) -> Description:
    """Let a runtime open a model in a child process; errors call the model `shown`.

    Raises JobError when the child dies or hangs, BackendError when the runtime does not work here.
    """
    return _ask(("describe", backend.name, str(model)), f"{shown} in {backend.name}")


def to_channels_last(model: Path, output: Path, *, shown: Path) -> None:
    """Write an ONNX model of (n, channels, height, width) as one of (n, height, width, channels).

    Done in a child process; errors call the model `shown`. Raises JobError or BackendError.
    """
    _ask(("channels-last", str(model), str(output)), str(shown))


def change_form(model: Path, output: Path, form: object, *, shown: Path) -> None:
    """Write a model with a Form (forms.py) put into it, in a child process.

    Raises JobError or BackendError; these call the model `shown`.
    """
    _ask(("form", str(model), str(output), json.dumps(to_document(form))), str(shown))


def with_weights_inside(model: Path, output: Path) -> None:
    """Write an ONNX model with the weights that lie in files beside it, in a child process.

    Raises JobError, or BackendError for weights that cannot be read.
    """
    _ask(("whole", str(model), str(output)), str(model))


def _ask(arguments: tuple[str, ...], what: str) -> Description:
    try:
        done = run_child((*COMMAND, *arguments), seconds=OPENING_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise JobError(f"not admitted: {what} did not open in {OPENING_SECONDS:g} s") from error
    except OSError as error:
        raise JobError(f"cannot start the process that opens {what}: {error}") from error
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace")
        how = in_one_line(how_it_ended(done.returncode, said))
        raise JobError(f"not admitted: {what} ended the process that opened it {how}")
    answer: Any = parse_json(done.stdout, where=f"the response about {what}")
    if "error" in answer:
        named = Remedy(answer["remedy"], {}) if answer["remedy"] else None
        raise BackendError(str(answer["error"]), remedy=named)
    return from_document(Description, answer, where=f"the response about {what}")


def in_one_line(text: str) -> str:
    """Return what a runtime said as one line of at most 300 characters."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_REASON else f"{line[: _LONGEST_REASON - 1]}…"


def main(arguments: list[str]) -> None:
    """Answer one question, or jobs, on the standard streams."""
    command, *rest = arguments
    if command == "jobs":
        limit_memory(MEMORY_BYTES)
        serve_standard_streams()
        return
    # Runtimes print to descriptor 1: keep the real one to ourselves and send theirs to stderr.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        try:
            found = _COMMANDS[command](*rest)
            document = to_document(found)
        except HemlineError as error:
            document = {"error": str(error), "remedy": error.remedy.name if error.remedy else ""}
        answers.write(json.dumps(document))


def _describe(runtime: str, path: str) -> Description:
    backend = find_backend(runtime)
    require_working(backend)
    module, version = load_module(backend), version_of(backend)
    model = read_bytes(Path(path))
    limit_memory(MEMORY_BYTES)
    read = _tflite_facts if backend.format == "tflite" else _onnx_facts
    try:
        inputs, outputs = read(module, model)
    # what a runtime raises shares no base class
    except Exception as error:  # noqa: BLE001
        return Description(version=version, refused=in_one_line(str(error) or repr(error)))
    return Description(version=version, inputs=inputs, outputs=outputs)


_Facts = tuple[tuple[TensorFacts, ...], tuple[TensorFacts, ...]]


def _tflite_facts(module: Any, model: bytes) -> _Facts:
    interpreter = module.Interpreter(model_content=model, num_threads=1)
    inputs = interpreter.get_input_details()
    if not any((each["shape_signature"][1:] < 0).any() for each in inputs):
        interpreter.allocate_tensors()  # one of an open size may not run on the one pixel it has
        inputs = interpreter.get_input_details()
    outputs = interpreter.get_output_details()
    return tuple(map(_tflite_tensor, inputs)), tuple(map(_tflite_tensor, outputs))


def _tflite_tensor(detail: Any) -> TensorFacts:
    free = detail["shape_signature"]
    shape = free if len(free) == len(detail["shape"]) else detail["shape"]
    scale, zero_point = detail["quantization"]
    return TensorFacts(
        name=detail["name"],
        shape=tuple(int(size) for size in shape),
        dtype=np.dtype(detail["dtype"]).name,
        scale=float(scale) if np.isfinite(scale) else 0.0,
        zero_point=int(zero_point),
    )


def _onnx_facts(module: Any, model: bytes) -> _Facts:
    options = module.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only
    session = module.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    inputs, outputs = session.get_inputs(), session.get_outputs()
    return tuple(map(_onnx_tensor, inputs)), tuple(map(_onnx_tensor, outputs))


def _onnx_tensor(value: Any) -> TensorFacts:
    name = value.type.removeprefix("tensor(").removesuffix(")")
    sizes = tuple(size if isinstance(size, int) else -1 for size in value.shape)
    return TensorFacts(
        name=value.name,
        # an unknown number of axes and none at all look alike here
        shape=sizes or None,
        dtype={"float": "float32", "double": "float64"}.get(name, name),
    )


def _channels_last(path: str, output: str) -> Description:
    """Put a transposition in front of an ONNX model's first operator."""
    try:
        import onnx
    except ImportError as error:
        raise BackendError(
            f"{path} expects channels first: transposing its input needs onnx (pip install onnx)"
        ) from error
    content = read_bytes(Path(path))
    limit_memory(MEMORY_BYTES)
    proto = onnx.load_from_string(content)
    graph = proto.graph
    stored = {value.name for value in graph.initializer}
    source = next(value for value in graph.input if value.name not in stored)
    name = source.name
    taken = {each for node in graph.node for each in (*node.input, *node.output)}
    source.name = next(new for n in range(len(taken) + 1) if (new := f"pixels_{n}") not in taken)
    sizes = source.type.tensor_type.shape.dim
    channels, height, width = (sizes[at].dim_value for at in (1, 2, 3))
    for at, size in enumerate((height, width, channels), start=1):
        sizes[at].dim_value = size
    turn = onnx.helper.make_node("Transpose", [source.name], [name], perm=[0, 3, 1, 2])
    graph.node.insert(0, turn)
    onnx.checker.check_model(proto)
    try:
        write_bytes(Path(output), proto.SerializeToString())
    except HemlineError as error:
        raise FileFormatError(str(error)) from error
    return Description(version=onnx.__version__)


def _form(path: str, output: str, text: str) -> Description:
    """Write a model with a form put into it."""
    from hemline.export.admission.form_writers import with_form
    from hemline.export.admission.forms import Form

    form = from_document(Form, json.loads(text), where="the form")
    content = read_bytes(Path(path))
    limit_memory(MEMORY_BYTES)
    write_bytes(Path(output), with_form(content, form, Path(path).suffix[1:]))
    return Description(version="")


def _whole(path: str, output: str) -> Description:
    """Write a model with its weights inside."""
    from hemline.export.importing.onnx_file import read_whole

    limit_memory(MEMORY_BYTES)
    try:
        proto = read_whole(Path(path))
    except FileFormatError as error:
        raise FileFormatError(f"{path} {error}", remedy=error.remedy) from error
    write_bytes(Path(output), proto.SerializeToString())
    return Description(version="")


_COMMANDS: dict[str, Callable[..., Description]] = {
    "describe": _describe,
    "channels-last": _channels_last,
    "form": _form,
    "whole": _whole,
}


if __name__ == "__main__":
    main(sys.argv[1:])
