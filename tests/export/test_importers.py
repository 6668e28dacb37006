"""Model files from elsewhere are read in a process of their own; what is unsafe is refused."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
from onnx import helper, numpy_helper

from hemline.errors import FileFormatError, HemlineError, UsageError
from hemline.export.importing.importers import SourceFacts, convert, find_kind
from hemline.remedies import described

slow = pytest.mark.slow

RANDOM = np.random.default_rng(7)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Conv2D(3, 3, groups=3, activation="relu"),  # XLA compiles it in Keras
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )


def onnx_model(
    path: Path, *, opset: int = 13, external: bool = False, random: bool = False
) -> Path:
    kernel = RANDOM.standard_normal((4, 3, 3, 3)).astype(np.float32)
    dense = RANDOM.standard_normal((4, 3)).astype(np.float32)
    noise = [helper.make_node("RandomNormalLike", ["flat"], ["noise"])] if random else []
    noise += [helper.make_node("Add", ["flat", "noise"], ["noisy"])] if random else []
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "kernel"], ["maps"], kernel_shape=[3, 3]),
            helper.make_node("GlobalAveragePool", ["maps"], ["means"]),
            helper.make_node("Flatten", ["means"], ["flat"]),
            *noise,
            helper.make_node("MatMul", ["noisy" if random else "flat", "dense"], ["y"]),
        ],
        "net",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ("n", 3, 8, 8))],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ("n", 3))],
        [numpy_helper.from_array(kernel, "kernel"), numpy_helper.from_array(dense, "dense")],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    weights = {"save_as_external_data": True, "size_threshold": 0, "location": "weights.data"}
    onnx.save(proto, path, **(weights if external else {}))
    return path


def converted(path: Path, folder: Path, **options: bool) -> SourceFacts:
    folder.mkdir(exist_ok=True)
    return convert(path, find_kind(path).name, folder, **options)


def refusal(path: Path, folder: Path) -> str:
    with pytest.raises(HemlineError) as caught:
        converted(path, folder)
    text = described(caught.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    return text.removeprefix(f"{path} ")


@pytest.mark.parametrize(
    "kind",
    [
        *(pytest.param(each, marks=slow) for each in ("keras", "hdf5", "saved-model", "tflite")),
        *("onnx", "external"),
    ],
)
def test_every_kind_of_file_gives_onnx_with_the_outputs_of_its_own_runtime(
    model: keras.Model, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / {"keras": "m.keras", "hdf5": "m.h5", "tflite": "m.tflite"}.get(kind, "m.onnx")
    if kind in ("keras", "hdf5"):
        model.save(path)
    elif kind in ("saved-model", "tflite"):
        path = tmp_path / "saved"
        model.export(path, verbose=False)
    else:
        onnx_model(path, external=kind == "external")
    if kind == "tflite":
        content = tf.lite.TFLiteConverter.from_saved_model(str(path)).convert()
        path = tmp_path / "m.tflite"
        path.write_bytes(content)
    facts = converted(path, tmp_path / "out")
    assert facts.kind == find_kind(path).name
    with np.load(tmp_path / "out/reference.npz") as arrays:
        inputs, expected = arrays["inputs"], arrays["outputs"]
    session = onnxruntime.InferenceSession((tmp_path / "out/model.onnx").read_bytes())
    name = session.get_inputs()[0].name
    found = np.concatenate([session.run(None, {name: each[np.newaxis]})[0] for each in inputs])
    # two float32 sums of 27 products and of 36 maps: √K · 2⁻²⁴ of values below 10 each
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert expected.shape == (8, 3)


@pytest.mark.parametrize("opset", [7, 21])
def test_old_and_new_opsets_are_read(tmp_path: Path, opset: int) -> None:
    assert converted(onnx_model(tmp_path / "m.onnx", opset=opset), tmp_path / "out").kind == "onnx"


def test_a_model_of_whole_numbers_takes_the_pixels_as_they_are(tmp_path: Path) -> None:
    proto = onnx.load(onnx_model(tmp_path / "m.onnx"))
    proto.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
    proto.graph.node.insert(0, helper.make_node("Cast", ["x"], ["real"], to=onnx.TensorProto.FLOAT))
    proto.graph.node[1].input[0] = "real"
    onnx.save(proto, tmp_path / "m.onnx")
    facts = converted(tmp_path / "m.onnx", tmp_path / "out")
    assert facts.scale is not None
    assert facts.scale.range == (0, 255)
    with np.load(tmp_path / "out/reference.npz") as arrays:
        inputs = arrays["inputs"]
    np.testing.assert_array_equal(inputs, inputs.round())
    assert inputs.max() > 200


def test_a_picture_has_one_or_three_channels(tmp_path: Path) -> None:
    proto = onnx.load(onnx_model(tmp_path / "m.onnx"))
    proto.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 4
    onnx.save(proto, tmp_path / "m.onnx")
    assert "an image has 1 or 3 channels" in refusal(tmp_path / "m.onnx", tmp_path / "out")


@pytest.mark.parametrize("name", ["m.keras", "m.h5"])
def test_a_lambda_is_refused_by_name_before_anything_runs(tmp_path: Path, name: str) -> None:
    layers = [keras.Input((8, 8, 3)), keras.layers.Lambda(lambda x: x / 2, name="halve")]
    keras.Sequential([*layers, keras.layers.Flatten(), keras.layers.Dense(2)]).save(tmp_path / name)
    assert refusal(tmp_path / name, tmp_path / "out") == (
        "contains Python code in the layer 'halve', which runs when the model is loaded; "
        "if you trust its author, allow that with --trust"
    )


@slow
def test_trust_runs_the_code_of_a_file(tmp_path: Path) -> None:
    layers = [keras.Input((8, 8, 3)), keras.layers.Lambda(lambda x: x / 2, name="halve")]
    net = keras.Sequential([*layers, keras.layers.Flatten(), keras.layers.Dense(2)])
    net.save(tmp_path / "m.keras")
    assert converted(tmp_path / "m.keras", tmp_path / "out", trust=True).kind == "keras"


def test_a_custom_object_is_refused_by_name(model: keras.Model, tmp_path: Path) -> None:
    model.save(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(parts["config.json"])
    config["config"]["layers"][1] |= {"module": "my_code", "registered_name": "Mine>Blur"}
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        for name, content in {**parts, "config.json": json.dumps(config)}.items():
            archive.writestr(name, content)
    assert refusal(tmp_path / "m.keras", tmp_path / "out").startswith(
        "needs the custom object Blur"
    )


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (
            {"class_name": "TFOpLambda", "config": {"name": "r", "function": "io.read_file"}},
            "calls io. in the layer 'r': it reads files or runs Python",
        ),
        (
            {"class_name": "get_file", "module": "keras.utils", "config": {"name": "x"}},
            "calls the function keras.utils.get_file",
        ),
    ],
)
def test_a_layer_that_calls_something_else_than_arithmetic_is_refused(
    model: keras.Model, tmp_path: Path, layer: dict[str, Any], said: str
) -> None:
    model.save(tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5", "a") as file:
        config = json.loads(file.attrs["model_config"])
        config["config"]["layers"].append(layer)
        file.attrs["model_config"] = json.dumps(config)
    assert refusal(tmp_path / "m.h5", tmp_path / "out") == said


def test_an_archive_whose_weights_read_another_file_is_refused(
    model: keras.Model, tmp_path: Path
) -> None:
    model.save(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        archive.extractall(tmp_path / "parts")
    with h5py.File(tmp_path / "parts/model.weights.h5", "a") as file:
        file["elsewhere"] = h5py.ExternalLink("/etc/hostname", "/x")
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        for part in (tmp_path / "parts").iterdir():
            archive.write(part, part.name)
    assert (
        refusal(tmp_path / "m.keras", tmp_path / "out")
        == "refers to another file through elsewhere"
    )


@slow
def test_a_link_that_leads_nowhere_is_no_traceback(model: keras.Model, tmp_path: Path) -> None:
    model.save(tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5", "a") as file:
        file["nowhere"] = h5py.SoftLink("/absent")
    assert converted(tmp_path / "m.h5", tmp_path / "out").kind == "keras"


@slow
def test_a_saved_model_with_unused_training_functions_is_read(tmp_path: Path) -> None:
    net = tf.Module()
    kernel = tf.Variable(np.ones((192, 2), np.float32))
    net.kernel = kernel
    spec = tf.TensorSpec((None, 8, 8, 3), tf.float32)
    net.serve = tf.function(
        lambda x: {"y": tf.reshape(x, (-1, 192)) @ kernel}, input_signature=[spec]
    )
    net.train = tf.function(lambda x: tf.nn.dropout(x, 0.5), input_signature=[spec])
    signatures = {"serving_default": net.serve, "training": net.train}
    tf.saved_model.save(net, str(tmp_path / "saved"), signatures=signatures)
    assert converted(tmp_path / "saved", tmp_path / "out").kind == "saved-model"


@pytest.mark.slow
def test_a_keras_2_file_is_opened_by_tf_keras(tmp_path: Path) -> None:
    code = (
        "import os, sys; os.environ['TF_USE_LEGACY_KERAS'] = '1'; import tf_keras as k; "
        "k.Sequential([k.layers.Rescaling(1 / 255, input_shape=(8, 8, 1)), "
        "k.layers.DepthwiseConv2D(3), k.layers.Flatten(), k.layers.Dense(2)]).save(sys.argv[1])"
    )
    path = tmp_path / "m.h5"
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, capture_output=True)
    facts = converted(path, tmp_path / "out")
    assert facts.kind == "keras2"
    assert facts.scale is not None
    assert facts.scale.range == (0, 255)  # it rescales pixels itself


def test_an_hdf5_file_of_something_else_is_refused_as_such(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["x"] = np.zeros(4)
    text = "is an HDF5 file without a Keras model"
    assert refusal(tmp_path / "data.h5", tmp_path / "out") == text


def test_weights_without_a_model_are_refused(model: keras.Model, tmp_path: Path) -> None:
    model.save_weights(tmp_path / "m.weights.h5")
    assert refusal(tmp_path / "m.weights.h5", tmp_path / "out").startswith(
        "contains weights without the model; save the whole model with"
    )


def test_hdf5_that_reads_another_file_is_refused(model: keras.Model, tmp_path: Path) -> None:
    model.save(tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5", "a") as file:
        file["elsewhere"] = h5py.ExternalLink("/etc/hostname", "/x")
    assert refusal(tmp_path / "m.h5", tmp_path / "out") == (
        "refers to another file through elsewhere"
    )


def test_an_archive_that_unpacks_to_gigabytes_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("metadata.json", "{}")
        archive.writestr("model.weights.h5", b"")
        archive.infolist()[-1].file_size = 3 << 30
    assert refusal(tmp_path / "m.keras", tmp_path / "out").startswith("unpacks to 3.22 GB")


@pytest.mark.parametrize("location", ["../weights.data", "/etc/hostname", "link.data"])
def test_weights_outside_the_folder_are_refused(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    path = onnx_model(folder / "m.onnx", external=True)
    (folder / "weights.data").rename(tmp_path / "weights.data")
    (folder / "link.data").symlink_to(tmp_path / "weights.data")
    proto = onnx.load(path, load_external_data=False)
    for tensor in proto.graph.initializer:
        for entry in tensor.external_data:
            entry.value = location if entry.key == "location" else entry.value
    path.write_bytes(proto.SerializeToString())
    assert refusal(path, tmp_path / "out") == f"reads weights from {location!r}, outside its folder"


def test_missing_weights_are_named(tmp_path: Path) -> None:
    path = onnx_model(tmp_path / "m.onnx", external=True)
    (tmp_path / "weights.data").unlink()
    assert refusal(path, tmp_path / "out") == (
        "reads weights from 'weights.data', which is missing; "
        "copy that file into the model's folder"
    )


def test_a_model_in_training_mode_is_refused(tmp_path: Path) -> None:
    assert refusal(onnx_model(tmp_path / "m.onnx", random=True), tmp_path / "out").startswith(
        "returns different values for the same images on each run: it was exported in training mode"
    )


@pytest.mark.medium
def test_quantized_files_are_refused_with_where_they_go(model: keras.Model, tmp_path: Path) -> None:
    model.export(tmp_path / "saved", verbose=False)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "saved"))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([np.ones((1, 8, 8, 3), np.float32)],)
    (tmp_path / "m.tflite").write_bytes(converter.convert())
    text = refusal(tmp_path / "m.tflite", tmp_path / "out")
    assert text.startswith("is already quantized (")
    assert text.endswith("run `hemline verify` on it, or import the float model it was made from")


@pytest.mark.parametrize("name", ["m.keras", "m.h5", "m.tflite", "m.onnx"])
@pytest.mark.parametrize("content", [b"", pytest.param(b"nonsense" * 100, marks=slow)])
def test_broken_files_are_refused_in_one_line(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert refusal(tmp_path / name, tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("net.pt", "contains PyTorch weights without the model's code"),
        ("absent.onnx", "there is no file"),
        ("text.txt", "it is not a .keras, .h5, .tflite or .onnx file"),
        ("folder", "is neither a checkpoint nor a SavedModel"),
    ],
)
def test_what_cannot_be_imported_is_named(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "net.pt").write_bytes(b"x")
    (tmp_path / "text.txt").write_bytes(b"x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match=said):
        find_kind(tmp_path / name)


def test_a_child_that_is_killed_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "hemline.export.importing.importers.module_command",
        lambda _: ("/bin/sh", "-c", "kill -9 $$"),
    )
    with pytest.raises(FileFormatError, match=r"ended the process that read it \(signal 9\)"):
        converted(onnx_model(tmp_path / "m.onnx"), tmp_path / "out")
