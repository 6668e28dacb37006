"""A value of a graph as a tensor whose dimensions may lie in another order than ONNX says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

Axes = tuple[int, ...]


def last(rank: int) -> Axes:
    """Return the order in which the channels, dimension 1, come last."""
    return (0, *range(2, rank), 1)


def transposed(tensor: Any, order: Sequence[int]) -> Any:
    """Return an array or a tensor with its dimensions in another order."""
    return (np if isinstance(tensor, np.ndarray) else tf).transpose(tensor, order)


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A tensor, and which dimensions of the ONNX value its own dimensions are.

    So a map (n, c, h, w) is held as (n, h, w, c), and a transposition costs nothing.

    tensor: what is computed, or an array.
    axes: for each dimension of the tensor, that of the ONNX value.
    shape: of the ONNX value; None for the open batch. Dimensions of size 1 may be missing in the
        tensor.
    rows: where the columns of a matrix lie in another order: the ONNX column of each; else None.
    """

    tensor: Any
    axes: Axes
    shape: tuple[int | None, ...]
    rows: npt.NDArray[np.int64] | None = None

    @classmethod
    def plain(cls, tensor: Any) -> Value:
        """Return a tensor whose dimensions lie as ONNX says."""
        shape = tuple(tensor.shape)
        return cls(tensor=tensor, axes=tuple(range(len(shape))), shape=shape)

    @property
    def rank(self) -> int:
        """Return the number of dimensions that ONNX counts."""
        return len(self.shape)

    @property
    def is_constant(self) -> bool:
        """Return whether it is an array of the file."""
        return isinstance(self.tensor, np.ndarray)

    def with_tensor(self, tensor: Any) -> Value:
        """Return another tensor of the same dimensions."""
        return Value(tensor=tensor, axes=self.axes, shape=self.shape, rows=self.rows)

    def ordered(self, axes: Axes) -> Any:
        """Return the tensor with its dimensions in an order, none missing."""
        tensor = self._columns_in_order()
        if self.axes == axes:
            return tensor
        wanted = [axis for axis in axes if axis in self.axes]
        if self._moves(wanted):
            order = [self.axes.index(axis) for axis in wanted]
            tensor = transposed(tensor, order)
        full = [-1 if self.shape[axis] is None else self.shape[axis] for axis in axes]
        if list(tensor.shape) == [None if size == -1 else size for size in full]:
            return tensor
        return tensor.reshape(full) if self.is_constant else tf.reshape(tensor, full)

    def _moves(self, wanted: list[int]) -> bool:
        """Return whether an order moves dimensions of more than one element."""
        held = [axis for axis in self.axes if self.shape[axis] != 1]
        return held != [axis for axis in wanted if self.shape[axis] != 1]

    def _columns_in_order(self) -> Any:
        if self.rows is None:
            return self.tensor
        return tf.gather(self.tensor, np.argsort(self.rows), axis=-1)

    @property
    def in_order(self) -> Any:
        """Return the tensor as ONNX has it."""
        return self.ordered(tuple(range(self.rank)))

    def held_as(self, axes: Axes) -> Value:
        """Return the value with its tensor in an order."""
        return Value(tensor=self.ordered(axes), axes=axes, shape=self.shape)


def broadcast(values: list[Value]) -> tuple[list[Any], Axes]:
    """Return tensors that broadcast as ONNX's do, and the order of the dimensions of the result."""
    rank = max(value.rank for value in values)
    full = [_padded(value, rank) for value in values]
    leading = max(
        (value for value in full if not value.is_constant), key=lambda value: len(value.axes)
    )
    axes = leading.axes if len(leading.axes) == rank else tuple(range(rank))
    return [_trimmed(each, axes) for each in full], axes


def _padded(value: Value, rank: int) -> Value:
    more = rank - value.rank
    if not more:
        return value
    return Value(
        tensor=value.tensor,
        axes=tuple(axis + more for axis in value.axes),
        shape=(1,) * more + value.shape,
        rows=value.rows,
    )


def _trimmed(value: Value, axes: Axes) -> Any:
    """Return a tensor in an order; a constant without leading dimensions of size 1."""
    tensor = value.ordered(axes)
    if value.is_constant:
        while tensor.ndim and tensor.shape[0] == 1:
            tensor = tensor[0]
    return tensor
