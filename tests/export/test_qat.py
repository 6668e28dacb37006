"""Quantization-aware training: the rebuilt graph with trainable weights, and what comes out."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from graphs import Array, Net, rebuilt

from hemline.export.graph.normalization import normalized
from hemline.train.tensorflow import quiet_keras

quiet_keras()

import tensorflow as tf  # noqa: E402 — after its noise was turned off

from hemline.export.graph.rebuild import Hooks, Rebuilt  # noqa: E402


def net() -> onnx.ModelProto:
    """Return a graph with every kind of layer that has weights."""
    made = Net()
    x = made.op("Relu", made.conv("x", 3, 8, strides=[2, 2]))
    x = made.op("Relu", made.conv(x, 8, 8, group=8))
    x = made.op("ConvTranspose", x, made.weights(8, 4, 2, 2), made.weights(4), strides=[2, 2])
    flat = made.op("Flatten", x)
    hidden = made.op("Relu", made.op("Gemm", flat, made.weights(144, 6), made.weights(6)))
    return normalized(made.model(made.op("MatMul", hidden, made.weights(6, 5))))


def images(count: int) -> Array:
    return np.random.default_rng(1).integers(0, 256, (count, 12, 12, 3)).astype(np.float32)


def test_weights_can_be_variables_and_have_gradients() -> None:
    proto = net()
    variables: dict[str, Any] = {}

    def constant(name: str, values: Array) -> Any:
        if values.dtype != np.float32:
            return values
        return variables.setdefault(name, tf.Variable(values))

    graph = Rebuilt(proto, Hooks(constant=constant))
    with tf.GradientTape() as tape:
        found = graph(tf.constant(images(4)))[graph.graph.outputs[0]]
    np.testing.assert_allclose(found.numpy(), rebuilt(proto, images(4)), rtol=1e-4, atol=1e-2)
    gradients = tape.gradient(found, variables)
    assert len(gradients) == 9
    assert all(np.any(tf.convert_to_tensor(each).numpy()) for each in gradients.values())
