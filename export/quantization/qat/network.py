"""A float graph as a Keras model that rounds as a plan says and is trained through the rounding.

Forward, every value and weight is what the 8-bit files compute with; backward, rounding counts as
the identity (straight-through estimator: Bengio et al., 2013; Jacob et al., Quantization and
Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference, 2018).
"""

from __future__ import annotations

from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from hemline.contract.specs import LOGITS
from hemline.export.graph.rebuild import Hooks, Rebuilt
from hemline.export.quantization.annotation import AnnotatedGraph
from hemline.export.quantization.calibrators.table import Ranges
from hemline.export.quantization.float_graph import FloatGraph
from hemline.export.quantization.plan import QuantizationPlan
from hemline.export.quantization.qat.weights import Floats, on_grid, trained_units, with_constants

_OBSERVED_EVERY = 8  # steps: ranges move slowly, and finding the extremes takes time
_MOMENTUM = 0.9  # of the moving average of ranges, for each observation


class QuantizedNetwork(keras.layers.Layer):  # type: ignore[misc] # keras has no types
    """Float pixels (n, h, w, c) to logits (n, classes), by a float graph and a plan.

    Its weights are the kernels and biases of the graph in the graph's own order, the range of each
    grid, and the number of steps so far. Ranges follow the extremes of the batches by a moving
    average for the first `moving` steps of training, and stay as they are then.

    NAME: of the layer in `quantized_model`.
    """

    NAME: ClassVar[str] = "network"

    def __init__(
        self, graph: FloatGraph, plan: QuantizationPlan, moving: int, **options: Any
    ) -> None:
        super().__init__(**options)
        self._arguments = {"graph": graph, "plan": plan, "moving": moving}
        self._graph, self._plan, self._moving = graph, plan, moving
        self._annotated = AnnotatedGraph(graph, plan)
        self._units = trained_units(graph, plan)
        self._trained = {name: self._weight(name) for name in self._units}
        self._owners = list(plan.ranges)
        ends = np.array(list(plan.ranges.values()), np.float32)
        self._ranges = self.add_weight(
            shape=ends.shape, initializer=_constant(ends), trainable=False, name="ranges"
        )
        self._step = self.add_weight(
            shape=(), initializer="zeros", dtype="int32", trainable=False, name="step"
        )

    def _weight(self, name: str) -> keras.Variable:
        values = self._graph.graph.constants[name]
        return self.add_weight(
            shape=values.shape,
            initializer=_constant(values / self._units[name]),
            name="kernel" if values.ndim > 1 else "bias",
        )

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments: for copies in memory, not for a file."""
        return {**super().get_config(), **self._arguments}

    def call(self, images: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Return the logits; in training, move the ranges."""
        seen: dict[str, tf.Tensor] = {}

        def activation(name: str, value: tf.Tensor) -> tf.Tensor:
            if not self._annotated.is_point(name):
                return value
            if name in self._graph.points.observed:
                seen[name] = value
            return self._rounded(name, value)

        hooks = Hooks(constant=self._constant, kernel=self._kernel, activation=activation)
        logits = Rebuilt(self._graph.proto, hooks)(images)[LOGITS]
        if training:
            self._move(seen)
        return logits

    def _constant(self, name: str, values: Any) -> Any:
        return self._trained[name] * self._units[name] if name in self._trained else values

    def _kernel(self, name: str, values: Any, channel_axis: int | None) -> Any:
        bits = next((grid.bits for grid in self._plan.weights if grid.layer == name), 32)
        return values if bits == 32 else on_grid(values, bits, per_channel=channel_axis is not None)

    def _rounded(self, name: str, value: tf.Tensor) -> tf.Tensor:
        low, high = tf.unstack(self._ranges[self._owners.index(self._owner(name))])
        bits = self._annotated.grid(name).bits
        return tf.quantization.fake_quant_with_min_max_vars(value, low, high, num_bits=bits)

    def _owner(self, name: str) -> str:
        return str(self._graph.points.owner(name))

    def _move(self, seen: dict[str, tf.Tensor]) -> None:
        step, old = (tf.convert_to_tensor(each) for each in (self._step, self._ranges))
        due = (step < self._moving) & (step % _OBSERVED_EVERY == 0)
        new = tf.cond(due, lambda: self._extremes(seen, old), lambda: old)
        self._ranges.assign(old + (1 - _MOMENTUM) * (new - old))  # what is fixed stays exactly so
        self._step.assign(step + 1)

    def _extremes(self, seen: dict[str, tf.Tensor], old: tf.Tensor) -> tf.Tensor:
        """Return the least and the largest value of each grid, 0 among them (grids, 2)."""
        rows = tf.unstack(old)
        for at, owner in enumerate(self._owners):
            values = [value for name, value in seen.items() if self._owner(name) == owner]
            if values:
                low = tf.reduce_min([0.0, *(tf.reduce_min(value) for value in values)])
                high = tf.reduce_max([0.0, *(tf.reduce_max(value) for value in values)])
                rows[at] = tf.stack([low, high])
        return tf.stack(rows)

    def trained_graph(self) -> FloatGraph:
        """Return the float graph with the weights as they are now."""
        values = {
            name: np.asarray(each.numpy() * self._units[name], np.float32)
            for name, each in self._trained.items()
        }
        return with_constants(self._graph, values)

    def trained_ranges(self) -> Ranges:
        """Return the range of each grid as it is now."""
        ends = np.asarray(self._ranges.numpy()).tolist()
        return {name: (low, high) for name, (low, high) in zip(self._owners, ends, strict=True)}


def quantized_model(graph: FloatGraph, plan: QuantizationPlan, *, moving: int) -> keras.Model:
    """Return a Keras model of one layer: a float graph that rounds as a plan says."""
    pixels = keras.Input(graph.graph.shape(graph.graph.image)[1:])
    layer = QuantizedNetwork(graph, plan, moving, name=QuantizedNetwork.NAME)
    return keras.Model(pixels, layer(pixels))


def _constant(values: Floats) -> Any:
    def initializer(shape: tuple[int, ...], dtype: Any = None) -> tf.Tensor:
        return tf.constant(values, dtype, shape)

    return initializer
