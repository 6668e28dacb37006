"""Model files that are damaged, hungry or endless end an import in one line."""

from __future__ import annotations

import random
from pathlib import Path

import importers as fuzz
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from hemline.errors import HemlineError
from hemline.export.importing import importers
from hemline.export.importing.importers import convert
from hemline.remedies import described

_TIMES = 3  # of each kind: a child starts TensorFlow each time; tests/fuzz tries longer
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a small model in every kind of file."""
    from hemline.train.tensorflow import quiet_keras

    keras = quiet_keras()
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("seeds")
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    model.save(folder / "m.keras")
    model.save(folder / "m.h5")
    model.export(folder / "saved", verbose=False)
    content = tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved")).convert()
    (folder / "m.tflite").write_bytes(content)
    dense(folder / "m.onnx", [helper.make_node("Flatten", ["x"], ["flat"])])
    names = {"keras": "m.keras", "h5": "m.h5", "saved-model": "saved"}
    return {kind: folder / names.get(kind, f"m.{kind}") for kind in (*names, "tflite", "onnx")}


def dense(path: Path, nodes: list[onnx.NodeProto]) -> Path:
    """Write an ONNX model: `nodes` make `flat` (n, 12) of x (n, 2, 2, 3), then a dense layer."""
    weights = np.ones((12, 2), np.float32)
    last = helper.make_node("MatMul", ["flat", "weights"], ["y"])
    graph = helper.make_graph(
        [*nodes, last],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("n", 2, 2, 3))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ("n", 2))],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.array([1 << 33], np.int64), "size"),
            numpy_helper.from_array(np.array(1 << 60, np.int64), "count"),
            numpy_helper.from_array(np.array(True), "true"),
        ],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(proto.SerializeToString())
    return path


@pytest.mark.parametrize("kind", ["keras", "h5", "saved-model", "tflite", "onnx"])
def test_a_damaged_model_ends_in_one_line(
    kind: str, seeds: dict[str, Path], tmp_path: Path
) -> None:
    assert fuzz.outcome(seeds[kind]) == "imported"
    for number in range(_TIMES):
        folder = tmp_path / str(number)
        folder.mkdir()
        path = fuzz.damage(seeds[kind], folder, random.Random(number))
        assert fuzz.outcome(path), f"{path} does not end in one line"


def refusal(path: Path, folder: Path) -> str:
    with pytest.raises(HemlineError) as caught:
        convert(path, "onnx", folder)
    assert "\n" not in described(caught.value)
    return described(caught.value)


def test_a_model_that_wants_more_memory_than_is_allowed_is_refused(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Flatten", ["x"], ["plain"]),
        helper.make_node("ConstantOfShape", ["size"], ["huge"]),  # 32 GB
        helper.make_node("ReduceMax", ["huge"], ["most"], keepdims=0),
        helper.make_node("Add", ["plain", "most"], ["flat"]),
    ]
    said = refusal(dense(tmp_path / "m.onnx", nodes), tmp_path)
    assert "memory" in said or "alloc" in said, said


def test_a_model_that_never_ends_is_left_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Sin", ["value"], ["next"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("at", TensorProto.INT64, ()),
            helper.make_tensor_value_info("go", TensorProto.BOOL, ()),
            helper.make_tensor_value_info("value", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, ()),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, None),
        ],
    )
    nodes = [
        helper.make_node("Flatten", ["x"], ["plain"]),
        helper.make_node("Loop", ["count", "true", "plain"], ["flat"], body=inner),
    ]
    monkeypatch.setattr(importers, "CONVERSION_SECONDS", 20.0)
    said = refusal(dense(tmp_path / "m.onnx", nodes), tmp_path)
    assert "was not converted in 20 s" in said
