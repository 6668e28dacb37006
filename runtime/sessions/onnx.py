"""A session in ONNX Runtime, on the processor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hemline.errors import BackendError, first_line
from hemline.runtime.backends import LOGITS_ONLY, OutputFacts, SessionOptions, Tensor, require_count

if TYPE_CHECKING:
    from hemline.contract.settings import Settings

_DTYPES = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(uint8)": np.dtype(np.uint8),
    "tensor(int8)": np.dtype(np.int8),
}
_ERRORS_ONLY = 3
_LEVELS = {"all": "ENABLE_ALL", "extended": "ENABLE_EXTENDED", "basic": "ENABLE_BASIC"}


def session_options(module: Any, threads: int, settings: Settings | None) -> Any:
    """Return ONNX Runtime's options for so many threads and these settings."""
    options = module.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    if settings is not None:
        level = _LEVELS.get(settings.optimization, "DISABLE_ALL")
        options.graph_optimization_level = getattr(module.GraphOptimizationLevel, f"ORT_{level}")
    return options


class OnnxSession:
    """One ONNX model with a free or fixed batch dimension."""

    software = False
    arena_bytes = None

    def __init__(self, module: Any, model: bytes, options: SessionOptions) -> None:
        """Open ModelProto bytes; raises BackendError when ONNX Runtime refuses them."""
        try:
            session = self._create(
                module, model, session_options(module, options.threads, options.settings)
            )
        except BackendError:
            raise
        # ONNX Runtime's exceptions share no base class of their own
        except Exception as error:
            raise BackendError(f"onnxruntime rejects the model: {first_line(error)}") from error
        inputs, found = session.get_inputs(), session.get_outputs()
        require_count(len(inputs), len(found), options.outputs)
        for name, values in (("input", inputs), ("output", found)):
            for value in values:
                if value.type not in _DTYPES:
                    raise BackendError(f"onnxruntime: {name} of type {value.type} is not supported")
        self.input_shape = (options.batch, *(int(size) for size in inputs[0].shape[1:]))
        self.input_dtype = _DTYPES[inputs[0].type]
        values = {spec.name: found[spec.position] for spec in options.outputs}
        self.outputs = {
            name: OutputFacts.of(each.shape, _DTYPES[each.type]) for name, each in values.items()
        }
        self.delegate = self._delegate(session)
        self._run = session.run
        self._input = inputs[0].name
        self._names = {name: each.name for name, each in values.items()}

    def run(self, tensor: Tensor, names: Sequence[str] = LOGITS_ONLY) -> list[Tensor]:
        """Run one batch."""
        found: list[Tensor] = self._run([self._names[n] for n in names], {self._input: tensor})
        return found

    def close(self) -> None:
        """Free the session."""
        del self._run

    def _create(self, module: Any, model: bytes, settings: Any) -> Any:
        return module.InferenceSession(model, settings, providers=["CPUExecutionProvider"])

    def _delegate(self, session: Any) -> str:
        return ",".join(session.get_providers())
