"""The outputs of a Keras model by name: its logits, its embedding, or those of a layer."""

from __future__ import annotations

import keras

from hemline.contract.specs import EMBEDDING, LOGITS
from hemline.errors import HemlineError, UnknownNameError, remedy


def output_of(model: keras.Model, name: str) -> keras.KerasTensor:
    """Return an output of a model from pixels to logits.

    The embedding is what its last Dense layer reads; any other name is that of a layer. Raises
    HemlineError for a model whose last Dense layer is missing or reads no vectors, UnknownNameError
    for a layer that it does not have.
    """
    if name == LOGITS:
        return model.outputs[0]
    if name == EMBEDDING:
        return _embedding(model)
    layers = {layer.name: layer for layer in model.layers}
    if name not in layers:
        raise UnknownNameError("layer", name, layers)
    return layers[name].output


def with_outputs(model: keras.Model, names: tuple[str, ...]) -> keras.Model:
    """Return the model with outputs of these names; the same one for its logits alone."""
    if names == (LOGITS,):
        return model
    outputs = {name: output_of(model, name) for name in names}
    return keras.Model(model.input, outputs, name=model.name)


def _embedding(model: keras.Model) -> keras.KerasTensor:
    dense = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    if not dense or len(dense[-1].input.shape) != 2:
        reason = "reads no vectors" if dense else "is missing"
        raise HemlineError(
            f"{model.name} has no embedding: its last Dense layer {reason}",
            remedy=remedy("without embedding"),
        )
    return dense[-1].input
