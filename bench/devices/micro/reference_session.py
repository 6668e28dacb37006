"""A session in LiteRT with its reference kernels: plain loops, which tflite-micro's come from."""

from __future__ import annotations

from typing import Any

from hemline.runtime.backends import SessionOptions
from hemline.runtime.sessions.interpreter import InterpreterSession


class ReferenceSession(InterpreterSession):
    """One TFLite model, run without any optimised kernel."""

    delegate = "reference kernels"

    def _create(self, module: Any, model: bytes, options: SessionOptions) -> Any:
        return module.Interpreter(
            model_content=model,
            num_threads=options.threads,
            experimental_op_resolver_type=module.OpResolverType.BUILTIN_REF,
        )
