"""Each operator of the table computes in TensorFlow what it does in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from graphs import Net, difference, rebuilt, run, together

from hemline.errors import FileFormatError
from hemline.export.graph.normalization import normalized
from hemline.export.graph.table import OPERATORS
from hemline.train.tensorflow import quiet_keras

quiet_keras()

# float32 sums of a few hundred products in another order
SAME = 1e-5
PIXELS = np.random.default_rng(3).integers(0, 256, (3, 12, 12, 3)).astype(np.float32)
# about unit variance, so that activations bend
STD = (80.0, 60.0, 70.0)


def agrees(proto: onnx.ModelProto, *, size: int = 12) -> onnx.ModelProto:
    """Return the normalized graph, which must give what the model does, alone and in a batch."""
    graph = normalized(proto, mean=(120.0, 110.0, 90.0), std=STD)
    pixels = PIXELS[:, :size, :size]
    values = ((pixels - np.array([120, 110, 90])) / np.array(STD)).astype(np.float32)
    expected = run(proto, values.transpose(0, 3, 1, 2))
    assert difference(together(graph, pixels), expected) < SAME
    assert difference(rebuilt(graph, pixels), expected) < SAME
    return graph


Case = Callable[[Net, str], str]


def unary(kind: str, **attributes: Any) -> Case:
    return lambda net, x: net.op(kind, x, **attributes)


def positive(kind: str) -> Case:
    return lambda net, x: net.op(
        kind, net.op("Add", net.op("Abs", x), net.constant(np.float32(0.5)))
    )


def two(kind: str) -> Case:
    return lambda net, x: net.op(kind, x, net.op("Sigmoid", x))


def pooled(kind: str, **attributes: Any) -> Case:
    return lambda net, x: net.op(kind, x, **attributes)


def kernel(after: int, **attributes: Any) -> Case:
    size = attributes.pop("size", 3)
    return lambda net, x: net.conv(x, 8, after, size, **attributes)


def integers(*values: int) -> np.ndarray[Any, Any]:
    return np.array(values, np.int64)


CASES: dict[str, tuple[Case, int]] = {
    "Abs": (unary("Abs"), 8),
    "Add": (two("Add"), 8),
    "AveragePool": (pooled("AveragePool", kernel_shape=[2, 2], strides=[2, 2]), 8),
    "AveragePool padded": (
        pooled("AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        8,
    ),
    "AveragePool padding counted": (
        pooled("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
        8,
    ),
    "AveragePool rounded up": (
        pooled("AveragePool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
        8,
    ),
    "Clip": (
        lambda net, x: net.op(
            "Clip", x, net.constant(np.float32(-0.5)), net.constant(np.float32(0.75))
        ),
        8,
    ),
    "Clip of ReLU6": (
        lambda net, x: net.op("Clip", x, net.constant(np.float32(0)), net.constant(np.float32(6))),
        8,
    ),
    "Concat": (lambda net, x: net.op("Concat", x, net.op("Tanh", x), axis=1), 16),
    "Conv": (kernel(6), 6),
    "Conv SAME of stride 2": (kernel(6, strides=[2, 2], auto_pad="SAME_UPPER"), 6),
    "Conv SAME_LOWER": (kernel(6, strides=[2, 2], auto_pad="SAME_LOWER"), 6),
    "Conv padded as PyTorch": (kernel(6, strides=[2, 2], pads=[1, 1, 1, 1]), 6),
    "Conv asymmetric": (kernel(6, pads=[0, 1, 2, 1]), 6),
    "Conv dilated": (kernel(6, dilations=[2, 2], pads=[2, 2, 2, 2]), 6),
    "Conv depthwise": (kernel(8, group=8, pads=[1, 1, 1, 1]), 8),
    "Conv depthwise with a multiplier": (kernel(16, group=8, pads=[1, 1, 1, 1]), 16),
    "Conv depthwise with two strides": (kernel(8, group=8, strides=[2, 1]), 8),
    "Conv grouped": (kernel(12, group=4), 12),
    "Conv of one row": (
        lambda net, x: net.op("Conv", x, net.weights(6, 8, 1, 3), pads=[0, 1, 0, 1]),
        6,
    ),
    "ConvTranspose": (
        lambda net, x: net.op(
            "ConvTranspose",
            x,
            net.weights(8, 6, 3, 3),
            net.weights(6),
            strides=[2, 2],
            pads=[1, 1, 1, 1],
            output_padding=[1, 1],
        ),
        6,
    ),
    "DepthToSpace": (unary("DepthToSpace", blocksize=2), 2),
    "Div": (lambda net, x: net.op("Div", x, net.op("Exp", x)), 8),
    "Elu": (unary("Elu"), 8),
    "Elu of another slope": (unary("Elu", alpha=0.5), 8),
    "Exp": (unary("Exp"), 8),
    "Gather": (lambda net, x: net.op("Gather", x, net.constant(integers(3, 0, 5)), axis=1), 3),
    "HardSigmoid": (unary("HardSigmoid"), 8),
    "HardSigmoid of PyTorch": (unary("HardSigmoid", alpha=1 / 6, beta=0.5), 8),
    "HardSwish": (unary("HardSwish"), 8),
    "Identity": (unary("Identity"), 8),
    "InstanceNormalization": (
        lambda net, x: net.op("InstanceNormalization", x, net.weights(8), net.weights(8)),
        8,
    ),
    "LRN": (unary("LRN", size=5, alpha=0.1), 8),
    "LeakyRelu": (unary("LeakyRelu", alpha=0.2), 8),
    "Log": (positive("Log"), 8),
    "Max": (two("Max"), 8),
    "MaxPool": (pooled("MaxPool", kernel_shape=[2, 2], strides=[2, 2]), 8),
    "MaxPool padded": (
        pooled("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        8,
    ),
    "MaxPool padded behind a ReLU": (
        lambda net, x: net.op(
            "MaxPool", net.op("Relu", x), kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]
        ),
        8,
    ),
    "MaxPool rounded up": (
        pooled("MaxPool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
        8,
    ),
    "GlobalMaxPool": (unary("GlobalMaxPool"), 8),
    "Mean": (two("Mean"), 8),
    "Min": (two("Min"), 8),
    "Mul": (two("Mul"), 8),
    "Neg": (unary("Neg"), 8),
    "PRelu": (lambda net, x: net.op("PRelu", x, net.weights(8, 1, 1)), 8),
    "Pad": (
        lambda net, x: net.op(
            "Pad", x, net.constant(integers(0, 0, 1, 2, 0, 0, 0, 1)), net.constant(np.float32(0.3))
        ),
        8,
    ),
    "Pad reflected": (
        lambda net, x: net.op(
            "Pad", x, net.constant(integers(0, 0, 1, 2, 0, 0, 0, 1)), mode="reflect"
        ),
        8,
    ),
    "Pow": (lambda net, x: net.op("Pow", x, net.constant(np.float32(2))), 8),
    "Reciprocal": (positive("Reciprocal"), 8),
    "ReduceL2": (unary("ReduceL2", axes=[2, 3]), 8),
    "ReduceMax": (unary("ReduceMax", axes=[2, 3]), 8),
    "ReduceMean": (unary("ReduceMean", axes=[1]), 1),
    "ReduceMin": (unary("ReduceMin", axes=[3]), 8),
    "ReduceSum": (
        lambda net, x: net.op("ReduceSum", x, net.constant(integers(2))),
        8,
    ),
    "Relu": (unary("Relu"), 8),
    "Reshape": (
        lambda net, x: net.op(
            "Reshape",
            net.op("Reshape", x, net.constant(integers(0, 2, 4, -1))),
            net.constant(integers(-1, 8, 10, 10)),
        ),
        8,
    ),
    "Resize": (
        lambda net, x: net.op(
            "Resize", x, "", net.constant(np.array([1, 1, 2, 2], np.float32)), mode="linear"
        ),
        8,
    ),
    "Resize to the nearest": (
        lambda net, x: net.op(
            "Resize",
            x,
            "",
            net.constant(np.array([1, 1, 2, 2], np.float32)),
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        ),
        8,
    ),
    # 0.7 in float32 times 10 is 7 for a runtime, and 6.9999999 for ONNX's shape inference
    "Resize from 10 to 7": (
        lambda net, x: net.op(
            "Resize", x, "", net.constant(np.array([1, 1, 0.7, 0.7], np.float32)), mode="linear"
        ),
        8,
    ),
    "Selu": (unary("Selu"), 8),
    "Sigmoid": (unary("Sigmoid"), 8),
    "Slice": (
        lambda net, x: net.op(
            "Slice",
            x,
            net.constant(integers(1, 2)),
            net.constant(integers(7, 2**40)),
            net.constant(integers(1, 3)),
            net.constant(integers(2, 1)),
        ),
        3,
    ),
    "Softmax": (unary("Softmax", axis=1), 8),
    "Softplus": (unary("Softplus"), 8),
    "Softsign": (unary("Softsign"), 8),
    "SpaceToDepth": (unary("SpaceToDepth", blocksize=2), 32),
    "Split": (
        lambda net, x: net.op(
            "Mul", *net.op("Split", x, net.constant(integers(4, 4)), count=2, axis=1)
        ),
        4,
    ),
    "Sqrt": (positive("Sqrt"), 8),
    "Squeeze": (
        lambda net, x: net.op(
            "Unsqueeze",
            net.op("Squeeze", net.op("GlobalAveragePool", x), net.constant(integers(2, 3))),
            net.constant(integers(2, 3)),
        ),
        8,
    ),
    "Sub": (two("Sub"), 8),
    "Sum": (lambda net, x: net.op("Sum", x, net.op("Tanh", x), net.op("Relu", x)), 8),
    "Tanh": (unary("Tanh"), 8),
    "Tile": (lambda net, x: net.op("Tile", x, net.constant(integers(1, 2, 1, 3))), 16),
    "Transpose": (
        lambda net, x: net.op("Add", x, net.op("Transpose", x, perm=[0, 1, 3, 2])),
        8,
    ),
    "LayerNormalization": (
        lambda net, x: net.op(
            "Transpose",
            net.op(
                "LayerNormalization",
                net.op("Transpose", x, perm=[0, 2, 3, 1]),
                net.weights(8),
                net.weights(8),
                axis=-1,
            ),
            perm=[0, 3, 1, 2],
        ),
        8,
    ),
    "MatMul with two values": (
        lambda net, x: net.op("MatMul", x, net.op("Transpose", x, perm=[0, 1, 3, 2])),
        8,
    ),
    "BatchNormalization alone": (lambda net, x: net.normalization(net.op("Relu", x), 8), 8),
}


@pytest.mark.parametrize("name", CASES)
def test_an_operator_computes_the_same_in_both_runtimes(name: str) -> None:
    make, channels = CASES[name]
    net = Net()
    found = make(net, net.conv("x", 3, 8))
    agrees(net.model(net.head(net.op("Relu", net.conv(found, channels, 8, 1)), 8)))


def test_every_operator_of_the_table_is_tried() -> None:
    tried = {name.split()[0] for name in CASES}
    # these are tried by the tests of patterns, forms and families
    elsewhere = {"Flatten", "Gelu", "GeluTanh", "Gemm", "GlobalAveragePool", "Mish", "Unsqueeze"}
    assert set(OPERATORS) - tried == elsewhere


def test_an_operator_without_a_row_is_refused_by_name_and_node() -> None:
    net = Net()
    found = net.op("Det", net.op("Relu", net.conv("x", 3, 8)))
    proto = net.model(net.op("Reshape", found, net.constant(integers(-1, 8))))
    with pytest.raises(
        FileFormatError, match=r"operator Det \(node Det_2\): it cannot be converted"
    ):
        normalized(proto)
