"""Outputs by name: logits, an embedding and taps of a layer, in every runtime and any order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hemline.contract.job import Job, JobCell
from hemline.contract.specs import InputSpec, OutputSpec, SupportedRuntime
from hemline.contract.stamp import Stamp, stamp_onnx, stamp_tflite
from hemline.errors import UnknownNameError
from hemline.runtime import Classifier
from hemline.runtime.backends import BACKENDS
from hemline.runtime.discovery import installed_names
from hemline.runtime.process import JobProcess

WEIGHTS = np.random.default_rng(1).normal(size=(16, 3)).astype(np.float32)
IMAGES = np.random.default_rng(2).integers(0, 256, (11, 4, 4, 1), np.uint8)
TAP = OutputSpec(name="block 1/doubled", role="tap", size=16, dtype="float32")
EMBEDDING = OutputSpec(name="embedding", role="embedding", size=16, dtype="float32")
LOGITS = OutputSpec(size=3, dtype="float32")
RUNTIMES = installed_names()


def expected(name: str) -> np.ndarray:
    """Return what the model computes, in numpy."""
    doubled = IMAGES.astype(np.float32) * 2
    return {
        TAP.name: doubled,
        "embedding": doubled.reshape(-1, 16),
        "logits": doubled.reshape(-1, 16) @ WEIGHTS,
    }[name]


def onnx_model(outputs: tuple[OutputSpec, ...]) -> bytes:
    """Return the model whose file has these outputs, in this order, under names of its own."""
    from onnx import TensorProto, helper, numpy_helper

    two = numpy_helper.from_array(np.asarray(2, np.float32), "two")
    weights = numpy_helper.from_array(WEIGHTS, "weights")
    nodes = [
        helper.make_node("Mul", ["image", "two"], ["tap:0"]),
        helper.make_node("Flatten", ["tap:0"], ["embedding:0"]),
        helper.make_node("MatMul", ["embedding:0", "weights"], ["logits:0"]),
    ]
    shapes = {"tap": (4, 4, 1), "embedding": (16,), "logits": (3,)}
    declared = [
        helper.make_tensor_value_info(
            f"{each.role}:0", TensorProto.FLOAT, ("batch", *shapes[each.role])
        )
        for each in outputs
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ("batch", 4, 4, 1))
    graph = helper.make_graph(nodes, "doubling", [image], declared, [two, weights])
    opset = [helper.make_opsetid("", 13)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


def tflite_model(outputs: tuple[OutputSpec, ...], folder: Path) -> tuple[bytes, list[int]]:
    """Return the model whose file has these outputs, and their positions there."""
    from ai_edge_litert.interpreter import Interpreter

    from hemline.train.tensorflow import quiet_keras

    quiet_keras()
    import tensorflow as tf

    class Doubling(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((1, 4, 4, 1), tf.float32)])
        def __call__(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
            doubled = image * 2
            flat = tf.reshape(doubled, (-1, 16))
            named = {"tap": doubled, "embedding": flat, "logits": flat @ WEIGHTS}
            return {each.role: named[each.role] for each in outputs}

    module = Doubling()
    tf.saved_model.save(module, str(folder))
    content: bytes = tf.lite.TFLiteConverter.from_saved_model(str(folder)).convert()
    interpreter = Interpreter(model_content=content)
    found = [each["index"] for each in interpreter.get_output_details()]
    named = interpreter.get_signature_runner().get_output_details()
    return content, [found.index(named[each.role]["index"]) for each in outputs]


def stamp_of(
    outputs: tuple[OutputSpec, ...], file_format: str, positions: Iterable[int] = range(9)
) -> Stamp:
    return Stamp(
        name=f"model.{file_format}",
        scheme="fp32",
        format=file_format,  # type: ignore[arg-type]
        model="doubling",
        labels=("a", "b", "c"),
        input=InputSpec(height=4, width=4, channels=1, dtype="float32"),
        outputs=tuple(
            replace(each, position=at) for each, at in zip(outputs, positions, strict=False)
        ),
        supported_runtimes=tuple(SupportedRuntime(runtime=name, minimum="0") for name in BACKENDS),
        temperature=1.0,
        unknown_threshold=0.0,
        tolerance=1e-3,
        test_vectors=(),
        parent_sha256="",
        calibration_sha256=None,
        payload_sha256="",
        hemline_version="0",
    )


@pytest.fixture(scope="module", params=[(TAP, LOGITS), (EMBEDDING, TAP, LOGITS)], ids=len)
def outputs(request: pytest.FixtureRequest) -> tuple[OutputSpec, ...]:
    found: tuple[OutputSpec, ...] = request.param
    return found


@pytest.fixture(scope="module")
def folder(outputs: tuple[OutputSpec, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the model in both formats, and the images."""
    place = tmp_path_factory.mktemp("outputs")
    tflite, positions = tflite_model(outputs, place / "saved")
    stamp = stamp_of(outputs, "tflite", positions)
    (place / "model.tflite").write_bytes(stamp_tflite(tflite, stamp))
    (place / "model.onnx").write_bytes(stamp_onnx(onnx_model(outputs), stamp_of(outputs, "onnx")))
    np.save(place / "images.npy", IMAGES)
    return place


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_job_returns_the_outputs_that_it_names(
    folder: Path, outputs: tuple[OutputSpec, ...], runtime: str, tmp_path: Path
) -> None:
    names = tuple(each.name for each in outputs)
    with JobProcess() as process:
        for asked in (names, names[::-1], names[:1], ("logits",)):
            result = process.run(
                Job(
                    id="outputs",
                    artifact=str(folder / f"model.{BACKENDS[runtime].format}"),
                    runtime=runtime,
                    images=str(folder / "images.npy"),
                    cells=(JobCell(), JobCell(batch=4)),
                    want=("outputs", "latencies"),
                    arrays=str(tmp_path),
                    outputs=asked,
                )
            )
            assert result.failure is None
            for cell in result.cells:
                assert tuple(cell.outputs) == asked
                for name, path in cell.outputs.items():
                    # float32 sums of 16 products up to 510 · 3, in another order
                    np.testing.assert_allclose(np.load(path), expected(name), rtol=0, atol=1e-2)


@pytest.mark.parametrize("runtime", [name for name in RUNTIMES if name != "tflite-runtime"])
def test_a_classifier_returns_the_outputs_by_name(
    folder: Path, outputs: tuple[OutputSpec, ...], runtime: str
) -> None:
    names = [each.name for each in outputs]
    with Classifier.load(folder / f"model.{BACKENDS[runtime].format}", runtime=runtime) as opened:
        found = opened.outputs(IMAGES, names)
        assert list(found) == names
        for name in names:
            np.testing.assert_allclose(found[name], expected(name), rtol=0, atol=1e-2)
        np.testing.assert_array_equal(found["logits"], opened.logits(IMAGES))
        if EMBEDDING in outputs:
            np.testing.assert_array_equal(found["embedding"], opened.embed(IMAGES))
        with pytest.raises(UnknownNameError, match="unknown output 'logit': did you mean 'logits'"):
            opened.outputs(IMAGES, ["logit"])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ((EMBEDDING, TAP), "one of them is logits"),
        ((LOGITS, TAP, TAP), "unique names, and"),
        ((), "one of them is logits"),
    ],
)
def test_outputs_without_logits_or_with_a_name_twice_are_refused(
    wrong: tuple[OutputSpec, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        stamp_of(wrong, "onnx")


def test_outputs_at_the_same_position_are_refused() -> None:
    stamp = stamp_of((LOGITS, TAP), "onnx")
    with pytest.raises(ValueError, match="positions 0 to 1"):
        replace(stamp, outputs=tuple(replace(each, position=0) for each in stamp.outputs))


def test_only_the_logits_are_called_logits() -> None:
    with pytest.raises(ValueError, match="'logits' has the role tap"):
        replace(LOGITS, role="tap")
    with pytest.raises(ValueError, match="'classes' has the role logits"):
        replace(LOGITS, name="classes")
