"""What a model file holds: tensors with their grids, and operators with their cost."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from hemline.contract.specs import Format

# They put values onto a grid and back, or store weights narrower; runtimes fuse or fold them.
_STORING = ("QUANTIZE", "DEQUANTIZE", "QuantizeLinear", "DequantizeLinear")
_CASTS = ("Cast", "CAST")
_NARROW = ("int8", "uint8", "int4", "uint4")  # weights whose scale is elsewhere have these


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """A value of a model file.

    name: in the file.
    shape: with 1 for an open batch; None where it is not known before the model runs.
    dtype: of the stored numbers.
    constant: whether it is in the file; else it is computed.
    size_bytes: of its stored numbers; 0 where the shape is not known.
    scales, zero_points: of its grid, one or one for each index along `axis`; empty in float.
    axis: None for one scale.
    """

    name: str
    shape: tuple[int, ...] | None
    dtype: str
    constant: bool = False
    size_bytes: int = 0
    scales: tuple[float, ...] = ()
    zero_points: tuple[int, ...] = ()
    axis: int | None = None

    @property
    def elements(self) -> int:
        """Return the number of its values, 0 where the shape is not known."""
        return 0 if self.shape is None else math.prod(self.shape)

    @property
    def is_weights(self) -> bool:
        """Return whether it holds parameters, and not a shape or an index."""
        numbers = self.dtype.startswith(("float", "bfloat")) or bool(self.scales)
        return self.constant and (numbers or (self.dtype in _NARROW and self.elements > 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """One operator.

    kind: its name in the format.
    inputs, outputs: names of tensors; an input that is left out is not among them.
    macs: multiply-accumulates for one image.
    """

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    macs: int = 0


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a model file holds.

    format: tflite or onnx.
    inputs, outputs: names of tensors.
    tensors, operators: in the order of the file.
    """

    format: Format
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]

    @cached_property
    def by_name(self) -> dict[str, Tensor]:
        """Return the tensors by name."""
        return {tensor.name: tensor for tensor in self.tensors}

    @property
    def parameters(self) -> int:
        """Return the number of scalars in weights and biases."""
        return sum(tensor.elements for tensor in self.tensors if tensor.is_weights)

    @property
    def weight_bytes(self) -> int:
        """Return the size of weights and biases in the file."""
        return sum(tensor.size_bytes for tensor in self.tensors if tensor.is_weights)

    @property
    def macs(self) -> int:
        """Return the multiply-accumulates for one image."""
        return sum(operator.macs for operator in self.operators)

    @property
    def kinds(self) -> dict[str, int]:
        """Return how many operators of each kind there are, the most frequent first."""
        return dict(Counter(operator.kind for operator in self.operators).most_common())

    def weights_of(self, operator: Operator) -> tuple[Tensor, ...]:
        """Return the weights that an operator reads, the largest first."""
        read = (self.by_name[name] for name in operator.inputs if name in self.by_name)
        return tuple(sorted((t for t in read if t.is_weights), key=lambda t: -t.elements))

    def bytes_of(self, operator: Operator) -> int:
        """Return the size of all that an operator reads and writes."""
        names = {*operator.inputs, *operator.outputs} & self.by_name.keys()
        return sum(self.by_name[name].size_bytes for name in names)

    def dtype_of(self, operator: Operator) -> str:
        """Return the type of an operator's arithmetic: int8 too where only weights have 8 bits."""
        read = [self.by_name[name] for name in operator.inputs if name in self.by_name]
        dtype = next((t.dtype for t in read if not t.constant), "")
        narrow = any(each.dtype in _NARROW for each in self.weights_of(operator))
        return "int8" if dtype in _NARROW or (narrow and dtype.startswith("float")) else dtype

    def computing(self) -> Contents:
        """Return the same without operators that only put values onto a grid and back.

        A value then has the grid and the type that it is stored with.
        """
        moved: dict[str, str] = {}
        tensors, kept = dict(self.by_name), []
        for operator in self.operators:
            source = moved.get(operator.inputs[0], operator.inputs[0]) if operator.inputs else ""
            if not self._only_stores(operator, tensors.get(source)):
                kept.append(operator)
                continue
            for name in operator.outputs:
                moved[name] = source
                stored, made = tensors.get(source), tensors.pop(name, None)
                if stored is not None and made is not None and made.scales and not stored.scales:
                    tensors[source] = _stored_as(stored, made)
        operators = tuple(
            replace(each, inputs=tuple(moved.get(name, name) for name in each.inputs))
            for each in kept
        )
        read = {name for each in operators for name in (*each.inputs, *each.outputs)}
        outputs = tuple(moved.get(name, name) for name in self.outputs)
        return replace(
            self,
            outputs=outputs,
            operators=operators,
            tensors=tuple(t for t in tensors.values() if t.name in read or t.name in self.inputs),
        )

    def _only_stores(self, operator: Operator, source: Tensor | None) -> bool:
        constant = source is not None and source.constant
        return operator.kind in _STORING or (operator.kind in _CASTS and constant)

    def document(self) -> dict[str, Any]:
        """Return everything as JSON, with the sums."""
        from hemline.contract.schema import to_document

        sums = {name: getattr(self, name) for name in ("parameters", "macs", "weight_bytes")}
        document: dict[str, Any] = to_document(self)
        return {**sums, **document}


def _stored_as(value: Tensor, stored: Tensor) -> Tensor:
    """Return a value with the grid and type of the tensor that holds it."""
    return replace(
        value,
        dtype=stored.dtype,
        size_bytes=stored.size_bytes,
        scales=stored.scales,
        zero_points=stored.zero_points,
        axis=stored.axis,
    )
