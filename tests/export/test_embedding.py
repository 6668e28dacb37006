"""Exports with embedding: a second output, the same logits, and nothing assumed about the file."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from hemline.train.tensorflow import quiet_keras

keras = quiet_keras()

from hemline.contract.checkpoint import MODEL_NAME  # noqa: E402
from hemline.contract.manifest import Manifest, read_manifest  # noqa: E402
from hemline.contract.stamp import StampedFile, read_stamped, stamp_onnx  # noqa: E402
from hemline.data.datasets import Images  # noqa: E402 — after TensorFlow's noise was turned off
from hemline.errors import FileFormatError, HemlineError  # noqa: E402
from hemline.export.bundle import ExportRequest, export_bundle  # noqa: E402
from hemline.export.embedding_check import require_embedding  # noqa: E402
from hemline.export.quantization.options import (  # noqa: E402
    PostTrainingOptions,
    QuantizationOptions,
)
from hemline.export.schemes import find_schemes  # noqa: E402
from hemline.export.sources.keras import KerasSource  # noqa: E402
from hemline.export.sources.outputs import output_of, with_outputs  # noqa: E402
from hemline.export.verification import verify_bundle  # noqa: E402
from hemline.remedies import described  # noqa: E402
from hemline.runtime import Classifier  # noqa: E402
from hemline.runtime.command_line import main  # noqa: E402
from hemline.train.nets.hem import HEM_50K  # noqa: E402

layers = keras.layers
SIZE = HEM_50K.stages[-1].channels  # that hem-50k pools


pytestmark = pytest.mark.medium


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> object:
    return keras.models.load_model(checkpoint / MODEL_NAME, compile=False)


@pytest.fixture
def copy(embedding_bundle: Path, tmp_path: Path) -> Path:
    """Return a bundle that a test may change."""
    return Path(shutil.copytree(embedding_bundle, tmp_path / "bundle"))


def request(checkpoint: Path, folder: Path, *schemes: str, embedding: bool) -> ExportRequest:
    return ExportRequest(
        checkpoint=checkpoint,
        bundle=folder,
        schemes=find_schemes(schemes),
        options=QuantizationOptions(post_training=PostTrainingOptions(images=100)),
        embedding=embedding,
    )


@pytest.mark.parametrize("name", [each.file_name for each in find_schemes(())])
def test_stamp_and_manifest_say_what_the_second_output_is(
    embedding_bundle: Path, manifest: Manifest, name: str
) -> None:
    spec = read_stamped(embedding_bundle / name).stamp.embedding
    assert spec is not None
    assert (spec.size, spec.dtype) == (SIZE, "int8" if name == "int8.tflite" else "float32")
    assert (spec.scale == 1.0) == (spec.dtype == "float32")
    assert read_manifest(embedding_bundle).artifact(name).embedding == spec
    assert manifest.artifact(name).embedding is None, "without the option there is none"


@pytest.mark.parametrize("name", [each.file_name for each in find_schemes(())])
def test_pixels_and_logits_keep_their_specs(
    embedding_bundle: Path, manifest: Manifest, name: str
) -> None:
    found, known = read_manifest(embedding_bundle).artifact(name), manifest.artifact(name)
    assert found.input == known.input
    assert dataclasses.replace(found.output, position=0) == known.output
    assert found.tolerance == known.tolerance


def test_verification_judges_the_logits_as_before(copy: Path, manifest: Manifest) -> None:
    """The same figures to the last bit: the second output changes nothing of the first."""
    verified = verify_bundle(copy, read_manifest(copy))
    for artifact in verified.artifacts:
        figures = [(v.runtime, v.status, v.agreement, v.scores) for v in artifact.verdicts]
        plain = manifest.artifact(artifact.name).verdicts
        assert figures == [(v.runtime, v.status, v.agreement, v.scores) for v in plain]
        assert [v.largest_difference for v in artifact.verdicts] == [
            v.largest_difference for v in plain
        ]


@pytest.mark.slow
def test_switching_it_off_and_on_makes_the_file_again(
    checkpoint: Path, copy: Path, images: Images
) -> None:
    before = (copy / "int8.tflite").read_bytes()
    said: list[str] = []
    off = request(checkpoint, copy, "int8.tflite", embedding=False)
    manifest = export_bundle(off, images, say=said.append)
    assert manifest.artifact("int8.tflite").embedding is None
    assert manifest.artifact("fp32.tflite").embedding is not None, "it was not asked for"
    export_bundle(dataclasses.replace(off, embedding=True), images, say=said.append)
    assert [line.split(":")[0] for line in said] == ["export int8.tflite"] * 2
    assert (copy / "int8.tflite").read_bytes() == before


def test_nothing_is_made_again_when_nothing_changed(
    checkpoint: Path, copy: Path, images: Images
) -> None:
    said: list[str] = []
    export_bundle(request(checkpoint, copy, embedding=True), images, say=said.append)
    assert said == []


def test_inspect_shows_it(embedding_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(embedding_bundle / "int8.tflite")]) == 0
    assert f"int8 of {SIZE} values" in capsys.readouterr().out


def test_the_outputs_may_come_in_the_other_order(
    embedding_bundle: Path, tmp_path: Path, images: Images
) -> None:
    import onnx

    file = read_stamped(embedding_bundle / "fp32.onnx")
    proto = onnx.load_from_string(file.model)
    first, second = [
        onnx.ValueInfoProto.FromString(o.SerializeToString()) for o in proto.graph.output
    ]
    del proto.graph.output[:], proto.metadata_props[:]
    proto.graph.output.extend([second, first])
    swapped = [dataclasses.replace(o, position=1 - o.position) for o in file.stamp.outputs]
    stamp = dataclasses.replace(file.stamp, outputs=tuple(swapped))
    (tmp_path / "fp32.onnx").write_bytes(stamp_onnx(proto.SerializeToString(), stamp))
    pixels = images.test_images[:5]
    with (
        Classifier.load(embedding_bundle / "fp32.onnx") as plain,
        Classifier.load(tmp_path / "fp32.onnx") as other,
    ):
        np.testing.assert_array_equal(other.logits(pixels), plain.logits(pixels))
        np.testing.assert_array_equal(other.embed(pixels), plain.embed(pixels))


def altered(file: StampedFile, **changes: object) -> StampedFile:
    assert file.stamp.embedding is not None
    spec = dataclasses.replace(file.stamp.embedding, **changes)  # type: ignore[arg-type]
    outputs = (file.stamp.output, spec)
    return file._replace(stamp=dataclasses.replace(file.stamp, outputs=outputs))


def test_an_embedding_that_is_not_the_models_is_no_export(
    embedding_bundle: Path, model: object, images: Images
) -> None:
    some = images.test_images[:20]
    with KerasSource(model) as source:
        embedded = source.run(some, "embedding")

    def check(file: StampedFile) -> None:
        require_embedding(file, some, embedded, share=0.3)

    file = read_stamped(embedding_bundle / "int8.tflite")
    check(file)
    embedded[0, 0] += embedded.max()  # one value on another side of a limit is still rounding
    check(file)
    with pytest.raises(HemlineError, match=r"int8\.tflite differs from the source model's by"):
        check(altered(file, scale=1.0))
    with pytest.raises(HemlineError, match=r"differs from the source model's by"):
        check(altered(file, zero_point=0))
    with pytest.raises(FileFormatError, match=f"embedding of {SIZE + 1} .* has {SIZE}"):
        check(altered(file, size=SIZE + 1))


def test_another_models_embedding_is_refused(embedding_bundle: Path, images: Images) -> None:
    inputs = keras.Input((28, 28, 1))
    pooled = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3)(inputs))
    other = keras.Model(inputs, layers.Dense(10)(pooled))
    some = images.test_images[:3]
    with KerasSource(other) as source:
        embedded = source.run(some, "embedding")
    file = read_stamped(embedding_bundle / "fp32.onnx")
    with pytest.raises(
        HemlineError, match=f"returns embeddings of {SIZE} values, the source model of 8"
    ):
        require_embedding(file, some, embedded, share=0.3)


def test_the_embedding_is_what_the_last_dense_layer_reads(model: object, images: Images) -> None:
    pixels = images.test_images[:4].astype(np.float32)
    both = with_outputs(model, ("logits", "embedding"))(pixels)
    kernel, bias = model.get_layer("logits").get_weights()  # type: ignore[attr-defined]
    # ten float32 sums of a product for each channel
    made = np.asarray(both["embedding"]) @ kernel + bias
    np.testing.assert_allclose(made, both["logits"], rtol=1e-4, atol=1e-4)


def test_a_model_without_one_is_told() -> None:
    inputs = keras.Input((8, 8, 1), name="image")
    convolved = layers.Conv2D(3, 3)(inputs)
    pooled = layers.GlobalAveragePooling2D()(convolved)
    with pytest.raises(HemlineError, match="none_here has no embedding: .* is missing") as told:
        output_of(keras.Model(inputs, pooled, name="none_here"), "embedding")
    assert described(told.value).endswith("; export it without --with-embedding")
    mapped = layers.GlobalAveragePooling2D()(layers.Dense(3)(convolved))
    with pytest.raises(HemlineError, match="last Dense layer reads no vectors"):
        output_of(keras.Model(inputs, mapped, name="maps"), "embedding")
