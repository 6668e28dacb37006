"""A session in tflite-micro, the interpreter of microcontrollers, with its reference kernels."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hemline.errors import BackendError, first_line
from hemline.runtime.backends import LOGITS_ONLY, OutputFacts, SessionOptions, Tensor, require_count
from hemline.silence import noted

_ARENA_BYTES = 64 << 20  # to find out what is needed; no microcontroller has as much
_TOTAL = re.compile(r"Arena allocation total (\d+) bytes")
_NO_KERNEL = re.compile(r"Didn't find op for builtin opcode '(\w+)'")
_NODE = re.compile(r"Node (\w+) \(number \d+\) failed to prepare")
_SOURCE = re.compile(r"^tensorflow/\S+\.(cc|h)(:\d+)?\s*")


class MicroSession:
    """One TFLite model at the batch that it was exported with."""

    software = False

    def __init__(self, module: Any, model: bytes, options: SessionOptions) -> None:
        """Open flatbuffer bytes; raises BackendError naming the operator that has no kernel."""
        try:
            with noted() as notes:
                interpreter = module.Interpreter.from_bytes(model, arena_size=_ARENA_BYTES)
        except (RuntimeError, ValueError) as error:
            raise BackendError(_reason(notes, str(error))) from error
        inputs, found = interpreter.get_input_details, interpreter.get_output_details
        require_count(_count(inputs), _count(found), options.outputs)
        detail = inputs(0)
        self.input_shape = tuple(int(size) for size in detail["shape"])
        if self.input_shape[0] != options.batch:
            raise BackendError(
                f"tflite-micro cannot resize a model made for {self.input_shape[0]} images at once"
            )
        self.input_dtype = np.dtype(detail["dtype"])
        self._positions = {spec.name: spec.position for spec in options.outputs}
        details = {name: found(position) for name, position in self._positions.items()}
        self.outputs = {
            name: OutputFacts.of(each["shape"], each["dtype"]) for name, each in details.items()
        }
        self.delegate = "reference kernels for microcontrollers"
        self._interpreter = interpreter
        self.arena_bytes = self._arena()

    def run(self, tensor: Tensor, names: Sequence[str] = LOGITS_ONLY) -> list[Tensor]:
        """Run one batch; the results are copies that later runs leave alone."""
        self._invoke(tensor)
        return [np.array(self._interpreter.get_output(self._positions[name])) for name in names]

    def close(self) -> None:
        """Free the model."""
        del self._interpreter

    def _invoke(self, tensor: Tensor) -> None:
        self._interpreter.set_input(np.ascontiguousarray(tensor), 0)
        self._interpreter.invoke()

    def _arena(self) -> int | None:
        """Return the bytes that the interpreter took of its arena; it only prints them."""
        self._invoke(np.zeros(self.input_shape, self.input_dtype))
        with noted() as notes:
            self._interpreter.print_allocations()
        return next((int(found[1]) for line in notes if (found := _TOTAL.search(line))), None)


def _count(details: Callable[[int], Any]) -> int:
    """Return how many inputs or outputs there are: one that is not there is an IndexError."""
    count = 0
    with contextlib.suppress(IndexError), noted():
        while True:
            details(count)
            count += 1
    return count


def _reason(notes: list[str], otherwise: str) -> str:
    """Say which operator is not for microcontrollers, from what native code printed."""
    lines = [line.strip() for line in notes if line.strip()]
    for line in lines:
        if found := _NO_KERNEL.search(line):
            return f"tflite-micro has no kernel for {found[1]}"
    for line in lines:
        if found := _NODE.search(line):
            cause = _SOURCE.sub("", lines[0]).rstrip(".")
            return f"tflite-micro cannot run this {found[1]} ({cause}): use int8 or fp32"
    return f"tflite-micro rejects the model: {first_line(otherwise)}"
