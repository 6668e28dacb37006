"""The layers of a Keras model: the summary, and finding one by name or by what it does."""

from __future__ import annotations

import keras

from hemline.contract.model_summary import Layer
from hemline.errors import UnknownNameError, UsageError
from hemline.train.nets.models import layer_macs

_CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D)


def summary_of(model: keras.Model) -> tuple[Layer, ...]:
    """Return one line for each layer, in the order of the model; a nested model is one of them."""
    macs = layer_macs(model)
    return tuple(
        Layer(
            name=layer.name,
            kind=type(layer).__name__,
            output=tuple(layer._inbound_nodes[0].output_tensors[0].shape[1:]),  # of its first call
            parameters=int(layer.count_params()),
            macs=macs.get(layer.name, 0),
        )
        for layer in model.layers
    )


def layer_with_maps(model: keras.Model, name: str | None) -> keras.Layer | None:
    """Return the layer called `name`, by default the first convolution; None without one.

    Raises UnknownNameError with the nearest name, UsageError for a layer whose output has no rows
    and columns.
    """
    if name is None:
        return next((each for each in model.layers if isinstance(each, _CONVOLUTIONS)), None)
    named = {layer.name: layer for layer in model.layers}
    if name not in named:
        raise UnknownNameError("layer", name, named)
    if not _has_maps(named[name]):
        with_maps = [each for each in model.layers if _has_maps(each)]
        near = [each.name for each in with_maps if isinstance(each, _CONVOLUTIONS)]
        hint = f"use one with them, for example {(near or [with_maps[0].name])[0]}"
        raise UsageError(f"the output of layer {name!r} has no rows and columns: {hint}")
    return named[name]


def last_maps(model: keras.Model) -> keras.Layer | None:
    """Return the layer that the last convolution ends in; None for a model without one.

    That is the last one behind it whose output has the same rows and columns: its normalization,
    activation or sum with a shortcut.
    """
    places = [at for at, each in enumerate(model.layers) if isinstance(each, _CONVOLUTIONS)]
    if not places:
        return None
    convolution = model.layers[places[-1]]
    same = convolution.output.shape[1:3]
    behind = [
        each
        for each in model.layers[places[-1] :]
        if _has_maps(each)
        and each.output.shape[1:3] == same
        and not isinstance(each, keras.layers.Dropout)  # it does nothing but in training
    ]
    return behind[-1]


def _has_maps(layer: keras.Layer) -> bool:
    return len(layer.output.shape) == 4
