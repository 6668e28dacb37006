"""A session in LiteRT or in tflite-runtime: both have the same interpreter."""

from __future__ import annotations

from typing import Any

from hemline.errors import BackendError
from hemline.runtime.backends import Tensor, require_shape


class InterpreterSession:
    """One TFLite model, resized to one batch."""

    software = False
    arena_bytes = None

    def __init__(
        self, module: Any, model: bytes, *, threads: int, batch: int, embedding: int | None
    ) -> None:
        """Open flatbuffer bytes; raises BackendError when the interpreter refuses them.

        `embedding` is the position of a second output; None for a model that has logits only.
        """
        try:
            interpreter = self._create(module, model, threads)
            inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
            require_shape(len(inputs), len(outputs), embedding)
            if inputs[0]["shape"][0] != batch:
                shape = [batch, *(int(size) for size in inputs[0]["shape"][1:])]
                interpreter.resize_tensor_input(inputs[0]["index"], shape)
            interpreter.allocate_tensors()
        # AttributeError: litert 1.1.0 cannot make an interpreter with a number of threads
        except (RuntimeError, ValueError, SystemError, AttributeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise BackendError(f"{module.__name__} refuses the model: {reason}") from error
        detail = interpreter.get_input_details()[0]
        self.input_shape = tuple(int(size) for size in detail["shape"])
        self.input_dtype = detail["dtype"]
        logits = outputs[0 if embedding is None else 1 - embedding]
        self.classes: int | None = int(logits["shape"][-1])
        self.output_dtype = logits["dtype"]
        vector = None if embedding is None else outputs[embedding]
        self.embedding_size = None if vector is None else int(vector["shape"][-1])
        self.embedding_dtype = None if vector is None else vector["dtype"]
        self.delegate = _delegate(interpreter)
        self._interpreter = interpreter
        self._set, self._invoke, self._get = (
            interpreter.set_tensor,
            interpreter.invoke,
            interpreter.get_tensor,
        )
        self._input, self._output = detail["index"], logits["index"]
        self._embedding = None if vector is None else vector["index"]

    def run(self, tensor: Tensor) -> Tensor:
        """Run one batch; the result is a copy that later runs leave alone."""
        self._set(self._input, tensor)
        self._invoke()
        output: Tensor = self._get(self._output)
        return output

    def embed(self, tensor: Tensor) -> Tensor:
        """Run one batch for its embedding (batch, size)."""
        self._set(self._input, tensor)
        self._invoke()
        output: Tensor = self._get(self._embedding)
        return output

    def close(self) -> None:
        """Free the interpreter."""
        del self._set, self._invoke, self._get, self._interpreter

    def _create(self, module: Any, model: bytes, threads: int) -> Any:
        return module.Interpreter(model_content=model, num_threads=threads)


def _delegate(interpreter: Any) -> str:
    # Private, but the only way to see what a delegate really took over; both packages have it.
    details: list[Any] = getattr(interpreter, "_get_ops_details", list)()
    taken = any(operator["op_name"] == "DELEGATE" for operator in details)
    return "XNNPACK" if taken else "builtin"
