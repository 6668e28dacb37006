"""A session on a GPU in LiteRT: its CompiledModel, whose accelerator speaks WebGPU."""

from __future__ import annotations

import importlib
import re
from typing import Any

import numpy as np

from hemline.errors import BackendError
from hemline.runtime.backends import Tensor, require_shape
from hemline.runtime.sessions.gpu_failures import why
from hemline.runtime.sessions.vulkan import software_adapter
from hemline.silence import noted

_MODULE = "ai_edge_litert.compiled_model"
_NAME = re.compile(r"RegisterAccelerator: .*name=GPU (\w+)")


class CompiledSession:
    """One TFLite model compiled for the GPU, resized to one batch."""

    arena_bytes = None

    def __init__(
        self,
        module: Any,
        model: bytes,
        *,
        threads: int,
        batch: int,
        embedding: int | None,
        fallback: bool,
    ) -> None:
        """Open flatbuffer bytes; raises BackendError where the GPU cannot run all of the model.

        With `fallback` the processor runs what the GPU cannot, with `threads`. `embedding` is the
        position of a second output; None for a model that has logits only.
        """
        del module
        compiled = _import()
        try:
            with noted() as notes:
                opened = _compile(compiled, model, threads, batch, fallback)
        except RuntimeError as error:
            raise BackendError(f"litert: {why(notes, str(error))}") from error
        self._model = opened
        self._all_on_gpu = opened.is_fully_accelerated()
        if not self._all_on_gpu and not fallback:
            raise BackendError("litert: the GPU has no kernels for some operators of this model")
        inputs, outputs = _details(opened)
        require_shape(len(inputs), len(outputs), embedding)
        self.input_shape = tuple(int(size) for size in inputs[0]["shape"])
        self.input_dtype = np.dtype(inputs[0]["dtype"])
        self._logits = 0 if embedding is None else 1 - embedding
        self._vector = embedding
        logits = outputs[self._logits]
        self.classes: int | None = int(logits["shape"][-1])
        self.output_dtype = np.dtype(logits["dtype"])
        vector = None if embedding is None else outputs[embedding]
        self.embedding_size = None if vector is None else int(vector["shape"][-1])
        self.embedding_dtype = None if vector is None else np.dtype(vector["dtype"])
        adapter = software_adapter()
        self.software = adapter is not None
        self.delegate = _delegate(notes, self._all_on_gpu, adapter.name if adapter else None)
        self._inputs, self._outputs = (
            opened.create_input_buffers(0),
            opened.create_output_buffers(0),
        )
        self._batch = batch

    def run(self, tensor: Tensor) -> Tensor:
        """Run one batch; the result is a copy that later runs leave alone."""
        self._invoke(tensor)
        return self._read(self._logits, self.classes, self.output_dtype)

    def embed(self, tensor: Tensor) -> Tensor:
        """Run one batch for its embedding (batch, size)."""
        self._invoke(tensor)
        return self._read(self._vector, self.embedding_size, self.embedding_dtype)

    def close(self) -> None:
        """Free the buffers and the model."""
        for buffer in (*self._inputs, *self._outputs):
            buffer.destroy()
        self._model.close()

    def _invoke(self, tensor: Tensor) -> None:
        self._inputs[0].write(tensor)
        self._model.run_by_index(0, self._inputs, self._outputs)

    def _read(self, position: Any, size: Any, dtype: Any) -> Tensor:
        # reading waits until the GPU is done
        values: Tensor = self._outputs[position].read(self._batch * size, dtype)
        return values.reshape(self._batch, size)


def _import() -> Any:
    try:
        return importlib.import_module(_MODULE)
    except ImportError as error:
        raise BackendError(
            f"this litert has no way to a GPU ({error}): pip install --upgrade 'hemline[litert]'"
        ) from error


def _compile(compiled: Any, model: bytes, threads: int, batch: int, fallback: bool) -> Any:
    kinds = compiled.HardwareAccelerator
    opened = compiled.CompiledModel.from_buffer(
        model,
        options=compiled.Options(
            hardware_accelerators=kinds.GPU | kinds.CPU if fallback else kinds.GPU,
            cpu_options=compiled.CpuOptions(num_threads=threads),
            # float16 arithmetic would answer otherwise than the processor
            gpu_options=compiled.GpuOptions(enforce_f32=True),
        ),
    )
    shape = [int(size) for size in _details(opened)[0][0]["shape"]]
    if shape[0] != batch:
        # not strict: the exported batch is a number, not a free dimension
        opened.resize_input_tensor(0, [batch, *shape[1:]], strict=False)
        # only a run gives the resized model to the GPU again
        opened.run_by_index(0, opened.create_input_buffers(0), opened.create_output_buffers(0))
    return opened


def _details(opened: Any) -> tuple[list[Any], list[Any]]:
    """Return the details of inputs and outputs, in the order of their buffers."""
    key, names = next(iter(opened.get_signature_list().items()))
    inputs, outputs = opened.get_input_tensor_details(key), opened.get_output_tensor_details(key)
    return [inputs[name] for name in names["inputs"]], [outputs[n] for n in names["outputs"]]


def _delegate(notes: list[str], all_on_gpu: bool, adapter: str | None) -> str:
    names = [found[1] for line in notes if (found := _NAME.search(line))]
    # without a name of its own it still is the GPU: nothing else was allowed
    name = names[-1] if names else "GPU"
    where = f" on {adapter} (software)" if adapter else ""
    return f"{name}{where}" if all_on_gpu else f"{name}{where} and processor"
