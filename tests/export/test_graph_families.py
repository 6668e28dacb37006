"""Whole nets as PyTorch and Keras write them: one graph that gives the same in three runtimes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import onnx
import pytest
from graphs import Net, difference, lite, operators_of, run, together

from hemline.export.graph.normalization import normalized
from hemline.export.sources.graph import GraphSource
from hemline.train.tensorflow import quiet_keras

keras = quiet_keras()

from hemline.export.sources.keras_onnx import to_onnx  # noqa: E402 — after TensorFlow's noise was turned off
from hemline.export.writers import onnx as onnx_writer  # noqa: E402
from hemline.export.writers import tflite as tflite_writer  # noqa: E402

layers = keras.layers
SAME = 1e-5  # float32 sums of a few hundred products in another order
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
PIXELS = np.random.default_rng(3).integers(0, 256, (3, 16, 16, 3)).astype(np.float32)
VALUES = ((PIXELS - np.array(MEAN)) / np.array(STD)).astype(np.float32).transpose(0, 3, 1, 2)


def relu_conv(net: Net, x: str, before: int, after: int, size: int = 3, **options: object) -> str:
    made = net.normalization(net.conv(x, before, after, size, **options), after)
    return str(net.op("Relu", made))


def residual(net: Net) -> str:
    x = relu_conv(net, "x", 3, 8, 3, strides=[2, 2], pads=[1, 1, 1, 1])
    x = net.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    y = relu_conv(net, x, 8, 8, 3, pads=[1, 1, 1, 1])
    y = net.normalization(net.conv(y, 8, 8, 3, pads=[1, 1, 1, 1]), 8)
    return net.head(net.op("Relu", net.op("Add", x, y)), 8)


def depthwise(net: Net) -> str:
    zero, six = net.constant(np.float32(0)), net.constant(np.float32(6))
    x = net.normalization(net.conv("x", 3, 8, 3, strides=[2, 2], pads=[1, 1, 1, 1]), 8)
    x = net.op("Clip", x, zero, six)
    y = net.op("Clip", net.normalization(net.conv(x, 8, 24, 1), 24), zero, six)
    y = net.normalization(net.conv(y, 24, 24, 3, group=24, pads=[1, 1, 1, 1]), 24)
    y = net.normalization(net.conv(net.op("Clip", y, zero, six), 24, 8, 1), 8)
    return net.head(net.op("Add", x, y), 8)


def squeeze_excite(net: Net) -> str:
    """MobileNetV3 as PyTorch of opset 13 and less writes its activations."""

    def hard_sigmoid(x: str) -> str:
        shifted = net.op("Add", x, net.constant(np.float32(3)))
        zero, six = net.constant(np.float32(0)), net.constant(np.float32(6))
        return str(net.op("Div", net.op("Clip", shifted, zero, six), six))

    x = net.conv("x", 3, 8, 3, pads=[1, 1, 1, 1])
    x = net.op("Mul", x, hard_sigmoid(x))
    mean = net.op("Flatten", net.op("GlobalAveragePool", x))
    mean = net.op("Reshape", mean, net.constant([-1, 8, 1, 1]))
    s = net.op("Relu", net.conv(mean, 8, 4, 1))
    x = net.op("Mul", x, net.op("HardSigmoid", net.conv(s, 4, 8, 1), alpha=1 / 6, beta=0.5))
    return net.head(x, 8)


def dense_block(net: Net) -> str:
    """Normalization and ReLU before the convolution, which leaves some of them alone."""
    x = net.conv("x", 3, 8, 3, strides=[2, 2], pads=[1, 1, 1, 1])
    for at in range(2):
        y = net.op("Relu", net.normalization(x, 8 + 4 * at))
        x = net.op("Concat", x, net.conv(y, 8 + 4 * at, 4, 3, pads=[1, 1, 1, 1]), axis=1)
    x = net.op("Relu", net.normalization(x, 16))
    x = net.op("AveragePool", net.conv(x, 16, 8, 1), kernel_shape=[2, 2], strides=[2, 2])
    return net.head(net.op("Relu", net.normalization(x, 8)), 8)


def convnext(net: Net) -> str:
    x = net.conv("x", 3, 8, 4, strides=[4, 4])
    y = net.conv(x, 8, 8, 7, group=8, pads=[3, 3, 3, 3])
    y = net.op("Transpose", y, perm=[0, 2, 3, 1])
    y = net.op("LayerNormalization", y, net.weights(8), net.weights(8), axis=-1, epsilon=1e-6)
    y = net.op("Add", net.op("MatMul", y, net.weights(8, 32)), net.weights(32))
    root, one, half = (net.constant(np.float32(each)) for each in (2**0.5, 1, 0.5))
    error = net.op("Erf", net.op("Div", y, root))
    y = net.op("Mul", net.op("Mul", y, net.op("Add", error, one)), half)
    y = net.op("Add", net.op("MatMul", y, net.weights(32, 8)), net.weights(8))
    y = net.op("Mul", net.weights(8), y)
    x = net.op("Add", x, net.op("Transpose", y, perm=[0, 3, 1, 2]))
    return net.head(x, 8)


def swish(net: Net) -> str:
    x = net.conv("x", 3, 8, 3, strides=[2, 2], pads=[1, 1, 1, 1])
    x = net.op("Mul", x, net.op("Sigmoid", x))
    x = net.conv(x, 8, 8, 5, group=8, pads=[2, 2, 2, 2], strides=[2, 2])
    x = net.op("Mul", x, net.op("Sigmoid", x))
    return net.head(x, 8)


def flattened(net: Net) -> str:
    """A map that is flattened in the order of PyTorch."""
    x = net.op("Relu", net.conv("x", 3, 6, 3, strides=[2, 2]))
    x = net.op("Reshape", x, net.constant(np.array([-1, 6 * 7 * 7])))
    x = net.op("Relu", net.op("Gemm", x, net.weights(16, 6 * 7 * 7), net.weights(16), transB=1))
    return str(net.op("Gemm", x, net.weights(5, 16), net.weights(5), transB=1))


def shuffled(net: Net) -> str:
    """Channels shuffled between grouped convolutions."""
    x = net.op("Relu", net.conv("x", 3, 8, 3, strides=[2, 2]))
    x = net.op("Reshape", x, net.constant(np.array([-1, 2, 4, 7, 7])))
    x = net.op("Transpose", x, perm=[0, 2, 1, 3, 4])
    x = net.op("Reshape", x, net.constant(np.array([-1, 8, 7, 7])))
    return net.head(net.op("Relu", net.conv(x, 8, 8, 3, group=2)), 8)


def attention(net: Net) -> str:
    x = net.conv("x", 3, 8, 4, strides=[4, 4])
    x = net.op("Transpose", net.op("Reshape", x, net.constant([0, 8, 16])), perm=[0, 2, 1])
    query, key, value = (net.op("MatMul", x, net.weights(8, 8)) for _ in range(3))
    scores = net.op("MatMul", query, net.op("Transpose", key, perm=[0, 2, 1]))
    x = net.op("Add", x, net.op("MatMul", net.op("Softmax", scores, axis=-1), value))
    x = net.op("ReduceMean", x, axes=[1], keepdims=0)
    return str(net.op("Gemm", x, net.weights(8, 5), net.weights(5)))


# the operators that its TFLite file has, where the number matters
FAMILIES: dict[str, tuple[Callable[[Net], str], dict[str, int]]] = {
    "residual": (residual, {"CONV_2D": 3, "PADV2": 0, "ADD": 1, "TRANSPOSE": 0, "RESHAPE": 0}),
    "depthwise": (depthwise, {"CONV_2D": 3, "ADD": 1, "MUL": 0, "TRANSPOSE": 0, "RESHAPE": 0}),
    "squeeze-excite": (squeeze_excite, {"HARD_SWISH": 1, "TRANSPOSE": 0, "RESHAPE": 0}),
    "dense block": (dense_block, {"MUL": 0, "ADD": 0, "TRANSPOSE": 0, "RESHAPE": 0}),
    "ConvNeXt": (convnext, {"GELU": 1, "TRANSPOSE": 0}),
    "swish": (swish, {"LOGISTIC": 2, "MUL": 2, "TRANSPOSE": 0}),
    "flattened": (flattened, {"FULLY_CONNECTED": 2, "RESHAPE": 1, "TRANSPOSE": 0, "GATHER": 0}),
    "shuffled": (shuffled, {"CONV_2D": 2, "SPLIT": 0, "CONCATENATION": 0}),
    "attention": (attention, {}),
}


def every_second_one_is_slow(names: Iterable[str]) -> list[Any]:
    marks = [(), pytest.mark.slow]
    return [pytest.param(name, marks=marks[at % 2]) for at, name in enumerate(names)]


@pytest.mark.parametrize("family", every_second_one_is_slow(FAMILIES))
def test_a_net_of_pytorch_gives_the_same_in_every_runtime(family: str) -> None:
    make, counts = FAMILIES[family]
    net = Net(("N", 3, 16, 16))
    proto = net.model(make(net))
    expected = run(proto, VALUES)
    with GraphSource(normalized(proto, mean=MEAN, std=STD)) as source:
        content = tflite_writer.convert_fp32(source, None).content
        written = onnx_writer.convert_fp32(source, None).content
    found = onnx.load_from_string(written)
    assert {node.domain for node in found.graph.node} == {""}
    assert difference(together(found, PIXELS), expected) < SAME
    assert difference(lite(content, PIXELS), expected) < SAME
    operators = Counter(operators_of(content))
    assert {name: operators[name] for name in counts} == counts


def keras_net(*stack: object) -> object:
    inputs = x = keras.Input((16, 16, 3))
    for layer in stack:
        x = layer(x)  # type: ignore[operator]
    return keras.Model(inputs, x)


KERAS = {
    "a mean that padding follows": lambda: keras_net(
        layers.Rescaling(1 / 127.5, offset=-1.0),
        layers.Conv2D(8, 3, padding="same", strides=2, activation="relu"),
        layers.GlobalAveragePooling2D(),
        layers.Dense(5),
    ),
    "a mean without padding": lambda: keras_net(
        layers.Rescaling(1 / 127.5, offset=-1.0),
        layers.Conv2D(8, 3, activation="relu"),
        layers.Flatten(),
        layers.Dense(5),
    ),
    "normalization behind the activation": lambda: keras_net(
        layers.Rescaling(1 / 255),
        layers.Conv2D(8, 3, activation="relu"),
        layers.BatchNormalization(beta_initializer="ones"),
        layers.DepthwiseConv2D(3, padding="same", activation="relu6"),
        layers.Flatten(),
        layers.Dense(8),
        layers.BatchNormalization(beta_initializer="ones"),
        layers.ReLU(),
        layers.Dense(5),
    ),
    "separable convolutions": lambda: keras_net(
        layers.Rescaling(1 / 255),
        layers.SeparableConv2D(8, 3, padding="same", activation="swish"),
        layers.MaxPooling2D(3, strides=2, padding="same"),
        layers.AveragePooling2D(2),
        layers.GlobalMaxPooling2D(),
        layers.Dense(5),
    ),
    "smooth activations": lambda: keras_net(
        layers.Rescaling(1 / 255),
        layers.Conv2D(8, 3, activation="gelu"),
        layers.Conv2D(8, 3, strides=2, activation="hard_swish"),
        layers.Conv2D(8, 3, activation="hard_sigmoid"),
        layers.LayerNormalization(),
        layers.GlobalAveragePooling2D(),
        layers.Dense(5),
    ),
    "up and down": lambda: keras_net(
        layers.Rescaling(1 / 255),
        layers.Conv2D(8, 3, strides=2, padding="same", activation="elu"),
        layers.UpSampling2D(2),
        layers.ZeroPadding2D(((0, 1), (2, 1))),
        layers.Conv2D(8, 3, dilation_rate=2, activation="leaky_relu"),
        layers.Cropping2D(1),
        layers.Conv2DTranspose(4, 3, strides=2),
        layers.PReLU(shared_axes=[1, 2]),
        layers.GlobalAveragePooling2D(),
        layers.Dense(5),
    ),
}


@pytest.mark.medium
@pytest.mark.parametrize("family", every_second_one_is_slow(KERAS))
def test_a_net_of_keras_gives_the_same_in_every_runtime(family: str) -> None:
    model = KERAS[family]()
    expected = np.asarray(model(PIXELS, training=False))
    with GraphSource(normalized(to_onnx(model))) as source:
        content = tflite_writer.convert_fp32(source, None).content
        assert difference(source.run(PIXELS.astype(np.uint8)), expected) < SAME
    assert difference(lite(content, PIXELS), expected) < SAME
    if family == "up and down":
        return  # Keras enlarges maps by tiling them in five dimensions
    assert "TRANSPOSE" not in operators_of(content)
    if "mean" not in family:
        return
    assert ("DEPTHWISE_CONV_2D" in operators_of(content)) == ("follows" in family)
    assert not {"ADD", "SUB", "MUL"} & set(operators_of(content))
