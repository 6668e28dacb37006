"""Flatten to a constant size, so that no runtime computes a shape while it runs."""

from __future__ import annotations

import math

import keras


class ConstantFlatten(keras.layers.Flatten):  # type: ignore[misc] # keras has no types
    """A Flatten that is one reshape; Keras' own asks for the batch first, in three operators."""

    def call(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        """Return a tensor (n, h, w, c) as (n, h · w · c)."""
        return keras.ops.reshape(inputs, (-1, math.prod(inputs.shape[1:])))


def with_constant_flatten(model: keras.Model) -> keras.Model:
    """Return an equal model whose Flatten layers are constant; the same one if it has none."""
    if not any(_can_be_constant(layer) for layer in model.layers):
        return model

    def constant(layer: keras.Layer) -> keras.Layer:
        kind = ConstantFlatten if _can_be_constant(layer) else layer.__class__
        return kind.from_config(layer.get_config())

    changed = keras.models.clone_model(model, clone_function=constant)
    changed.set_weights(model.get_weights())
    return changed


def _can_be_constant(layer: keras.Layer) -> bool:
    return isinstance(layer, keras.layers.Flatten) and layer.data_format == "channels_last"
