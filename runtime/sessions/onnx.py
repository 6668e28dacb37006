"""A session in ONNX Runtime, on the processor."""

from __future__ import annotations

from typing import Any

import numpy as np

from hemline.errors import BackendError
from hemline.runtime.backends import Tensor, require_shape

_DTYPES = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(uint8)": np.dtype(np.uint8),
    "tensor(int8)": np.dtype(np.int8),
}
_ERRORS_ONLY = 3


class OnnxSession:
    """One ONNX model with a free or fixed batch dimension."""

    software = False
    arena_bytes = None

    def __init__(
        self, module: Any, model: bytes, *, threads: int, batch: int, embedding: int | None
    ) -> None:
        """Open ModelProto bytes; raises BackendError when ONNX Runtime refuses them.

        `embedding` is the position of a second output; None for a model that has logits only.
        """
        options = module.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        try:
            session = self._create(module, model, options)
        except BackendError:
            raise
        # ONNX Runtime's exceptions share no base class of their own
        except Exception as error:
            reason = str(error).strip().splitlines()[0]
            raise BackendError(f"onnxruntime refuses the model: {reason}") from error
        inputs, outputs = session.get_inputs(), session.get_outputs()
        require_shape(len(inputs), len(outputs), embedding)
        for name, values in (("input", inputs), ("output", outputs)):
            for value in values:
                if value.type not in _DTYPES:
                    raise BackendError(f"onnxruntime: {name} of type {value.type} is not supported")
        self.input_shape = (batch, *(int(size) for size in inputs[0].shape[1:]))
        self.input_dtype = _DTYPES[inputs[0].type]
        logits = outputs[0 if embedding is None else 1 - embedding]
        self.classes, self.output_dtype = _size(logits), _DTYPES[logits.type]
        vector = None if embedding is None else outputs[embedding]
        self.embedding_size = None if vector is None else _size(vector)
        self.embedding_dtype = None if vector is None else _DTYPES[vector.type]
        self.delegate = self._delegate(session)
        self._run = session.run
        self._input, self._outputs = inputs[0].name, [logits.name]
        self._embedding = [] if vector is None else [vector.name]

    def run(self, tensor: Tensor) -> Tensor:
        """Run one batch."""
        output: Tensor = self._run(self._outputs, {self._input: tensor})[0]
        return output

    def embed(self, tensor: Tensor) -> Tensor:
        """Run one batch for its embedding (batch, size)."""
        output: Tensor = self._run(self._embedding, {self._input: tensor})[0]
        return output

    def close(self) -> None:
        """Free the session."""
        del self._run

    def _create(self, module: Any, model: bytes, options: Any) -> Any:
        return module.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def _delegate(self, session: Any) -> str:
        return ",".join(session.get_providers())


def _size(output: Any) -> int | None:
    last = output.shape[-1] if output.shape else None
    return last if isinstance(last, int) else None  # a free dimension has a name
