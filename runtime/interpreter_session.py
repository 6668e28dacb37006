"""A session in LiteRT or in tflite-runtime: both have the same interpreter."""

from __future__ import annotations

from typing import Any

from hemline.errors import BackendError
from hemline.runtime.backends import Tensor


class InterpreterSession:
    """One TFLite model, resized to one batch."""

    def __init__(self, module: Any, model: bytes, *, threads: int, batch: int) -> None:
        """Open flatbuffer bytes; raises BackendError when the interpreter refuses them."""
        try:
            interpreter = module.Interpreter(model_content=model, num_threads=threads)
            inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
            _require_one(inputs, outputs)
            if inputs[0]["shape"][0] != batch:
                shape = [batch, *(int(size) for size in inputs[0]["shape"][1:])]
                interpreter.resize_tensor_input(inputs[0]["index"], shape)
            interpreter.allocate_tensors()
        except (RuntimeError, ValueError, SystemError) as error:
            reason = str(error).strip().splitlines()[0]
            raise BackendError(f"{module.__name__} refuses the model: {reason}") from error
        detail = interpreter.get_input_details()[0]
        self.input_shape = tuple(int(size) for size in detail["shape"])
        self.input_dtype = detail["dtype"]
        self.classes: int | None = int(outputs[0]["shape"][-1])
        self.threads_used: int | None = None  # the interpreter does not tell
        self.delegate = _delegate(interpreter)
        self._interpreter = interpreter
        self._set, self._invoke, self._get = (
            interpreter.set_tensor,
            interpreter.invoke,
            interpreter.get_tensor,
        )
        self._input, self._output = detail["index"], outputs[0]["index"]

    def run(self, tensor: Tensor) -> Tensor:
        """Run one batch; the result is a copy that later runs leave alone."""
        self._set(self._input, tensor)
        self._invoke()
        output: Tensor = self._get(self._output)
        return output

    def close(self) -> None:
        """Free the interpreter."""
        del self._set, self._invoke, self._get, self._interpreter


def _require_one(inputs: list[Any], outputs: list[Any]) -> None:
    if len(inputs) != 1 or len(outputs) != 1:
        raise ValueError(
            f"{len(inputs)} inputs and {len(outputs)} outputs; a classifier has one of each"
        )


def _delegate(interpreter: Any) -> str:
    # Private, but the only way to see what a delegate really took over; both packages have it.
    details: list[Any] = getattr(interpreter, "_get_ops_details", list)()
    taken = any(operator["op_name"] == "DELEGATE" for operator in details)
    return "XNNPACK" if taken else "builtin"
