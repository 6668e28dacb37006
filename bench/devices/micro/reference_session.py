"""A session in LiteRT with its reference kernels: plain loops, which tflite-micro's come from."""

from __future__ import annotations

from typing import Any

from hemline.runtime.sessions.interpreter import InterpreterSession


class ReferenceSession(InterpreterSession):
    """One TFLite model, run without any optimised kernel."""

    def __init__(
        self, module: Any, model: bytes, *, threads: int, batch: int, embedding: int | None
    ) -> None:
        """Open flatbuffer bytes as InterpreterSession does."""
        super().__init__(module, model, threads=threads, batch=batch, embedding=embedding)
        self.delegate = "reference kernels"

    def _create(self, module: Any, model: bytes, threads: int) -> Any:
        return module.Interpreter(
            model_content=model,
            num_threads=threads,
            experimental_op_resolver_type=module.OpResolverType.BUILTIN_REF,
        )
