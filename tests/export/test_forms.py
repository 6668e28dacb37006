"""Models with inputs and outputs of other shapes are admitted, with the same outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from hemline.errors import UsageError
from hemline.export.admission.admitting import AdmissionRequest, admit
from hemline.export.pixel_scale import PixelScale
from hemline.pictures.generated import generated_images
from hemline.runtime import Classifier
from hemline.runtime.backends import BACKENDS, load_module


def made(path: Path, accepts: tuple[int, ...], returns: tuple[int, ...], dtype: int = 1) -> Path:
    """Write an ONNX model of 8 × 8 gray images: a matrix product, with the output reshaped."""
    weights = np.random.default_rng(1).normal(size=(64, returns[-1] if returns[-1] > 1 else 3))
    if returns == (1, 1):
        weights = weights[:, :1]
    stored = [
        numpy_helper.from_array(weights.astype(np.float32) / 8, "W"),
        numpy_helper.from_array(np.array([-1, 64]), "flat"),
        numpy_helper.from_array(np.array(returns), "returns"),
    ]
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=1),
        helper.make_node("Reshape", ["f", "flat"], ["r"]),
        helper.make_node("MatMul", ["r", "W"], ["m"]),
        helper.make_node("Reshape", ["m", "returns"], ["z"]),
        helper.make_node("Sigmoid" if returns == (1, 1) else "Identity", ["z"], ["y"]),
    ]
    ends = (
        helper.make_tensor_value_info("x", dtype, accepts),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, returns),
    )
    graph = helper.make_graph(nodes, "g", [ends[0]], [ends[1]], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


def admitted(path: Path, labels: tuple[str, ...]) -> Path:
    scale = PixelScale.of_range(0, 255)
    return admit(AdmissionRequest(path=path, output=None, labels=labels, pixels=scale)).path


@pytest.mark.parametrize(
    ("accepts", "returns", "dtype"),
    [
        ((1, 8, 8), (1, 3), TensorProto.FLOAT),
        ((8, 8, 1), (1, 3), TensorProto.FLOAT),
        ((1, 8, 8, 1), (1, 3, 1, 1), TensorProto.FLOAT),
        ((1, 8, 8, 1), (1, 1, 1, 3), TensorProto.FLOAT),
        ((1, 8, 8, 1), (3,), TensorProto.FLOAT),
        ((1, 1, 8, 8), (1, 3), TensorProto.DOUBLE),
        ((1, 8, 8, 1), (1, 3), TensorProto.INT64),
    ],
)
def test_other_shapes_and_types_give_the_outputs_of_the_original(
    accepts: tuple[int, ...], returns: tuple[int, ...], dtype: int, tmp_path: Path
) -> None:
    path = made(tmp_path / "m.onnx", accepts, returns, dtype)
    session = load_module(BACKENDS["onnxruntime"]).InferenceSession(str(path))  # type: ignore[attr-defined]
    images = generated_images((8, 8, 1))
    kind = helper.tensor_dtype_to_np_dtype(dtype)
    expected = [
        session.run(None, {"x": image.reshape(accepts).astype(kind)})[0].ravel() for image in images
    ]
    with Classifier.load(admitted(path, ("a", "b", "c"))) as classifier:
        np.testing.assert_allclose(classifier.logits(images), expected, rtol=1e-5, atol=1e-3)


def test_one_sigmoid_value_is_the_probability_of_the_second_label(tmp_path: Path) -> None:
    path = made(tmp_path / "m.onnx", (1, 8, 8, 1), (1, 1))
    session = load_module(BACKENDS["onnxruntime"]).InferenceSession(str(path))  # type: ignore[attr-defined]
    images = generated_images((8, 8, 1))
    expected = [
        session.run(None, {"x": image[None].astype(np.float32)})[0][0, 0] for image in images
    ]
    with Classifier.load(admitted(path, ("no", "yes"))) as classifier:
        np.testing.assert_allclose(classifier.scores(images)[:, 1], expected, atol=1e-5)


def test_labels_that_fit_no_output_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="for 2 labels"):
        admitted(made(tmp_path / "m.onnx", (1, 8, 8, 1), (1, 3)), ("a", "b"))
