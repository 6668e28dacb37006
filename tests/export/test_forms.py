"""Models with inputs and outputs of other shapes are admitted, with the same outputs."""

from __future__ import annotations

from pathlib import Path

import flatbuffers
import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper

from hemline.cli import cli
from hemline.contract.manifest import Manifest
from hemline.contract.stamp import read_stamped
from hemline.errors import UsageError
from hemline.export.admission.admitting import AdmissionRequest, admit
from hemline.export.pixel_scale import PixelScale
from hemline.pictures.generated import generated_images
from hemline.remedies import advice
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


@pytest.mark.medium
@pytest.mark.parametrize(
    ("accepts", "returns", "dtype"),
    [
        ((1, 8, 8), (1, 3), TensorProto.FLOAT),
        pytest.param((8, 8, 1), (1, 3), TensorProto.FLOAT, marks=pytest.mark.slow),
        ((1, 8, 8, 1), (1, 3, 1, 1), TensorProto.FLOAT),
        pytest.param((1, 8, 8, 1), (1, 1, 1, 3), TensorProto.FLOAT, marks=pytest.mark.slow),
        pytest.param((1, 8, 8, 1), (3,), TensorProto.FLOAT, marks=pytest.mark.slow),
        ((1, 1, 8, 8), (1, 3), TensorProto.DOUBLE),
        pytest.param((1, 8, 8, 1), (1, 3), TensorProto.INT64, marks=pytest.mark.slow),
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


def of_any_size(content: bytes) -> bytes:
    """Return a TFLite model whose input leaves height and width open, as converters write it.

    Its first convolution has no padding, so that it does not run on the one pixel in the file.
    """
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))
    first = model.subgraphs[0].operators[0]
    first.builtinOptions.padding = schema.Padding.VALID
    source = model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]]
    source.shape = np.array([1, 1, 1, source.shape[3]], np.int32)
    source.shapeSignature = np.array([-1, -1, -1, source.shape[3]], np.int32)
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@pytest.mark.medium
def test_a_model_of_any_size_is_admitted_for_one(
    bundle: Path, manifest: Manifest, tmp_path: Path
) -> None:
    path, original = tmp_path / "m.tflite", read_stamped(bundle / "fp32.tflite").model
    path.write_bytes(of_any_size(original))
    words = ["--labels", ",".join(manifest.labels), "--pixels", "0..255"]
    result = CliRunner().invoke(cli, ["verify", str(path), *words])
    assert "the image size is not fixed" in str(result.exception)
    assert advice(result.exception.remedy) == "specify the size with --size HxW"  # type: ignore[union-attr]
    result = CliRunner().invoke(cli, ["verify", str(path), *words, "--size", "28"])
    assert result.exit_code == 0, (result.output, result.exception)
    images = generated_images((28, 28, 1))
    interpreter = load_module(BACKENDS["litert"]).Interpreter(model_path=str(path))  # type: ignore[attr-defined]
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    interpreter.resize_tensor_input(source["index"], (1, 28, 28, 1))
    interpreter.allocate_tensors()
    expected = []
    for image in images:
        interpreter.set_tensor(source["index"], image[np.newaxis].astype(np.float32))
        interpreter.invoke()
        expected.append(interpreter.get_tensor(target["index"])[0])
    with Classifier.load(tmp_path / "m-admitted.tflite") as found:
        np.testing.assert_allclose(found.logits(images), expected, atol=1e-4)


def test_labels_that_fit_no_output_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="but 2 labels"):
        admitted(made(tmp_path / "m.onnx", (1, 8, 8, 1), (1, 3)), ("a", "b"))
