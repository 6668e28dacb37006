"""Every form of a float classifier becomes one graph; what cannot is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from graphs import Net, difference, probabilities, rebuilt, run, together
from onnx import TensorProto, helper

from hemline.contract.specs import EMBEDDING, LOGITS
from hemline.errors import FileFormatError, HemlineError, UnknownNameError
from hemline.export.graph.normalization import normalized
from hemline.export.graph.rebuild import Hooks, Rebuilt
from hemline.export.sources.graph import GraphSource, open_graph
from hemline.export.sources.table import open_source
from hemline.train.tensorflow import quiet_keras

quiet_keras()

import tensorflow as tf  # noqa: E402 — after its noise was turned off

SAME = 1e-5  # float32 sums of a few hundred products in another order
PIXELS = np.random.default_rng(3).integers(0, 256, (3, 12, 12, 3)).astype(np.float32)
CHANNELS_FIRST = PIXELS.transpose(0, 3, 1, 2)


def classifier(net: Net, x: str = "x", channels: int = 3) -> str:
    """Add a small classifier of pixels, whose logits are a few units large."""
    scaled = net.op("Mul", x, net.constant(np.float32(1 / 64)))
    return net.head(net.op("Relu", net.conv(scaled, channels, 8)), 8)


def dims(proto: onnx.ModelProto) -> list[list[Any]]:
    values = (*proto.graph.input, *proto.graph.output)
    return [
        [each.dim_param or each.dim_value for each in value.type.tensor_type.shape.dim]
        for value in values
    ]


@pytest.mark.parametrize("opset", [7, 9, 11, 13, 15, 17, 18, 21, 23])
def test_every_opset_becomes_17(opset: int) -> None:
    net = Net(opset=opset)
    proto = net.model(net.op("Softmax", classifier(net), axis=1))
    graph = normalized(proto)
    assert [each.version for each in graph.opset_import] == [17]
    assert dims(graph) == [["batch", 12, 12, 3], ["batch", 5]]
    assert [each.name for each in (*graph.graph.input, *graph.graph.output)] == ["image", "logits"]
    found = probabilities(together(graph, PIXELS))
    np.testing.assert_allclose(found, run(proto, CHANNELS_FIRST), atol=SAME)


@pytest.mark.parametrize("batch", ["N", None, 1, 2])
def test_any_batch_becomes_open(batch: object) -> None:
    net = Net((batch, 3, 12, 12))
    x = net.op("Relu", net.conv(net.op("Mul", "x", net.constant(np.float32(1 / 64))), 3, 8))
    flat = net.op("Reshape", x, net.constant([batch if isinstance(batch, int) else -1, 800]))
    proto = net.model(net.op("Gemm", flat, net.weights(5, 800), net.weights(5), transB=1))
    single = batch if isinstance(batch, int) else 1
    expected = np.concatenate(
        [together(proto, np.repeat(each[np.newaxis], single, 0))[:1] for each in CHANNELS_FIRST]
    )
    assert difference(together(normalized(proto), PIXELS), expected) < SAME


@pytest.mark.parametrize("kind", ["UINT8", "INT64", "DOUBLE", "FLOAT16"])
def test_any_type_that_holds_pixels_becomes_float(kind: str) -> None:
    net = Net()
    net.kind = TensorProto.DataType.Value(kind)
    proto = net.model(classifier(net, net.op("Cast", "x", to=TensorProto.FLOAT)))
    dtype = helper.tensor_dtype_to_np_dtype(net.kind)
    expected = run(proto, CHANNELS_FIRST.astype(dtype))
    assert difference(together(normalized(proto), PIXELS), expected) < SAME


def test_weights_in_half_precision_become_float() -> None:
    net = Net()
    logits = classifier(net)
    for tensor in net.constants:
        array = onnx.numpy_helper.to_array(tensor)
        if array.dtype == np.float32:
            tensor.CopyFrom(onnx.numpy_helper.from_array(array.astype(np.float16), tensor.name))
    net.kind = TensorProto.FLOAT16
    graph = normalized(net.model(logits))
    kinds = {each.data_type for each in graph.graph.initializer}
    assert kinds == {TensorProto.FLOAT}


def test_channels_last_stay_last() -> None:
    net = Net(("N", 12, 12, 3))
    proto = net.model(classifier(net, net.op("Transpose", "x", perm=[0, 3, 1, 2])))
    graph = normalized(proto)
    assert difference(together(graph, PIXELS), run(proto, PIXELS)) < SAME
    assert [node.op_type for node in graph.graph.node].count("Transpose") == 1


def test_a_gray_image_may_lack_its_channel() -> None:
    net = Net(("N", 12, 12))
    proto = net.model(classifier(net, net.op("Unsqueeze", "x", net.constant([1])), channels=1))
    gray = PIXELS[..., :1]
    found = together(normalized(proto), gray)
    assert difference(found, run(proto, gray[..., 0])) < SAME


@pytest.mark.parametrize(
    ("group", "other", "merged"), [(1, False, True), (3, False, False), (1, True, False)]
)
def test_a_convolution_reads_one_map_instead_of_its_copies(
    group: int, other: bool, merged: bool
) -> None:
    net = Net(("N", 1, 12, 12))
    last = net.op("Relu", net.conv("x", 1, 1, 1)) if other else "x"
    copies = net.op("Concat", "x", "x", last, axis=-3)
    mixed = net.conv(copies, 3, 6, pads=[1, 1, 1, 1], group=group)
    proto = net.model(net.head(net.op("Relu", mixed), 6))
    graph, gray = normalized(proto), PIXELS[..., :1]
    assert ("Concat" not in [node.op_type for node in graph.graph.node]) == merged
    assert difference(together(graph, gray), run(proto, gray.transpose(0, 3, 1, 2))) < SAME


def test_an_open_size_needs_one() -> None:
    net = Net(("N", 3, "h", "w"))
    proto = net.model(classifier(net))
    with pytest.raises(FileFormatError, match=r"no fixed size \(N, 3, h, w\)"):
        normalized(proto)
    graph = normalized(proto, size=(12, 12))
    assert difference(together(graph, PIXELS), run(proto, CHANNELS_FIRST)) < SAME


def test_weights_among_the_inputs_are_none() -> None:
    net = Net()
    proto = net.model(classifier(net))
    for tensor in proto.graph.initializer:
        proto.graph.input.append(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        )
    assert difference(together(normalized(proto), PIXELS), run(proto, CHANNELS_FIRST)) < SAME


@pytest.mark.parametrize("padding", [0, 1])
def test_a_mean_and_deviation_a_channel_are_folded(padding: int) -> None:
    net = Net()
    x = net.conv("x", 3, 8, pads=[padding] * 4)
    proto = net.model(net.head(net.op("Relu", x), 8))
    mean, std = (123.0, 117.0, 104.0), (58.0, 57.0, 56.0)
    graph = normalized(proto, mean=mean, std=std)
    values = ((PIXELS - np.array(mean)) / np.array(std)).astype(np.float32)
    assert difference(together(graph, PIXELS), run(proto, values.transpose(0, 3, 1, 2))) < SAME
    kinds = [node.op_type for node in graph.graph.node]
    assert kinds.count("Conv") == 1 + padding, "padding keeps the mean out of the first kernel"
    assert not {"Sub", "Mul", "Add", "Div"} & set(kinds)


HEADS: dict[str, Callable[[Net, str], str]] = {
    "softmax": lambda net, x: net.op("Softmax", x, axis=1),
    "log softmax": lambda net, x: net.op("LogSoftmax", x, axis=1),
    "softmax, then a shape": lambda net, x: net.op(
        "Reshape", net.op("Softmax", x, axis=-1), net.constant([-1, 5, 1, 1])
    ),
}


@pytest.mark.parametrize("head", HEADS)
def test_a_softmax_is_taken_off(head: str) -> None:
    net = Net()
    logits = classifier(net)
    net.op("Identity", logits)
    expected = run(net.model(logits), CHANNELS_FIRST)
    graph = normalized(net.model(HEADS[head](net, logits)))
    assert difference(together(graph, PIXELS), expected) < SAME
    assert not {"Softmax", "LogSoftmax"} & {node.op_type for node in graph.graph.node}


def test_a_convolution_may_give_the_classes() -> None:
    net = Net()
    x = net.op("Relu", net.conv(net.op("Mul", "x", net.constant(np.float32(1 / 64))), 3, 8))
    proto = net.model(net.op("GlobalAveragePool", net.conv(x, 8, 5, 1)))
    graph = normalized(proto)
    assert dims(graph)[1] == ["batch", 5]
    assert difference(rebuilt(graph, PIXELS), run(proto, CHANNELS_FIRST)) < SAME


@pytest.mark.parametrize("dense", [True, False])
def test_one_sigmoid_value_becomes_two_logits(dense: bool) -> None:
    net = Net()
    x = net.op("Relu", net.conv(net.op("Mul", "x", net.constant(np.float32(1 / 64))), 3, 8))
    x = net.head(x, 8, classes=1 if dense else 4)
    if not dense:
        x = net.op("ReduceMean", x, axes=[1])
    proto = net.model(net.op("Sigmoid", x))
    found = together(normalized(proto), PIXELS)
    assert found.shape == (3, 2)
    np.testing.assert_array_equal(found[:, 0], 0)
    expected = run(proto, CHANNELS_FIRST)[:, 0]
    np.testing.assert_allclose(probabilities(found)[:, 1], expected, atol=SAME)


def gelu(order: int) -> Callable[[Net, str], str]:
    def write(net: Net, x: str) -> str:
        root, half, one = (net.constant(np.float32(each)) for each in (2**-0.5, 0.5, 1))
        error = net.op("Add", net.op("Erf", net.op("Mul", x, root)), one)
        if order == 0:
            return str(net.op("Mul", net.op("Mul", x, half), error))
        if order == 1:
            return str(net.op("Mul", x, net.op("Mul", error, half)))
        return str(net.op("Mul", net.op("Mul", error, x), half))

    return write


def gelu_tanh(net: Net, x: str) -> str:
    inner = net.op(
        "Mul", net.op("Pow", x, net.constant(np.float32(3))), net.constant(np.float32(0.044715))
    )
    scaled = net.op("Mul", net.op("Add", x, inner), net.constant(np.float32(0.7978845608)))
    curve = net.op("Add", net.op("Tanh", scaled), net.constant(np.float32(1)))
    return str(net.op("Mul", net.op("Mul", x, net.constant(np.float32(0.5))), curve))


def hard_swish(net: Net, x: str) -> str:
    limits = [net.constant(np.float32(each)) for each in (0, 6)]
    shifted = net.op("Add", x, net.constant(np.float32(3)))
    product = net.op("Mul", x, net.op("Clip", shifted, *limits))
    return str(net.op("Div", product, net.constant(np.float32(6))))


PATTERNS: dict[str, tuple[Callable[[Net, str], str], str]] = {
    "Gelu, half first": (gelu(0), "Gelu"),
    "Gelu, half with the error": (gelu(1), "Gelu"),
    "Gelu, half last": (gelu(2), "Gelu"),
    "Gelu by tanh": (gelu_tanh, "GeluTanh"),
    "Mish": (
        lambda net, x: net.op("Mul", x, net.op("Tanh", net.op("Softplus", x))),
        "Mish",
    ),
    "HardSwish": (hard_swish, "HardSwish"),
    "HardSwish of HardSigmoid": (
        lambda net, x: net.op("Mul", x, net.op("HardSigmoid", x, alpha=1 / 6, beta=0.5)),
        "HardSwish",
    ),
    "ReLU as a maximum": (
        lambda net, x: net.op("Max", x, net.constant(np.float32(0))),
        "Relu",
    ),
}


@pytest.mark.parametrize("name", PATTERNS)
def test_an_activation_in_parts_becomes_one_operator(name: str) -> None:
    write, operator = PATTERNS[name]
    net = Net()
    x = net.conv(net.op("Mul", "x", net.constant(np.float32(1 / 64))), 3, 8)
    proto = net.model(net.head(write(net, x), 8))
    graph = normalized(proto)
    kinds = [node.op_type for node in graph.graph.node]
    assert kinds == ["Transpose", "Conv", operator, "GlobalAveragePool", "Flatten", "Gemm"]
    expected = run(proto, CHANNELS_FIRST)
    assert difference(together(graph, PIXELS), expected) < SAME
    assert difference(rebuilt(graph, PIXELS), expected) < SAME


@pytest.mark.parametrize("low", [0.0, -0.5])
def test_a_wide_limit_is_no_pattern(low: float) -> None:
    """A Clip at 100 is a ReLU for small values only."""
    net = Net()
    limits = [net.constant(np.float32(each)) for each in (low, 100)]
    proto = net.model(net.head(net.op("Clip", net.conv("x", 3, 8), *limits), 8))
    graph = normalized(proto)
    assert "Clip" in {node.op_type for node in graph.graph.node}
    assert difference(together(graph, PIXELS), run(proto, CHANNELS_FIRST)) < SAME


def refused(write: Callable[[Net], str]) -> onnx.ModelProto:
    net = Net()
    found = write(net)
    if net.nodes[-1].op_type == "ArgMax":
        net.given = TensorProto.INT64
    return net.model(found)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (
            lambda net: net.op("Add", classifier(net), net.op("RandomUniform", shape=[1, 5])),
            r"operator RandomUniform \(node RandomUniform_6\): it returns random values",
        ),
        (
            lambda net: net.op(
                "Dropout",
                classifier(net),
                net.constant(np.float32(0.5)),
                net.constant(np.bool_(True)),
            ),
            r"operator Dropout \(node Dropout_6\): it is random dropout",
        ),
        (
            lambda net: net.op("MyOp", classifier(net), domain="com.acme"),
            r"operator MyOp \(node MyOp_6\): .* the domain com.acme",
        ),
        (
            lambda net: net.op("ArgMax", classifier(net), axis=1, keepdims=0),
            r"operator ArgMax \(node ArgMax_6\): the model returns labels",
        ),
        (lambda net: net.conv("x", 3, 8), r"not one row of class values per image"),
        (
            lambda net: net.op("ReduceSum", classifier(net), net.constant([1])),
            r"one value that is not a probability",
        ),
    ],
    ids=["random", "dropout", "custom", "labels", "a map", "a value"],
)
def test_what_is_no_classifier_is_refused_by_name(
    write: Callable[[Net], str], message: str
) -> None:
    with pytest.raises(FileFormatError, match=message):
        normalized(refused(write))


def test_two_outputs_are_refused() -> None:
    net = Net()
    logits = classifier(net)
    with pytest.raises(FileFormatError, match=r"one output, this model has: v5_0, v2_0"):
        normalized(net.model(logits, "v2_0"))


def test_a_loop_is_refused() -> None:
    net = Net()
    logits = classifier(net)
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Relu", ["v"], ["w"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("w", TensorProto.FLOAT, None),
        ],
    )
    count, go = net.constant(np.int64(2)), net.constant(np.bool_(True))
    proto = net.model(net.op("Loop", count, go, logits, body=body))
    with pytest.raises(FileFormatError, match=r"operator Loop \(node Loop_6\): control flow"):
        normalized(proto)


def test_names_count_operators_and_stay() -> None:
    net = Net()
    proto = net.model(classifier(net))
    graph = normalized(proto)
    assert graph.SerializeToString() == normalized(proto).SerializeToString()
    assert [node.output[0] for node in graph.graph.node] == [
        "transpose_1",
        "conv_1",
        "relu_1",
        "globalaveragepool_1",
        "flatten_1",
        "logits",
    ]
    names = {each.name for each in graph.graph.initializer}
    assert names == {"conv_1.weight", "conv_1.bias", "dense_1.weight", "dense_1.bias"}


def test_a_graph_is_its_own_normal_form() -> None:
    net = Net()
    x = net.conv(net.op("Mul", "x", net.constant(np.float32(1 / 64))), 3, 8)
    graph = normalized(net.model(net.head(gelu(0)(net, x), 8)))
    again = normalized(graph)
    assert [each.op_type for each in again.graph.node] == [
        each.op_type for each in graph.graph.node
    ]


def test_hooks_see_every_value_and_every_kernel() -> None:
    net = Net()
    graph = normalized(net.model(classifier(net)))
    values: list[tuple[str, int]] = []
    kernels: dict[str, tuple[tuple[int, ...], int | None]] = {}

    def activation(name: str, value: tf.Tensor) -> tf.Tensor:
        values.append((name, len(value.shape)))
        return value

    def kernel(name: str, array: np.ndarray[Any, Any], axis: int | None) -> Any:
        kernels[name] = (array.shape, axis)
        return tf.constant(array * 2)

    doubled = Rebuilt(graph, Hooks(activation=activation, kernel=kernel))
    found = doubled(tf.constant(PIXELS))["logits"]
    assert [name for name, _ in values] == [
        "image",
        *(node.output[0] for node in graph.graph.node),
    ]
    assert kernels == {"conv_1.weight": ((3, 3, 3, 8), 3), "dense_1.weight": ((8, 5), None)}
    assert not np.allclose(found, together(graph, PIXELS))


def test_the_embedding_is_what_the_last_dense_layer_reads(tmp_path: Path) -> None:
    net = Net()
    path = tmp_path / "model.onnx"
    onnx.save(normalized(net.model(classifier(net))), path)
    images = PIXELS.astype(np.uint8)
    with open_source("onnx", path, outputs=(LOGITS, EMBEDDING)) as source:
        assert [each.name for each in source.onnx.graph.output] == [LOGITS, EMBEDDING]
        embedding = source.run(images, EMBEDDING)
        weights = {
            each.name: onnx.numpy_helper.to_array(each) for each in source.onnx.graph.initializer
        }
        logits = embedding @ weights["dense_1.weight"] + weights["dense_1.bias"]
        np.testing.assert_allclose(logits, source.run(images), rtol=1e-4, atol=1e-5)
        loaded = tf.saved_model.load(source.saved_model).signatures["serving_default"]
        found = loaded(tf.constant(PIXELS))
        np.testing.assert_allclose(found[EMBEDDING], embedding, rtol=1e-4, atol=1e-5)


def test_a_convolution_at_the_end_leaves_no_embedding() -> None:
    net = Net()
    x = net.op("Relu", net.conv("x", 3, 8))
    graph = normalized(net.model(net.op("GlobalAveragePool", net.conv(x, 8, 5, 1))))
    with (
        GraphSource(graph, (LOGITS, EMBEDDING)) as source,
        pytest.raises(HemlineError, match="no embedding: its last layer is not dense"),
    ):
        _ = source.onnx


def test_any_value_can_be_asked_for() -> None:
    net = Net()
    with GraphSource(normalized(net.model(classifier(net)))) as source:
        assert source.run(PIXELS.astype(np.uint8), "relu_1").shape == (3, 8, 10, 10)
        with pytest.raises(UnknownNameError, match="did you mean 'relu_1'"):
            source.run(PIXELS.astype(np.uint8), "relu_2")


def test_what_is_no_graph_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(FileFormatError, match="model.onnx is not a model that was imported"):
        open_graph(path, (LOGITS,))
