"""The graph: any float classifier as pixels in and logits out, in ONNX Runtime and TensorFlow."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from graphs import difference, operators_of

from hemline.export.graph.normalization import normalized
from hemline.export.quantization.calibration import Calibration
from hemline.export.quantization.float_graph import calibrated_plan
from hemline.export.quantization.quantized import Quantized
from hemline.export.sources.graph import GraphSource
from hemline.train.tensorflow import quiet_keras

keras = quiet_keras()

from hemline.export.sources.keras import KerasSource  # noqa: E402 — after TensorFlow's noise was turned off
from hemline.export.sources.keras_onnx import to_onnx  # noqa: E402
from hemline.export.writers import onnx as onnx_writer  # noqa: E402
from hemline.export.writers import tflite as tflite_writer  # noqa: E402
from hemline.train.nets.models import MODELS, build_model  # noqa: E402

OTHERS = ("cnn", "deep-cnn", "mobilenetv2")


@pytest.mark.medium
@pytest.mark.parametrize(
    "name",
    ["mlp", *(pytest.param(each, marks=pytest.mark.slow) for each in ("hem-50k", *OTHERS))],
)
def test_an_own_net_needs_no_more_operators_than_keras_itself(name: str) -> None:
    model = build_model(MODELS[name], (28, 28, 1), 10)
    with KerasSource(model) as source:
        direct = operators_of(tflite_writer.convert_fp32(source, None).content)
        graph = normalized(source.onnx)
        images = np.random.default_rng(1).integers(0, 256, (4, 28, 28, 1), np.uint8)
        expected = source.run(images)
    with GraphSource(graph) as rebuilt:
        content = tflite_writer.convert_fp32(rebuilt, None).content
        found = rebuilt.run(images)
    assert len(operators_of(content)) <= len(direct)
    assert difference(found, expected) < 1e-5


def test_a_constant_that_is_larger_than_what_it_multiplies_is_not_folded() -> None:
    """A layer normalization multiplies the deviation of each place by a weight of each channel."""
    random = np.random.default_rng(3)
    weights = {
        "gamma": random.standard_normal(4).astype(np.float32),
        "dense": random.standard_normal((4, 3)).astype(np.float32),
    }
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("ReduceMean", ["image"], ["gray"], axes=[3], keepdims=1),
            onnx.helper.make_node("Mul", ["gray", "gamma"], ["maps"]),
            onnx.helper.make_node("ReduceMean", ["maps"], ["means"], axes=[1, 2], keepdims=0),
            onnx.helper.make_node("MatMul", ["means", "dense"], ["y"]),
        ],
        "net",
        [onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ("n", 8, 8, 3))],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ("n", 3))],
        [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    raw = onnx.helper.make_model(graph, opset_imports=opset, ir_version=8)
    images = random.random((4, 8, 8, 3), dtype=np.float32)
    proto = normalized(raw, mean=(0.0,), std=(1.0,))
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    (found,) = session.run(None, {"image": images})
    expected = images.mean((1, 2, 3))[:, np.newaxis] * weights["gamma"] @ weights["dense"]
    np.testing.assert_allclose(found, expected, atol=1e-5)  # 4 products of values below 3


@pytest.mark.parametrize(
    ("std", "shape", "normalized_before"),
    [(1.0, (8, 8, 1), False), (255.0, (8, 8, 1), True), (255.0, (8, 8), False)],
)
def test_a_gray_import_has_no_operator_before_its_first_convolution(
    std: float, shape: tuple[int, ...], normalized_before: bool
) -> None:
    """tf2onnx brings the one channel of a gray image to the front by a Reshape.

    It becomes a Transpose, which ONNX Runtime joins with its own.
    """
    layers = keras.layers
    inputs = keras.Input(shape)
    x = layers.Rescaling(1 / 255)(inputs) if std == 1 else inputs
    x = layers.Reshape((8, 8, 1))(x)
    if normalized_before:
        x = layers.BatchNormalization()(x)
    x = layers.Conv2D(4, 3, use_bias=False)(x)
    x = layers.GlobalAveragePooling2D()(layers.ReLU()(layers.BatchNormalization()(x)))
    model = keras.Model(inputs, layers.Dense(3)(x))
    pixels = np.random.default_rng(3).integers(0, 256, (40, 8, 8, 1), np.uint8)
    with GraphSource(normalized(to_onnx(model), std=(std,))) as source:
        graph, calibration = source.float_graph, Calibration(images=pixels, sha256="")
        int8 = Quantized(float_graph=graph, plan=calibrated_plan(graph, calibration))
        lite = tflite_writer.convert_int8(source, int8).content
        onnx_file = onnx.load_from_string(onnx_writer.convert_int8(source, int8).content)
        expected = np.asarray(model(pixels.reshape(-1, *shape) / np.float32(std)))
        assert difference(source.run(pixels), expected) < 1e-5
    kinds = [node.op_type for node in onnx_file.graph.node]
    stored = {"QuantizeLinear", "DequantizeLinear", "Cast", "Transpose"}
    assert set(kinds[: kinds.index("Conv")]) <= stored
    assert operators_of(lite)[0] == "CONV_2D"
