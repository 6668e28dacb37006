"""The schemes beside the usual ones: what is in their files, and that runtimes agree on them."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

pytest.importorskip("tensorflow")

from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from hemline.cli import cli
from hemline.contract.manifest import read_manifest
from hemline.errors import HemlineError, NotNeededError
from hemline.export.quantization.calibration import Calibration
from hemline.export.quantization.float_graph import calibrated_plan
from hemline.export.quantization.post_training import plan_int16x8
from hemline.export.quantization.quantized import Quantized
from hemline.export.schemes import FLOAT16, SCHEMES, find_schemes
from hemline.export.sources.keras import KerasSource
from hemline.export.writers import onnx as onnx_writer
from hemline.export.writers import tflite as tflite_writer
from hemline.export.writers.converted import ConvertedModel
from hemline.export.writers.fixed_batch import with_batch_of_one
from hemline.export.writers.four_bits import with_packed_weights
from hemline.export.writers.onnx_weights import with_half_weights
from hemline.model_files.onnx import read_onnx
from hemline.model_files.tflite import read_tflite
from hemline.runtime import Classifier
from hemline.runtime.backends import attribute
from hemline.runtime.discovery import installed_names
from hemline.train.tensorflow import quiet_keras

PIXELS = np.random.default_rng(3).integers(0, 256, (60, 8, 8, 1), np.uint8)
_RUN = """
import sys, numpy as np
from {module} import Interpreter
interpreter = Interpreter(sys.argv[1])
interpreter.allocate_tensors()
taken, given = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
outputs = []
for image in np.load(sys.argv[2]):
    interpreter.set_tensor(taken["index"], image[None])
    interpreter.invoke()
    outputs.append(interpreter.get_tensor(given["index"])[0])
np.save(sys.argv[3], outputs)
"""
_MODULES = {
    "litert": "ai_edge_litert.interpreter",
    "tflite-runtime": "tflite_runtime.interpreter",
}


@pytest.fixture(scope="module")
def source() -> Iterator[KerasSource]:
    """Give a model with every kind of layer whose weights runtimes unpack."""
    keras = quiet_keras()
    keras.utils.set_random_seed(7)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(5, 3, activation="relu"),  # 9 weights a channel, an odd number of bytes
            layers.DepthwiseConv2D(3, activation="relu"),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(3),
        ]
    )
    with KerasSource(model) as opened:
        yield opened


@pytest.fixture(scope="module")
def int8(source: KerasSource) -> Quantized:
    graph = source.float_graph
    calibration = Calibration(images=PIXELS[:40], sha256="")
    return Quantized(float_graph=graph, plan=calibrated_plan(graph, calibration))


def with_bits(quantized: Quantized, bits: int) -> Quantized:
    weights = tuple(dataclasses.replace(grid, bits=bits) for grid in quantized.plan.weights)
    return dataclasses.replace(quantized, plan=dataclasses.replace(quantized.plan, weights=weights))


def run(content: bytes, pixels: np.ndarray, runtime: str, folder: Path) -> np.ndarray:
    """Run stored inputs in a process of their own: the two runtimes crash in one."""
    for name, array in (("model.tflite", content), ("inputs.npy", pixels)):
        path = folder / name
        path.write_bytes(array) if isinstance(array, bytes) else np.save(path, array)
    paths = [str(folder / name) for name in ("model.tflite", "inputs.npy", "outputs.npy")]
    code = _RUN.format(module=_MODULES[runtime])
    subprocess.run([sys.executable, "-c", code, *paths], check=True, capture_output=True)
    return np.asarray(np.load(folder / "outputs.npy"), np.int64)


def test_every_row_has_a_converter_and_a_planner() -> None:
    for name, row in SCHEMES.items():
        assert callable(attribute(row.converter)), name
        assert row.planner is None or callable(attribute(row.planner)), name
        assert len(row.summary) < 80, name


def test_costly_schemes_are_made_when_they_are_named_only() -> None:
    usual = [row.file_name for row in find_schemes(())]
    assert usual == ["fp32.tflite", "fp16.tflite", "dynamic.tflite", "int8.tflite", "fp32.onnx",
                     "int8.onnx"]  # fmt: skip
    named = [row.file_name for row in find_schemes(("int16x8", "fp16.onnx", "int4-weights"))]
    assert named == ["int16x8.tflite", "fp16.onnx", "int4-weights.tflite"]


def test_half_of_the_bytes_are_left_in_float16_onnx(source: KerasSource) -> None:
    from onnxruntime import InferenceSession

    half, whole = onnx_writer.convert_fp16(source, None), onnx_writer.convert_fp32(source, None)
    contents = read_onnx(half.content)
    assert contents.weight_bytes < 0.52 * read_onnx(whole.content).weight_bytes
    assert half.input == whole.input
    pixels = PIXELS.astype(np.float32)
    found, expected = (
        InferenceSession(each.content).run(None, {"image": pixels})[0] for each in (half, whole)
    )
    assert 0 < np.abs(found - expected).max() <= FLOAT16.share_of(4) * np.abs(expected).max()


def test_what_float16_cannot_hold_stays_float32() -> None:
    large = np.full(20, 70_000, np.float32)
    kept = {"large": large, "small": np.ones(20, np.float32), "scalar": np.ones(1, np.float32)}
    add = onnx.helper.make_node("Add", ["x", "large"], ["y"])
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [add, onnx.helper.make_node("Mul", ["y", "small"], ["z"])],
        "g",
        [info("x", onnx.TensorProto.FLOAT, ["n", 20])],
        [info("z", onnx.TensorProto.FLOAT, ["n", 20])],
        [onnx.numpy_helper.from_array(array, name) for name, array in kept.items()],
    )
    made = with_half_weights(onnx.helper.make_model(graph)).graph.initializer
    types = {each.name: onnx.numpy_helper.to_array(each).dtype for each in made}
    assert types == {"large": np.float32, "small_half": np.float16, "scalar": np.float32}


def test_matrix_products_alone_have_integers_in_dynamic_onnx(source: KerasSource) -> None:
    from onnxruntime import InferenceSession

    made = onnx_writer.convert_dynamic(source, None)
    graph = onnx.load_from_string(made.content).graph
    assert {"Conv", "MatMulInteger"} <= {node.op_type for node in graph.node}
    integers = [onnx.numpy_helper.to_array(each) for each in graph.initializer]
    weights = [each for each in integers if each.dtype == np.int8 and each.ndim == 2]
    assert len(weights) == 2
    assert max(np.abs(each.astype(int)).max() for each in weights) <= 64, "7 bits"
    (found,) = InferenceSession(made.content).run(None, {"image": PIXELS.astype(np.float32)})
    assert np.abs(found - source.run(PIXELS)).max() < 0.1 * np.abs(found).max()


def test_a_model_of_convolutions_needs_no_dynamic_onnx() -> None:
    keras = quiet_keras()
    layers = keras.layers
    stack = [keras.Input((8, 8, 1)), layers.Conv2D(16, 3), layers.Conv2D(16, 3)]
    model = keras.Sequential([*stack, layers.GlobalAveragePooling2D(), layers.Dense(3)])
    with (
        KerasSource(model) as source,
        pytest.raises(NotNeededError, match="products hold 48 of 2,496 weights"),
    ):
        onnx_writer.convert_dynamic(source, None)


@pytest.fixture(scope="module")
def made(source: KerasSource, int8: Quantized) -> dict[str, ConvertedModel]:
    """Return files of one model; widths are of weights."""
    planning = SimpleNamespace(int8=int8, calibration=Calibration(images=PIXELS[:40], sha256=""))
    wide = plan_int16x8(planning)  # type: ignore[arg-type]
    assert {each.bits for each in wide.plan.activations[1:]} == {16}
    eight, four = with_bits(int8, 8), with_bits(int8, 4)
    return {
        "int16x8": tflite_writer.convert_int16x8(source, wide),
        "int8": tflite_writer.convert_int8(source, eight),
        "int8-w4": tflite_writer.convert_int8(source, four),
        "int4-weights": tflite_writer.convert_int4_weights(source, four),
    }


@pytest.mark.slow
@pytest.mark.parametrize("runtime", [each for each in _MODULES if each in installed_names()])
def test_int16_activations_are_nearer_to_the_model(
    source: KerasSource, made: dict[str, ConvertedModel], tmp_path: Path, runtime: str
) -> None:
    expected, errors = source.run(PIXELS), []
    for name in ("int16x8", "int8"):
        spec, given = made[name].input, made[name].outputs[0]
        stored = np.round(PIXELS / spec.scale) + spec.zero_point
        outputs = run(made[name].content, stored.astype(spec.dtype), runtime, tmp_path)
        errors.append(np.square((outputs - given.zero_point) * given.scale - expected).mean())
    assert made["int16x8"].input.dtype == "int16"
    assert errors[0] < errors[1]


def test_int16_activations_need_images(source: KerasSource, int8: Quantized) -> None:
    with pytest.raises(HemlineError, match="need calibration images"):
        tflite_writer.convert_int16x8(source, int8)


@pytest.mark.medium
def test_two_weights_of_4_bits_are_in_a_byte(made: dict[str, ConvertedModel]) -> None:
    packed, whole = (read_tflite(made[name].content) for name in ("int4-weights", "int8-w4"))
    kernels = [t for t in packed.tensors if t.is_weights and len(t.shape or ()) > 1]
    assert {t.dtype for t in kernels} == {"int4"}
    assert sum(t.size_bytes for t in kernels) == sum(-(-t.elements // 2) for t in kernels)
    assert packed.parameters == whole.parameters
    assert packed.kinds == whole.kinds


@pytest.mark.medium
@pytest.mark.parametrize("runtime", [each for each in _MODULES if each in installed_names()])
def test_packed_weights_give_the_predictions_of_the_8_bit_file(
    made: dict[str, ConvertedModel], tmp_path: Path, runtime: str
) -> None:
    stored = (PIXELS.astype(np.int16) - 128).astype(np.int8)
    found, expected = (
        run(made[name].content, stored, runtime, tmp_path) for name in ("int4-weights", "int8-w4")
    )
    # the kernels that unpack are others: each of 4 layers may round a half in another way
    assert np.abs(found - expected).max() <= 4
    assert np.abs(found - expected).mean() < 1
    assert expected.std() > 20


@pytest.mark.medium
@pytest.mark.parametrize("name", ["int8", "int16x8", "int4-weights"])
def test_a_file_for_one_image_has_no_open_dimension(
    made: dict[str, ConvertedModel], name: str
) -> None:
    closed = with_batch_of_one(made[name], "tflite")
    assert (closed.input, closed.outputs) == (made[name].input, made[name].outputs)
    for content, expected in ((made[name].content, True), (closed.content, False)):
        (graph,) = schema.ModelT.InitFromPackedBuf(content, 0).subgraphs
        signatures = [t.shapeSignature for t in graph.tensors if t.shapeSignature is not None]
        assert any(-1 in each for each in signatures) == expected
    interpreter = Interpreter(model_content=closed.content)
    interpreter.allocate_tensors()
    assert interpreter.get_input_details()[0]["shape"].tolist() == [1, 8, 8, 1]


def test_an_onnx_file_for_one_image_has_no_open_dimension(source: KerasSource) -> None:
    from onnxruntime import InferenceSession

    whole = onnx_writer.convert_fp32(source, None)
    closed = with_batch_of_one(whole, "onnx")
    session = InferenceSession(closed.content)
    shapes = [each.shape for each in (*session.get_inputs(), *session.get_outputs())]
    assert shapes == [[1, 8, 8, 1], [1, 3]]
    image = PIXELS[:1].astype(np.float32)
    expected = InferenceSession(whole.content).run(None, {"image": image})
    assert np.array_equal(session.run(None, {"image": image}), expected)


@pytest.mark.slow
def test_files_for_one_image_pass_and_classify_several(
    checkpoint: Path, data_folder: Path, tmp_path: Path
) -> None:
    words = ["--checkpoint", checkpoint, "-o", tmp_path, "--data", data_folder, "--batch", "1"]
    schemes = [word for name in ("fp32", "int8", "fp16.onnx") for word in ("--scheme", name)]
    result = CliRunner().invoke(cli, ["export", *map(str, words), *schemes])
    assert result.exit_code == 0, result.exception
    for artifact in read_manifest(tmp_path).artifacts:
        assert {verdict.status for verdict in artifact.verdicts} == {"passed"}
        with Classifier.load(tmp_path / artifact.name) as classifier:
            assert not classifier.stamp.takes_batches
            assert len(classifier.classify_batch(np.zeros((3, 28, 28), np.uint8))) == 3


@pytest.mark.medium
def test_weights_of_8_bits_are_not_packed(made: dict[str, ConvertedModel]) -> None:
    with pytest.raises(HemlineError, match="no layer has weights of 4 bits"):
        with_packed_weights(made["int8"].content)
