"""Fold the rescaling of pixels into the first layer's weights, so that no runtime pays for it."""

from __future__ import annotations

import keras
import numpy as np

from hemline.errors import HemlineError

# Both models are run in float32; reassociated sums differ by a few units in the last place.
_RELATIVE_TOLERANCE = 1e-4


def fold_rescaling(model: keras.Model) -> keras.Model:
    """Return an equal model whose Rescaling(scale, offset=0) went into the next kernel.

    The model is returned as it is when it has no such Rescaling by one number, or that is not
    followed by exactly one Conv2D or Dense layer, with or without a Flatten between them (an offset
    cannot be folded: padding adds zeros after it).
    """
    rescaling = next((x for x in model.layers if isinstance(x, keras.layers.Rescaling)), None)
    if rescaling is None or np.any(np.asarray(rescaling.offset) != 0) or np.ndim(rescaling.scale):
        return model
    following = _only_consumer(model, rescaling)
    if isinstance(following, keras.layers.Flatten):
        following = _only_consumer(model, following)
    if not isinstance(following, keras.layers.Conv2D | keras.layers.Dense):
        return model

    def without_rescaling(layer: keras.Layer) -> keras.Layer:
        if layer is rescaling:
            return keras.layers.Activation("linear", name=layer.name)
        return layer.__class__.from_config(layer.get_config())

    folded = keras.models.clone_model(model, clone_function=without_rescaling)
    folded.set_weights(model.get_weights())
    kernel = folded.get_layer(following.name).kernel
    kernel.assign(kernel * np.asarray(rescaling.scale, np.float32))
    _require_equal(model, folded)
    return folded


def _only_consumer(model: keras.Model, layer: keras.Layer) -> keras.Layer | None:
    consumers = [
        other
        for other in model.layers
        for node in other._inbound_nodes
        if any(parent.operation is layer for parent in node.parent_nodes)
    ]
    return consumers[0] if len(consumers) == 1 else None


def _require_equal(model: keras.Model, folded: keras.Model) -> None:
    shape = (8, *model.input_shape[1:])
    images = np.random.default_rng(0).integers(0, 256, shape).astype(np.float32)
    expected = np.asarray(model(images, training=False))
    difference = float(np.abs(np.asarray(folded(images, training=False)) - expected).max())
    if difference > _RELATIVE_TOLERANCE * max(1.0, float(np.abs(expected).max())):
        raise HemlineError(f"folding the rescaling changed logits by {difference:g}: report this")
