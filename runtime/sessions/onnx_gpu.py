"""A session on a GPU in ONNX Runtime: TensorRT, CUDA or WebGPU, whichever this build has."""

from __future__ import annotations

import contextlib
import io
from typing import Any

from hemline.errors import BackendError
from hemline.runtime.backends import SessionOptions
from hemline.runtime.sessions.gpu_failures import why
from hemline.runtime.sessions.onnx import OnnxSession
from hemline.runtime.sessions.vulkan import software_adapter
from hemline.silence import noted

_TENSORRT, _CUDA = "TensorrtExecutionProvider", "CUDAExecutionProvider"
_WEBGPU = "WebGpuExecutionProvider"
# In order of preference; CUDA runs what TensorRT leaves.
_CHAINS = ((_TENSORRT, _CUDA), (_CUDA,), (_WEBGPU,))
# TF32 rounds the factors of float32 products to 10 bits: other answers than the processor's
_OPTIONS: dict[str, dict[str, str]] = {_CUDA: {"use_tf32": "0"}}
_NO_PROCESSOR = "session.disable_cpu_ep_fallback"
_RECORD_NODES = "session.record_ep_graph_assignment_info"


class OnnxGpuSession(OnnxSession):
    """One ONNX model whose nodes a GPU runs."""

    def __init__(self, module: Any, model: bytes, options: SessionOptions) -> None:
        """Open ModelProto bytes; raises BackendError where the GPU cannot run all of the model.

        With a fallback the processor runs the nodes that the GPU cannot.
        """
        self._modes = (True, False) if options.fallback else (True,)
        super().__init__(module, model, options)
        adapter = software_adapter() if self.delegate.startswith(_WEBGPU) else None
        self.software = adapter is not None
        if adapter is not None:
            self.delegate = f"{self.delegate} on {adapter} (software)"

    def _create(self, module: Any, model: bytes, settings: Any) -> Any:
        """Return a session of the first providers that run the model, of the GPU alone if it can.

        Raises BackendError with the reason of the last ones, which ask for the least.
        """
        available = module.get_available_providers()
        chains = [chain for chain in _CHAINS if set(chain) <= set(available)]
        if not chains:
            raise BackendError(
                f"this onnxruntime was built without a GPU ({', '.join(available)}): "
                "pip uninstall onnxruntime, then pip install 'onnxruntime-gpu[cuda,cudnn]'"
            )
        if _CUDA in available:
            _load_cuda(module)
        *others, last = [(chain, alone) for alone in self._modes for chain in chains]
        for chain, alone in others:
            with contextlib.suppress(BackendError):
                return self._try(module, model, settings, chain, alone)
        return self._try(module, model, settings, *last)

    def _try(
        self, module: Any, model: bytes, settings: Any, chain: tuple[str, ...], alone: bool
    ) -> Any:
        # ONNX Runtime warns and takes the processor; this makes it an error
        settings.add_session_config_entry(_NO_PROCESSOR, str(int(alone)))
        providers = [(name, _OPTIONS.get(name, {})) for name in chain]
        try:
            with noted() as notes:
                session = module.InferenceSession(model, settings, providers, enable_fallback=0)
        # ONNX Runtime's exceptions share no base class of their own
        except Exception as error:
            reason = _reason(module, model, providers, notes, error)
            raise BackendError(f"onnxruntime ({chain[0]}): {reason}") from error
        used = session.get_providers()
        if used[0] not in chain:
            raise BackendError(f"onnxruntime ({chain[0]}): {why(notes, 'it was not used')}")
        self._providers = [name for name in used if name in chain or not alone]
        return session

    def _delegate(self, session: Any) -> str:
        del session  # it names the processor even where it was forbidden
        return ",".join(self._providers)


def _reason(
    module: Any, model: bytes, providers: list[Any], notes: list[str], error: Exception
) -> str:
    """Say which operators the GPU has no kernels for, or why it was not there at all."""
    if "CPU EP" not in str(error):
        return why([*notes, str(error)], str(error))
    options = module.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry(_RECORD_NODES, "1")
    with noted() as more:
        session = module.InferenceSession(model, options, providers, enable_fallback=0)
    if session.get_providers()[0] == "CPUExecutionProvider":
        return why([*notes, *more], "it is missing")
    left = sorted(
        {
            node.op_type
            for part in session.get_provider_graph_assignment_info()
            if part.ep_name == "CPUExecutionProvider"
            for node in part.get_nodes()
        }
    )
    what = (
        f"operators of this model ({', '.join(left)})" if left else "some operators of this model"
    )
    return f"the GPU has no kernels for {what}"


def _load_cuda(module: Any) -> None:
    """Let ONNX Runtime find CUDA in the packages of pip; it prints what it does not find."""
    load = getattr(module, "preload_dlls", None)
    if load is not None:
        with contextlib.redirect_stdout(io.StringIO()):
            load()
