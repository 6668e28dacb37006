"""Conversion: folding is exact, claims keep tflite-runtime away from what it cannot run."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from hemline.train.tensorflow import quiet_keras

keras = quiet_keras()

import tensorflow as tf  # noqa: E402 — after its noise was turned off
from ai_edge_litert.interpreter import Interpreter, OpResolverType  # noqa: E402

from hemline.contract.specs import SupportedRuntime  # noqa: E402
from hemline.contract.stamp import read_stamped, stamp_tflite  # noqa: E402
from hemline.errors import UnsupportedRuntimeError  # noqa: E402 — after TensorFlow's noise was turned off
from hemline.export.quantization.calibration import Calibration  # noqa: E402
from hemline.export.quantization.float_graph import calibrated_plan, with_extremes  # noqa: E402
from hemline.export.quantization.quantized import Quantized  # noqa: E402
from hemline.export.schemes import EIGHT_BIT  # noqa: E402
from hemline.export.sources.folding import fold_rescaling  # noqa: E402
from hemline.export.sources.keras import KerasSource  # noqa: E402
from hemline.export.writers import onnx as onnx_writer  # noqa: E402
from hemline.export.writers import tflite as tflite_writer  # noqa: E402
from hemline.runtime import Classifier  # noqa: E402
from hemline.runtime.discovery import installed_names  # noqa: E402

layers = keras.layers


def model_of(*stack: object) -> object:
    inputs = x = keras.Input((8, 8, 1))
    for layer in stack:
        x = layer(x)  # type: ignore[operator]
    return keras.Model(inputs, x)


def quantized(source: KerasSource, images: np.ndarray) -> Quantized:
    plan = calibrated_plan(source.float_graph, Calibration(images=images, sha256=""))
    return Quantized(float_graph=source.float_graph, plan=plan)


def kinds(model: object) -> list[str]:
    return [type(layer).__name__ for layer in model.layers]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "stack",
    [
        (layers.Rescaling(1 / 255), layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(3)),
        (layers.Rescaling(1 / 255), layers.Flatten(), layers.Dense(3)),
    ],
    ids=["a convolution", "a dense layer behind a Flatten"],
)
def test_a_rescaling_goes_into_the_next_kernel(stack: tuple[object, ...]) -> None:
    model = model_of(*stack)
    folded = fold_rescaling(model)
    assert "Rescaling" not in kinds(folded)
    images = np.random.default_rng(1).integers(0, 256, (5, 8, 8, 1)).astype(np.float32)
    # both are float32 sums of nine products
    np.testing.assert_allclose(folded(images), model(images), rtol=1e-4, atol=1e-5)  # type: ignore[operator]


@pytest.mark.parametrize(
    "stack",
    [
        (layers.Rescaling(1 / 255, offset=-0.5), layers.Conv2D(4, 3, padding="same")),
        (layers.Rescaling(1 / 255), layers.MaxPooling2D(2), layers.Conv2D(4, 3)),
        (layers.Rescaling(1 / 255), layers.Flatten(), layers.ReLU(), layers.Dense(3)),
        (layers.Rescaling([1 / 255]), layers.Conv2D(4, 3)),
        (layers.Conv2D(4, 3),),
    ],
    ids=[
        "an offset",
        "another layer between",
        "another layer behind a Flatten",
        "a number for each channel",
        "no rescaling",
    ],
)
def test_what_cannot_be_folded_exactly_is_left(stack: tuple[object, ...]) -> None:
    model = model_of(*stack)
    assert fold_rescaling(model) is model


@pytest.mark.slow
def test_a_flatten_is_one_operator_in_every_format() -> None:
    model = model_of(layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(3))
    images = np.random.default_rng(1).integers(0, 256, (5, 8, 8, 1)).astype(np.float32)
    with KerasSource(model) as source:
        np.testing.assert_array_equal(source.model(images), model(images))  # type: ignore[operator]
        content = tflite_writer.convert_fp32(source, None).content
        graph = source.onnx.graph
    # without delegates, which hide operators
    interpreter = Interpreter(
        model_content=content,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    operators = [operator["op_name"] for operator in interpreter._get_ops_details()]
    assert operators == ["CONV_2D", "RESHAPE", "FULLY_CONNECTED"]
    assert "Shape" not in {node.op_type for node in graph.node}


def test_an_onnx_file_does_not_depend_on_what_was_traced_before() -> None:
    """tf2onnx writes down the name of the function that was traced, which has a running number."""
    with KerasSource(model_of(layers.Flatten(), layers.Dense(3))) as source:
        assert source.onnx.graph.doc_string == ""


def test_a_model_whose_layers_train_by_default_is_exported_as_it_predicts() -> None:
    """keras.layers.Resizing does, and has all that follows it train too."""
    model = model_of(layers.Resizing(6, 6), layers.Conv2D(4, 3), layers.BatchNormalization())
    images = np.random.default_rng(1).integers(0, 256, (5, 8, 8, 1)).astype(np.float32)
    with KerasSource(model) as source:
        loaded = tf.saved_model.load(source.saved_model).signatures["serving_default"]
        (exported,) = loaded(tf.constant(images)).values()
    np.testing.assert_allclose(exported, model(images, training=False), rtol=1e-4, atol=1e-3)  # type: ignore[operator]
    assert model.layers[-1].moving_mean.numpy().tolist() == [0, 0, 0, 0], "nothing has trained"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "stack",
    [
        (layers.Conv2D(4, 3),),
        pytest.param((layers.Resizing(6, 6), layers.Conv2D(4, 3)), marks=pytest.mark.slow),
        (layers.Resizing(6, 6), layers.Rescaling(1 / 127.5, offset=-1.0), layers.Conv2D(4, 3)),
        pytest.param(
            (layers.Rescaling(1.0, offset=-100.0), layers.ZeroPadding2D(1), layers.Conv2D(4, 3)),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["a convolution", "resized", "resized and rescaled", "less a mean, then padded"],
)
def test_8_bit_files_take_pixels_whatever_comes_first(stack: tuple[object, ...]) -> None:
    from onnxruntime import InferenceSession

    model = model_of(*stack, layers.Flatten(), layers.Dense(3))
    images = np.random.default_rng(1).integers(0, 256, (50, 8, 8, 1), np.uint8)
    expected = np.asarray(model(images.astype(np.float32), training=False))  # type: ignore[operator]
    with KerasSource(model) as source:
        lite = tflite_writer.convert_int8(source, quantized(source, images))
        written = onnx_writer.convert_int8(source, quantized(source, images))
    assert (lite.input.dtype, lite.input.scale, lite.input.zero_point) == ("int8", 1.0, -128)
    assert (written.input.dtype, written.input.scale, written.input.zero_point) == ("uint8", 1.0, 0)
    (found,) = InferenceSession(written.content).run(None, {"image": images})
    interpreter = Interpreter(model_content=lite.content)
    taken, given = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    interpreter.resize_tensor_input(taken["index"], images.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(taken["index"], (images.astype(np.int16) - 128).astype(np.int8))
    interpreter.invoke()
    scale, zero_point = given["quantization"]
    steps = interpreter.get_tensor(given["index"]).astype(np.float32) - zero_point
    share = EIGHT_BIT.share_of(2)
    for each in (found, scale * steps):
        assert np.abs(each - expected).max() <= share * np.abs(expected).max()


def test_weights_of_8_bit_onnx_leave_room_for_sums_of_16_bits() -> None:
    """x86 without VNNI adds two products of uint8 and int8 in int16 and cuts off what is more."""
    model = model_of(layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(3))
    images = np.random.default_rng(1).integers(0, 256, (20, 8, 8, 1), np.uint8)
    with KerasSource(model) as source:
        file = onnx_writer.convert_int8(source, quantized(source, images))
    graph = onnx.load_from_string(file.content).graph
    arrays = [onnx.numpy_helper.to_array(each) for each in graph.initializer]
    weights = [array for array in arrays if array.dtype == np.int8 and array.ndim > 1]
    assert len(weights) == 2
    convolution, dense = sorted((each.astype(int) for each in weights), key=np.ndim, reverse=True)
    for channel in (*convolution.reshape(len(convolution), -1), *dense.T):
        for sign in (1, -1):  # no two products of one sign are more, in whatever order
            first, second = np.sort(np.maximum(sign * channel, 0))[-2:]
            assert 255 * (first + second) < 2**15


def test_the_extremes_stretch_dark_images_to_the_whole_range() -> None:
    images = np.full((3, 4, 4, 1), 90, np.uint8)
    stretched = with_extremes(images)
    assert (stretched.min(), stretched.max(), len(stretched)) == (0, 255, 4)


@pytest.fixture(scope="module")
def per_channel_dynamic(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return a dynamic-range model with per-channel dense weights: FULLY_CONNECTED version 12."""
    folder = str(tmp_path_factory.mktemp("saved"))
    model_of(layers.Flatten(), layers.Dense(64), layers.Dense(10)).export(folder, verbose=False)  # type: ignore[attr-defined]
    converter = tf.lite.TFLiteConverter.from_saved_model(folder)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    content: bytes = converter.convert()
    return content


_OPEN = (
    "import sys, pathlib; from tflite_runtime.interpreter import Interpreter\n"
    "Interpreter(model_content=pathlib.Path(sys.argv[1]).read_bytes()).allocate_tensors()"
)


@pytest.mark.skipif("tflite-runtime" not in installed_names(), reason="Python after 3.11")
def test_tflite_runtime_is_refused_by_the_loader_where_it_would_fail(
    per_channel_dynamic: bytes, bundle: Path, tmp_path: Path
) -> None:
    path = tmp_path / "dynamic.tflite"
    path.write_bytes(per_channel_dynamic)
    native = subprocess.run(
        [sys.executable, "-c", _OPEN, str(path)], capture_output=True, text=True
    )
    assert native.returncode != 0, "tflite-runtime runs it now: its claim can be widened"
    assert "version" in native.stderr
    stamp = read_stamped(bundle / "dynamic.tflite").stamp
    taken = dataclasses.replace(stamp.input, height=8, width=8)
    claims = (SupportedRuntime(runtime="litert", minimum="2.3.0"),)
    narrow = dataclasses.replace(stamp, input=taken, supported_runtimes=claims)
    path.write_bytes(stamp_tflite(per_channel_dynamic, narrow))
    with pytest.raises(UnsupportedRuntimeError, match="not support tflite-runtime .*use litert"):
        Classifier.load(path, runtime="tflite-runtime")
    with Classifier.load(path, runtime="litert") as classifier:
        assert classifier.backend.name == "litert"
