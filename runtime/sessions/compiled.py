"""A session on a GPU in LiteRT: its CompiledModel, whose accelerator speaks WebGPU."""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from hemline.errors import BackendError
from hemline.runtime.backends import LOGITS_ONLY, OutputFacts, SessionOptions, Tensor, require_count
from hemline.runtime.sessions.gpu_failures import why
from hemline.runtime.sessions.vulkan import software_adapter
from hemline.silence import noted

_MODULE = "ai_edge_litert.compiled_model"
_NAME = re.compile(r"RegisterAccelerator: .*name=GPU (\w+)")


class CompiledSession:
    """One TFLite model compiled for the GPU, resized to one batch."""

    arena_bytes = None

    def __init__(self, module: Any, model: bytes, options: SessionOptions) -> None:
        """Open flatbuffer bytes; raises BackendError where the GPU cannot run all of the model.

        With a fallback the processor runs what the GPU cannot, with the threads.
        """
        del module
        compiled = _import()
        try:
            with noted() as notes:
                opened = _compile(compiled, model, options)
        except RuntimeError as error:
            raise BackendError(f"litert: {why(notes, str(error))}") from error
        self._model = opened
        self._all_on_gpu = opened.is_fully_accelerated()
        if not self._all_on_gpu and not options.fallback:
            raise BackendError("litert: the GPU has no kernels for some operators of this model")
        inputs, found = _details(opened)
        require_count(len(inputs), len(found), options.outputs)
        self.input_shape = tuple(int(size) for size in inputs[0]["shape"])
        self.input_dtype = np.dtype(inputs[0]["dtype"])
        details = {spec.name: found[spec.position] for spec in options.outputs}
        self.outputs = {
            name: OutputFacts.of(each["shape"], each["dtype"]) for name, each in details.items()
        }
        adapter = software_adapter()
        self.software = adapter is not None
        self.delegate = _delegate(notes, self._all_on_gpu, adapter)
        self._inputs = opened.create_input_buffers(0)
        self._buffers = opened.create_output_buffers(0)
        # name: its buffer, shape and dtype
        self._readers = {
            spec.name: (
                self._buffers[spec.position],
                (options.batch, *(int(size) for size in details[spec.name]["shape"][1:])),
                self.outputs[spec.name].dtype,
            )
            for spec in options.outputs
        }

    def run(self, tensor: Tensor, names: Sequence[str] = LOGITS_ONLY) -> list[Tensor]:
        """Run one batch; the results are copies that later runs leave alone."""
        self._inputs[0].write(tensor)
        self._model.run_by_index(0, self._inputs, self._buffers)
        return [_read(*self._readers[name]) for name in names]

    def close(self) -> None:
        """Free the buffers and the model."""
        for buffer in (*self._inputs, *self._buffers):
            buffer.destroy()
        self._model.close()


def _read(buffer: Any, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> Tensor:
    """Return the values of a buffer; it waits until the GPU is done."""
    values: Tensor = buffer.read(math.prod(shape), dtype)
    return values.reshape(shape)


def _import() -> Any:
    try:
        return importlib.import_module(_MODULE)
    except ImportError as error:
        raise BackendError(
            f"this litert cannot use a GPU ({error}): upgrade it, pip install -U ai-edge-litert"
        ) from error


def _compile(compiled: Any, model: bytes, options: SessionOptions) -> Any:
    kinds = compiled.HardwareAccelerator
    opened = compiled.CompiledModel.from_buffer(
        model,
        options=compiled.Options(
            hardware_accelerators=kinds.GPU | kinds.CPU if options.fallback else kinds.GPU,
            cpu_options=compiled.CpuOptions(num_threads=options.threads),
            # float16 arithmetic would answer otherwise than the processor
            gpu_options=compiled.GpuOptions(enforce_f32=True),
        ),
    )
    shape = [int(size) for size in _details(opened)[0][0]["shape"]]
    if shape[0] != options.batch:
        # not strict: the exported batch is a number, not a free dimension
        opened.resize_input_tensor(0, [options.batch, *shape[1:]], strict=False)
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
