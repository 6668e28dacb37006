"""A session in LiteRT or in tflite-runtime: both have the same interpreter."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from hemline.errors import BackendError, first_line
from hemline.runtime.backends import LOGITS_ONLY, OutputFacts, SessionOptions, Tensor, require_count


class InterpreterSession:
    """One TFLite model, resized to one batch."""

    software = False
    arena_bytes = None

    def __init__(self, module: Any, model: bytes, options: SessionOptions) -> None:
        """Open flatbuffer bytes; raises BackendError when the interpreter refuses them."""
        try:
            interpreter = self._create(module, model, options)
            inputs, found = interpreter.get_input_details(), interpreter.get_output_details()
            require_count(len(inputs), len(found), options.outputs)
            if inputs[0]["shape"][0] != options.batch:
                shape = [options.batch, *(int(size) for size in inputs[0]["shape"][1:])]
                interpreter.resize_tensor_input(inputs[0]["index"], shape)
            interpreter.allocate_tensors()
        # AttributeError: litert 1.1.0 cannot make an interpreter with a number of threads
        except (RuntimeError, ValueError, SystemError, AttributeError) as error:
            raise BackendError(
                f"{module.__name__} rejects the model: {first_line(error)}"
            ) from error
        detail = interpreter.get_input_details()[0]
        self.input_shape = tuple(int(size) for size in detail["shape"])
        self.input_dtype = detail["dtype"]
        details = {spec.name: found[spec.position] for spec in options.outputs}
        self.outputs = {
            name: OutputFacts.of(each["shape"], each["dtype"]) for name, each in details.items()
        }
        self._interpreter = interpreter
        self._set, self._invoke, self._get = (
            interpreter.set_tensor,
            interpreter.invoke,
            interpreter.get_tensor,
        )
        self._input = detail["index"]
        self._indices = {name: each["index"] for name, each in details.items()}

    def run(self, tensor: Tensor, names: Sequence[str] = LOGITS_ONLY) -> list[Tensor]:
        """Run one batch; the results are copies that later runs leave alone."""
        self._set(self._input, tensor)
        self._invoke()
        return [self._get(self._indices[name]) for name in names]

    def close(self) -> None:
        """Free the interpreter."""
        del self._set, self._invoke, self._get, self._interpreter

    def _create(self, module: Any, model: bytes, options: SessionOptions) -> Any:
        if options.settings is None:
            chosen = {}
        else:
            from hemline.runtime.sessions.delegates import interpreter_options

            chosen = interpreter_options(module, options.threads, options.settings)
        return module.Interpreter(model_content=model, num_threads=options.threads, **chosen)

    @cached_property  # a list of every operator: not before the first label
    def delegate(self) -> str:
        """Return what runs the operators."""
        # Private, but the only way to see what a delegate really took over; both packages have it.
        details: list[Any] = getattr(self._interpreter, "_get_ops_details", list)()
        taken = any(operator["op_name"] == "DELEGATE" for operator in details)
        return "XNNPACK" if taken else "builtin"
