"""What happens to a file that was made elsewhere: it is tried in a child, stamped or refused."""

from __future__ import annotations

import hashlib
import io
import json
import signal
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner, Result
from onnx import TensorProto, helper, numpy_helper

from hemline.cli import cli
from hemline.contract.evaluation_set import EvaluationSplit, load_split
from hemline.contract.manifest import Manifest
from hemline.contract.parity import ParityBounds
from hemline.contract.specs import InputSpec, OutputSpec
from hemline.contract.stamp import read_stamped, stamp_tflite
from hemline.contract.test_vector import TestVector
from hemline.data.class_names import parse_labels
from hemline.errors import (
    DataError,
    FileFormatError,
    GateError,
    HemlineError,
    JobError,
    UnstampedError,
    UsageError,
)
from hemline.export.admission import confined, trial
from hemline.export.admission.admitting import Admission, AdmissionRequest, admit, require_parity
from hemline.export.admission.descriptions import Description, TensorFacts
from hemline.export.admission.inspection import read_model
from hemline.export.admission.specs import (
    gives,
    input_spec,
    output_spec,
    takes_channels_first,
)
from hemline.export.admission.structure import structure_of
from hemline.export.admission.trial import Trial
from hemline.export.admission.user_samples import read_user_classes
from hemline.export.input_options import parse_pixels
from hemline.export.pixel_scale import PixelScale
from hemline.pictures.generated import generated_images
from hemline.remedies import described
from hemline.runtime import Classifier
from hemline.runtime.backends import BACKENDS, load_module
from hemline.runtime.pixels import pixel_tables
from hemline.runtime.selftest import check

FOUR = ("a", "b", "c", "d")
WHERE = Path("model.onnx")
Cut = Callable[[str], Path]


@pytest.fixture
def cut(bundle: Path, tmp_path: Path) -> Cut:
    """Return a function that writes an artifact of the bundle without its stamp."""

    def write(name: str) -> Path:
        content = read_stamped(bundle / name).model
        if name.endswith(".onnx"):
            proto = onnx.load_from_string(content)
            del proto.metadata_props[:]
            content = proto.SerializeToString()
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


@pytest.fixture
def split(bundle: Path, manifest: Manifest) -> EvaluationSplit:
    return load_split(bundle, "test", manifest.evaluation_sha256)


def made(
    path: Path,
    *nodes: onnx.NodeProto,
    takes: tuple[object, ...] = ("n", 8, 8, 3),
    gives: tuple[object, ...] = ("n", 4),
) -> Path:
    """Write an ONNX model from `x` to `y`, with the weights W (192, 4) and K (4, 3, 3, 3)."""
    random = np.random.default_rng(1)
    stored = {
        "W": random.normal(size=(192, 4)).astype(np.float32) / 10,
        "K": random.normal(size=(4, 3, 3, 3)).astype(np.float32),
        "one_row": np.array([1, -1]),
        "many": np.array(2**62),
        "much": np.array([1_500_000_000]),
        "true": np.array(True),
    }
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, takes)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, gives)],
        [numpy_helper.from_array(value, name) for name, value in stored.items() if name in used],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    path.write_bytes(model.SerializeToString())
    return path


def node(kind: str, takes: str, gives: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(kind, takes.split(), gives.split(), **attributes)


FLATTEN, MULTIPLY = node("Flatten", "x", "f"), node("MatMul", "f W", "y")


def admitted(path: Path, labels: tuple[str, ...] = FOUR, **changes: object) -> Admission:
    fields = {"path": path, "output": None, "labels": labels, **changes}
    fields.setdefault("pixels", PixelScale.of_range(0, 255))
    return admit(AdmissionRequest(**fields))  # type: ignore[arg-type]


def verify(*words: object) -> Result:
    return CliRunner().invoke(cli, ["verify", *map(str, words)])


@pytest.mark.medium
@pytest.mark.parametrize("name", ["int8.tflite", "fp32.onnx"])
def test_an_artifact_without_its_stamp_comes_out_as_it_was(
    name: str, cut: Cut, bundle: Path, manifest: Manifest, split: EvaluationSplit
) -> None:
    path = cut(name)
    with pytest.raises(UnstampedError):
        Classifier.load(path)
    admission = admitted(path, manifest.labels)
    stamp, original = admission.stamp, read_stamped(bundle / name).stamp
    assert (stamp.input, stamp.output) == (original.input, original.output)
    assert (stamp.scheme, stamp.takes_batches) == ("foreign", True)
    assert stamp.parent_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert {each.runtime for each in stamp.supported_runtimes} == {
        t.runtime for t in admission.trials
    }
    with Classifier.load(admission.path) as found, Classifier.load(bundle / name) as expected:
        classes = set(expected.logits(generated_images((28, 28, 1))).argmax(axis=1).tolist())
        chosen = {int(np.argmax(vector.logits)) for vector in stamp.test_vectors}
        assert len(chosen) == min(2, len(classes))  # a model that learned little may have only one
        np.testing.assert_array_equal(found.logits(split.images), expected.logits(split.images))
        assert check(found)["passed"]


@pytest.mark.slow
def test_a_model_of_channels_first_is_turned(tmp_path: Path) -> None:
    nodes = (
        node("Conv", "x K", "c"),
        node("GlobalAveragePool", "c", "p"),
        node("Flatten", "p", "y"),
    )
    path = made(tmp_path / "m.onnx", *nodes, takes=("n", 3, 8, 10))
    admission = admitted(path, pixels=PixelScale.of_range(-1, 1))
    assert admission.stamp.input.shape == (8, 10, 3)
    images = generated_images((8, 10, 3))
    session = load_module(BACKENDS["onnxruntime"]).InferenceSession(str(path))  # type: ignore[attr-defined]
    real = (images.astype(np.float32) - 127.5) / 127.5
    expected = session.run(None, {"x": real.transpose(0, 3, 1, 2)})[0]
    with Classifier.load(admission.path) as classifier:
        # float32 sums of 27 products in another order
        np.testing.assert_allclose(classifier.logits(images), expected, atol=1e-4)


@pytest.mark.slow
def test_a_model_made_for_one_image_takes_them_one_by_one(tmp_path: Path) -> None:
    nodes = (node("Reshape", "x one_row", "f"), MULTIPLY)
    path = made(tmp_path / "m.onnx", *nodes, takes=(1, 8, 8, 3), gives=(1, 4))
    admission = admitted(path)
    assert not admission.stamp.takes_batches
    images = np.concatenate([generated_images((8, 8, 3))] * 5)
    with Classifier.load(admission.path) as classifier:
        singles = [classifier.classify(image).index for image in images]
        assert [found.index for found in classifier.classify_batch(images)] == singles


@pytest.mark.medium
def test_a_softmax_inside_is_seen_and_not_applied_twice(tmp_path: Path) -> None:
    nodes = (FLATTEN, node("MatMul", "f W", "z"), node("Softmax", "z", "y"))
    path = made(tmp_path / "m.onnx", *nodes)
    admission = admitted(path, pixels=PixelScale.of_range(0, 1))
    assert admission.stamp.output.gives == "probabilities"
    images = generated_images((8, 8, 3))
    session = load_module(BACKENDS["onnxruntime"]).InferenceSession(str(path))  # type: ignore[attr-defined]
    expected = session.run(None, {"x": images.astype(np.float32) / 255})[0]
    with Classifier.load(admission.path) as classifier:
        np.testing.assert_allclose(classifier.scores(images), expected, atol=1e-5)
        assert check(classifier)["passed"]
    shown = CliRunner().invoke(cli, ["inspect", str(admission.path)]).stdout
    assert "zero point 0, pixel range 0 … 1" in shown
    assert "float32 probabilities of 4 classes" in shown


@pytest.mark.medium
def test_the_users_images_give_the_accuracy_and_stay_out_of_the_file(
    cut: Cut, manifest: Manifest, split: EvaluationSplit, tmp_path: Path
) -> None:
    np.save(tmp_path / "labels.npy", split.labels)
    words = ("--images", split.images_path, "--expected", tmp_path / "labels.npy")
    labels = ("--labels", ",".join(manifest.labels))
    result = verify(cut("int8.tflite"), *labels, *words, "-o", tmp_path / "out.tflite", "--json")
    assert result.exit_code == 0, result.exception
    document = json.loads(result.stdout)
    correct = {
        v.runtime: v.score("test").correct  # type: ignore[union-attr]
        for v in manifest.artifact("int8.tflite").verdicts
    }
    assert {run["runtime"]: run["correct"] for run in document["runtimes"]} == correct
    generated = {image.tobytes() for image in generated_images((28, 28, 1))}
    vectors = read_stamped(tmp_path / "out.tflite").stamp.test_vectors
    assert len(vectors) == 2
    assert {vector.image((28, 28, 1)).tobytes() for vector in vectors} <= generated


@pytest.mark.slow
def test_a_model_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "TRIAL_SECONDS", 2.0)
    value, truth = (
        [helper.make_tensor_value_info(name, kind, shape) for name in names]
        for names, kind, shape in (
            (("a", "a2"), TensorProto.FLOAT, (1, 192)),
            (("c", "c2"), TensorProto.BOOL, ()),
        )
    )
    count = helper.make_tensor_value_info("i", TensorProto.INT64, ())
    steps = [node("Identity", "c", "c2"), node("Identity", "a", "a2")]
    body = helper.make_graph(steps, "b", [count, truth[0], value[0]], [truth[1], value[1]])
    nodes = (FLATTEN, node("Loop", "many true f", "l", body=body), node("MatMul", "l W", "y"))
    path = made(tmp_path / "m.onnx", *nodes, takes=(1, 8, 8, 3), gives=(1, 4))
    with pytest.raises(
        JobError, match=r"not admitted: .*m\.onnx in onnxruntime returned no result"
    ):
        admitted(path)


def test_a_model_that_wants_all_memory_is_refused_in_one_line(tmp_path: Path) -> None:
    nodes = (
        node("ConstantOfShape", "much", "b"),  # 6 GB
        node("ReduceSum", "b", "r", keepdims=0),
        FLATTEN,
        node("MatMul", "f W", "z"),
        node("Add", "z r", "y"),
    )
    with pytest.raises(FileFormatError, match="is rejected by onnxruntime .*allocate") as caught:
        admitted(made(tmp_path / "m.onnx", *nodes))
    assert "\n" not in str(caught.value)


def test_a_runtime_that_crashes_takes_nobody_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    monkeypatch.setattr(confined, "COMMAND", (sys.executable, "-c", crash))
    with pytest.raises(JobError, match=rf"not admitted: .*\(signal {signal.SIGSEGV.value}\)"):
        admitted(made(tmp_path / "m.onnx", FLATTEN, MULTIPLY))


@pytest.mark.medium
def test_answers_that_change_stop_with_exit_code_3(tmp_path: Path) -> None:
    path = made(tmp_path / "m.onnx", node("RandomNormal", "", "y", shape=[1, 4]), gives=(1, 4))
    result = verify(path, "--labels", "a,b,c,d", "--pixels", "0..1")
    assert isinstance(result.exception, GateError)
    assert result.exception.exit_code == 3
    assert "different values for the same images on each run" in str(result.exception)
    assert not (tmp_path / "m-admitted.onnx").exists()


def test_runtimes_that_disagree_stop_with_the_figures() -> None:
    def tried(runtime: str, outputs: list[list[float]]) -> Trial:
        return Trial(
            runtime=runtime,
            version="1",
            generated=np.asarray(outputs, np.float32),
            given=None,
            takes_batches=True,
        )

    spec, bounds = OutputSpec(size=2, dtype="float32"), ParityBounds(difference=0.3)
    first = tried("litert", [[0, 1], [3, 0]])
    parities = require_parity((first, tried("other", [[0, 1], [3, 0.25]])), spec, bounds)
    assert [parity.largest_difference for parity in parities] == [0, 0.25]
    with pytest.raises(
        GateError,
        match=r"litert 1 and other 1 disagree: logits differ by up to 3 "
        r"\(tolerance 0\.3, beyond it 1 of 2 images\)",
    ):
        require_parity((first, tried("other", [[0, 1], [0, 0.25]])), spec, bounds)


JUNK = {
    b"": "is empty",
    b"PK\3\4 and so on": "is a zip archive",
    b"\x1f\x8b\x08": "is a gzip archive",
    b"\x89HDF\r\n\x1a\n": "is an HDF5 file",
    b"<!DOCTYPE html><title>404</title>": "is an HTML or XML page",
    b"version https://git-lfs and more": "git lfs pull",
    b'{"a": 1}': "is a JSON file",
    b"hello, this is text": "is a text file: name the model file itself",
    b"\x00\x00\x00\x1c3LFT\0\0\0\0": "little-endian",
    b"\x00\x00\x00\x08TFL3" + bytes(40): "big-endian",
    b"\x1c\0\0\0TFL3" + bytes(10): "truncated or damaged",
    b"\x08\x08\x12\x02me": r"not an ONNX model \(no graph\)|\(no TFL3 identifier\)",
}


@pytest.mark.parametrize("suffix", [".tflite", ".onnx"])
@pytest.mark.parametrize("content", JUNK, ids=lambda content: repr(content[:12]))
def test_what_is_no_model_is_told_by_name(content: bytes, suffix: str) -> None:
    with pytest.raises(FileFormatError, match=JUNK[content]):
        structure_of(Path(f"model{suffix}"), content)


@pytest.mark.parametrize("name", ["int8.tflite", "fp32.onnx"])
def test_a_model_cut_short_is_seen_without_a_runtime(name: str, cut: Cut) -> None:
    path = cut(name)
    content = path.read_bytes()
    assert structure_of(path, content).weighted_layers > 3
    for length in (9, 100, len(content) // 3, len(content) // 2, len(content) - 200):
        with pytest.raises(FileFormatError, match="copy it again"):
            structure_of(path, content[:length])


def test_an_archive_of_labels_behind_a_model_is_left_out(cut: Cut) -> None:
    content = cut("int8.tflite").read_bytes()
    packed = io.BytesIO(content)
    packed.seek(0, io.SEEK_END)
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr("labels.txt", "a\nb\n")
    assert structure_of(Path("m.tflite"), packed.getvalue()).model == content


def test_the_structure_tells_8_bit_models_from_others(cut: Cut) -> None:
    found = {
        name: structure_of(path := cut(name), path.read_bytes()).eight_bit
        for name in ("fp32.tflite", "fp16.tflite", "int8.tflite", "fp32.onnx", "int8.onnx")
    }
    assert found == {name: name.startswith("int8") for name in found}


def stored_elsewhere() -> onnx.TensorProto:
    tensor = numpy_helper.from_array(np.ones((192, 4), np.float32), "W")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="w.bin")
    return tensor


def sparse() -> onnx.SparseTensorProto:
    return onnx.SparseTensorProto(values=stored_elsewhere(), dims=[192, 4])


def constant(**attributes: object) -> onnx.NodeProto:
    return node("Constant", "", "W", **attributes)


def choice(depth: int, inner: onnx.NodeProto) -> onnx.NodeProto:
    """Return an operator that holds `inner` in so many graphs."""
    for _ in range(depth):
        inner = node("If", "c", "W", then_branch=helper.make_graph([inner], "g", [], []))
    return inner


PLACES: dict[str, Callable[[onnx.ModelProto], object]] = {
    "initializer": lambda m: m.graph.initializer.append(stored_elsewhere()),
    "sparse initializer": lambda m: m.graph.sparse_initializer.append(sparse()),
    "constant": lambda m: m.graph.node.append(constant(value=stored_elsewhere())),
    "constants": lambda m: m.graph.node.append(constant(values=[stored_elsewhere()])),
    "sparse constant": lambda m: m.graph.node.append(constant(sparse_value=sparse())),
    "sparse constants": lambda m: m.graph.node.append(constant(sparse_values=[sparse()])),
    "branch": lambda m: m.graph.node.append(choice(3, constant(value=stored_elsewhere()))),
    "branches": lambda m: m.graph.node.append(
        constant(branches=[helper.make_graph([], "g", [], [], [stored_elsewhere()])])
    ),
    "function": lambda m: m.functions.add().node.append(constant(value=stored_elsewhere())),
    "default of a function": lambda m: m.functions.add().attribute_proto.append(
        helper.make_attribute("value", stored_elsewhere())
    ),
    "training": lambda m: m.training_info.add().algorithm.initializer.append(stored_elsewhere()),
}


@pytest.mark.parametrize("place", PLACES)
def test_weights_in_another_file_are_seen_wherever_they_hide(place: str, tmp_path: Path) -> None:
    path = made(tmp_path / "m.onnx", FLATTEN, MULTIPLY)
    model = onnx.load(path)
    assert structure_of(path, path.read_bytes()).weighted_layers == 1
    PLACES[place](model)
    assert structure_of(path, model.SerializeToString()).external


@pytest.mark.medium
def test_weights_beside_a_model_are_put_into_the_copy(tmp_path: Path) -> None:
    whole = onnx.load(made(tmp_path / "whole.onnx", FLATTEN, MULTIPLY))
    path, beside = tmp_path / "m.onnx", tmp_path / "m.onnx.data"
    options = {"save_as_external_data": True, "size_threshold": 0, "location": beside.name}
    onnx.save(onnx.load(tmp_path / "whole.onnx"), path, **options)
    admission = admitted(path)
    beside.unlink()
    session = onnxruntime.InferenceSession(whole.SerializeToString())
    images = generated_images(admission.stamp.input.shape)
    expected = [session.run(None, {"x": image[None].astype(np.float32)})[0][0] for image in images]
    with Classifier.load(admission.path) as found:
        np.testing.assert_allclose(found.logits(images), expected, rtol=1e-5)
    with pytest.raises(HemlineError) as caught:
        admitted(path)
    assert described(caught.value) == (
        f"{path} reads weights from 'm.onnx.data', which is missing; copy that file into the "
        "model's folder"
    )


def test_weights_elsewhere_that_the_parser_leaves_there_are_refused(tmp_path: Path) -> None:
    path = made(tmp_path / "m.onnx", FLATTEN, MULTIPLY)
    model = onnx.load(path)
    PLACES["training"](model)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(FileFormatError, match="stores its weights in another file: save it as one"):
        read_model(path)


@pytest.mark.parametrize("steps", [256, 255])
def test_probabilities_that_were_dequantized_inside_are_known_by_their_steps(steps: int) -> None:
    counts = np.array([[100, 100, 55], [steps - 1, 0, 1], [85, 85, 86]])
    float_output = OutputSpec(size=3, dtype="float32")
    assert gives((counts / steps).astype(np.float32), float_output, WHERE) == "probabilities"
    with pytest.raises(UsageError, match="logits or probabilities"):
        gives((counts / 260).astype(np.float32), float_output, WHERE)


def test_a_size_is_for_models_that_leave_it_open(tmp_path: Path) -> None:
    path = made(tmp_path / "m.onnx", FLATTEN, MULTIPLY)
    result = verify(path, "--labels", "a,b,c,d", "--pixels", "0..1", "--size", "9")
    assert str(result.exception) == f"{path} accepts only images of 8 × 8"


def test_graphs_nested_deeper_than_any_parser_goes_are_refused(tmp_path: Path) -> None:
    path = made(tmp_path / "m.onnx", FLATTEN, MULTIPLY)

    def nested(depth: int) -> bytes:
        graph = b""
        for _ in range(depth):  # by hand: protobuf itself stops at 100 messages
            graph = wrapped(1, wrapped(4, b"If") + wrapped(5, wrapped(6, graph)))
        return path.read_bytes() + wrapped(7, graph)

    assert structure_of(path, nested(20)).weighted_layers == 1
    with pytest.raises(FileFormatError, match="truncated or damaged"):
        structure_of(path, nested(2000))


def wrapped(number: int, payload: bytes) -> bytes:
    """Return a length-delimited field of a protobuf message."""
    size, length = len(payload), b""
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + payload


def image(*shape: int, dtype: str = "float32", **fields: float) -> TensorFacts:
    return TensorFacts(name="x", shape=shape, dtype=dtype, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (Description(version="1", inputs=(image(1), image(1))), r"has 2 inputs \(x, x\)"),
        (Description(version="1", inputs=(image(1),)), r"has 0 outputs \(none\)"),
        (Description(version="1", inputs=(image(1, 28, 28),)), r"accepts \(1, 28, 28\)"),
        (Description(version="1", inputs=(image(8, 28, 28, 1),)), "accepts 8 images at once"),
        (Description(version="1", inputs=(image(1, -1, -1, 3),)), r"accepts \(1, any, any, 3\)"),
        (Description(version="1", inputs=(image(1, 28, 28, 5),)), "channels 1 or 3"),
    ],
)
def test_what_takes_no_images_is_refused(found: Description, message: str) -> None:
    outputs = () if "outputs" in message else (image(1, 4),)
    with pytest.raises(FileFormatError, match=message):
        takes_channels_first(replace(found, outputs=outputs), WHERE)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (image(1, 8, 8, 4), r"returns \(1, 8, 8, 4\)"),
        (image(-1, 1), "one value per image"),
        (image(1, 5), "has 5 classes, but 4 labels"),
        (image(1, 4, dtype="int64"), "returns int64"),
        (image(1, 4, dtype="uint8"), "without saying what a step is worth"),
    ],
)
def test_what_gives_no_classes_is_refused(tensor: TensorFacts, message: str) -> None:
    with pytest.raises(HemlineError, match=message):
        output_spec(tensor, 4, "tflite", WHERE)


@pytest.mark.parametrize(
    ("scale", "zero_point", "dtype", "low", "high"),
    [
        (1.0, -128, "int8", 0, 255),
        (1 / 255, -128, "int8", 0, 1),
        (1 / 256, 0, "uint8", 0, 1),
        (2 / 255, -1, "int8", -1, 1),
        (0.0078125, 128, "uint8", -1, 1),
        (0.0, 0, "uint8", 0, 255),
        (0.0, 0, "int8", -128, 127),
    ],
)
def test_an_8_bit_input_says_itself_what_pixels_become(
    scale: float, zero_point: int, dtype: str, low: float, high: float
) -> None:
    tensor = image(1, 8, 8, 3, dtype=dtype, scale=scale, zero_point=zero_point)
    spec = input_spec(tensor, None, "tflite", WHERE)
    assert (0 - spec.mean) / spec.std == pytest.approx(low)
    assert (255 - spec.mean) / spec.std == pytest.approx(high)
    stored = pixel_tables(spec)[0].astype(int)
    # the whole range of the dtype is used, up to the two steps that a maker may have rounded
    assert abs(stored[0] - np.iinfo(dtype).min) <= 2
    assert abs(stored[255] - np.iinfo(dtype).max) <= 2


def test_an_input_that_does_not_say_it_must_be_told() -> None:
    odd = image(1, 8, 8, 3, dtype="int8", scale=0.0187, zero_point=-14)  # about −2.1 … 2.6
    for tensor in (image(1, 8, 8, 3), odd):
        with pytest.raises(UsageError, match="its pixel range is unknown") as caught:
            input_spec(tensor, None, "tflite", WHERE)
        assert "specify it with --pixels 0..255" in described(caught.value)
    told = input_spec(odd, PixelScale(mean=114, std=57), "tflite", WHERE)
    assert (told.mean, told.std, told.scale) == (114, 57, 0.0187)
    with pytest.raises(UsageError, match="would be clipped"):
        input_spec(odd, PixelScale.of_range(0, 255), "tflite", WHERE)
    with pytest.raises(UsageError, match="would be nearly identical"):
        input_spec(odd, PixelScale.of_range(0, 1), "tflite", WHERE)
    with pytest.raises(FileFormatError, match="accepts string"):
        input_spec(image(1, 8, 8, 3, dtype="string"), None, "tflite", WHERE)


@pytest.mark.parametrize("pixels", ["0-1", "1..0", "a..b", "0..inf", ""])
def test_pixels_that_are_no_range_are_refused(pixels: str) -> None:
    with pytest.raises(UsageError, match="a pixel range (is LOW..HIGH|must increase)"):
        parse_pixels(pixels, None, None)


def test_pixels_are_said_in_one_way() -> None:
    assert parse_pixels(None, None, None) is None
    assert parse_pixels("0..1", None, None) == parse_pixels(None, "0", "255")
    assert parse_pixels("-1..1", None, None) == PixelScale(mean=127.5, std=127.5)
    with pytest.raises(UsageError, match="go together"):
        parse_pixels(None, "3.0", None)
    with pytest.raises(UsageError, match="give one of them"):
        parse_pixels("0..1", "0.0", "1.0")
    with pytest.raises(UsageError, match="above 0"):
        parse_pixels(None, "0.0", "0.0")


def test_means_and_deviations_are_of_pixels_up_to_1_or_up_to_255() -> None:
    unit = parse_pixels(None, "0.485,0.456,0.406", "0.229,0.224,0.225")
    assert unit is not None
    assert unit.mean == pytest.approx((123.675, 116.28, 103.53))
    assert unit.std == pytest.approx((58.395, 57.12, 57.375))
    assert parse_pixels(None, "0.5", "0.5") == parse_pixels(None, "127.5", "127.5")
    caffe = parse_pixels(None, "103.939,116.779,123.68", "1")
    assert caffe == PixelScale(mean=(103.939, 116.779, 123.68), std=1.0)
    with pytest.raises(UsageError, match="are on different scales"):
        parse_pixels(None, "123.7", "0.229")
    with pytest.raises(UsageError, match="one for each of 3 channels, not 1,2"):
        parse_pixels(None, "1,2", "1")
    with pytest.raises(UsageError, match="is a number or three"):
        parse_pixels(None, "mean", "1")


def test_labels_come_from_lines_or_commas(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    for text in ("a\nb c\n", "a, b c\n", "\ufeffa\r\nb c\r\n\n"):
        path.write_text(text, encoding="utf-8")
        assert parse_labels(str(path)) == ("a", "b c")
    assert parse_labels("a,b c") == ("a", "b c")
    assert parse_labels("a,b,a,a") == ("a", "b", "a (2)", "a (3)")  # a warning, not an error
    many = tuple(f"class {number}" for number in range(1000))  # too long for the name of a file
    assert parse_labels(",".join(many)) == many
    path.write_text("tench, Tinca\ngoldfish, Carassius\n")
    assert parse_labels(str(path)) == ("tench, Tinca", "goldfish, Carassius")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("a\n\nb\n", "name 2 is empty"),
        ("alone", "contains only one class"),
        ("\xff\xfe", "is not UTF-8 text: write"),
    ],
)
def test_labels_that_are_none_are_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_bytes(text.encode("latin-1"))
    with pytest.raises(HemlineError, match=message):
        parse_labels(str(tmp_path / "labels.txt"))
    with pytest.raises(UsageError, match="cannot read"):
        parse_labels(str(tmp_path / "none.txt"))


def test_logits_are_told_from_probabilities() -> None:
    real = OutputSpec(size=3, dtype="float32")
    steps = OutputSpec(size=3, dtype="uint8", scale=1 / 256)
    for rows in ([[0.2, 0.3, 0.5]], [[0.0, 0.0, 1.0]]):
        assert gives(np.asarray(rows, np.float32), real, WHERE) == "probabilities"
    for rows in ([[0.2, 0.3, -0.5]], [[0.2, 0.3, 1.5]], [[0.2, 0.3, 0.5], [-4, 0, 5]]):
        assert gives(np.asarray(rows, np.float32), real, WHERE) == "logits"
    rounded = np.asarray([[85, 85, 85], [255, 0, 0]], np.float32) / 256
    assert gives(rounded, steps, WHERE) == "probabilities"
    with pytest.raises(UsageError, match=r"sum to 0\.99\d* … 0\.99") as caught:
        gives(rounded * 256 / 257, real, WHERE)  # of no step that a softmax has
    assert "--output logits or --output probabilities" in described(caught.value)


def test_images_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    spec = InputSpec(height=4, width=4, channels=1, dtype="uint8")

    def saved(name: str, array: np.ndarray) -> Path:
        np.save(tmp_path / name, array)
        return tmp_path / name

    fitting = saved("i.npy", np.zeros((3, 4, 4), np.uint8))
    assert read_user_classes(fitting, None, spec, 2) is None
    for array in (np.zeros((3, 4, 4)), np.zeros((3, 5, 4), np.uint8), np.zeros((0, 4, 4), "u1")):
        with pytest.raises(DataError, match=r"the model needs uint8 images of 4 × 4 × 1"):
            read_user_classes(saved("bad.npy", array), None, spec, 2)
    for known in (np.zeros(3), np.zeros(2, int), np.array([0, 1, 2]), np.array([0, -1, 1])):
        with pytest.raises(DataError, match="one integer for each|has classes from"):
            read_user_classes(fitting, saved("bad.npy", known), spec, 2)
    with pytest.raises(UsageError, match="classes without images") as caught:
        read_user_classes(None, fitting, spec, 2)
    assert "give both --images and --expected" in described(caught.value)
    (tmp_path / "no.npy").write_bytes(b"\x93NUMPY\1\0")
    with pytest.raises(DataError, match="cannot read"):
        read_user_classes(tmp_path / "no.npy", None, spec, 2)


def test_nothing_is_overwritten(cut: Cut, manifest: Manifest) -> None:
    path = cut("int8.tflite")
    (path.parent / "int8-admitted.tflite").touch()
    with pytest.raises(UsageError, match="exists already") as caught:
        admitted(path, manifest.labels)
    assert described(caught.value).endswith("remove it, or name another file with -o")
    with pytest.raises(UsageError, match=r"must end in \.tflite"):
        admitted(path, manifest.labels, output=path.with_suffix(".onnx"))


def wide(path: Path, classes: int, *, factor: float = 1.0, size: int = 8) -> Path:
    """Write a model of so many classes that all get the brightest pixel times `factor`."""
    nodes = (
        node("ReduceMax", "x", "f", axes=[1, 2, 3], keepdims=0),
        node("Constant", "", "s", value_float=factor),
        node("Mul", "f s", "m"),
        node("Constant", "", "t", value_ints=[1, classes]),
        node("Expand", "m t", "y"),
    )
    return made(path, *nodes, takes=(1, size, size, 3), gives=(1, classes))


@pytest.mark.medium
def test_labels_that_no_stamp_can_hold_are_refused_before_any_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(trial, "JobProcess")
    labels = tuple(f"{number:030}" for number in range(26_000))
    with pytest.raises(UsageError, match=r"would not fit in 1 MB: .*26,000 labels") as caught:
        admitted(wide(tmp_path / "m.onnx", len(labels)), labels)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


@pytest.mark.medium
def test_a_stamp_that_long_answers_make_too_large_is_not_written(tmp_path: Path) -> None:
    labels = tuple(map(str, range(25_000)))
    with pytest.raises(UsageError, match=r"would not fit in 1 MB: .*25,000 labels"):
        admitted(wide(tmp_path / "m.onnx", len(labels), factor=1e30), labels, gives="logits")
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


@pytest.mark.slow
def test_large_images_of_noise_are_left_out_of_the_stamp(tmp_path: Path) -> None:
    stamp = admitted(wide(tmp_path / "m.onnx", 4, size=700), gives="logits").stamp
    drawn = generated_images((700, 700, 3))
    found = [vector.image((700, 700, 3)) for vector in stamp.test_vectors]
    np.testing.assert_array_equal(found, drawn[[0, 11]])  # 12 and more are noise


def test_a_foreign_file_without_labels_is_refused_with_the_command(cut: Cut) -> None:
    path = cut("int8.tflite")
    result = verify(path)
    assert isinstance(result.exception, UnstampedError)
    assert f"`hemline verify {path} --labels LABELS`" in described(result.exception)


def test_options_of_foreign_files_are_for_these_alone(bundle: Path) -> None:
    for target in (bundle, bundle / "int8.tflite"):
        result = verify(target, "--labels", "a,b")
        assert isinstance(result.exception, UsageError)
        assert "already stamped" in str(result.exception) or "a bundle" in str(result.exception)


@pytest.mark.medium
@pytest.mark.parametrize("name", ["int8.tflite", "int8.onnx"])
def test_a_stamped_file_is_held_to_its_test_images(name: str, bundle: Path, tmp_path: Path) -> None:
    result = verify(bundle / name)
    assert result.exit_code == 0, result.exception
    assert {line.rpartition(": ")[2] for line in result.stdout.splitlines()} == {"passed"}


@pytest.mark.medium
def test_a_stamped_file_that_answers_otherwise_stops_with_exit_code_3(
    bundle: Path, tmp_path: Path
) -> None:
    file = read_stamped(bundle / "int8.tflite")
    vector = file.stamp.test_vectors[0]
    wrong = TestVector(pixels=vector.pixels, logits=tuple(-value for value in vector.logits))
    path = tmp_path / "int8.tflite"
    path.write_bytes(stamp_tflite(file.model, replace(file.stamp, test_vectors=(wrong,))))
    result = verify(path, "--json")
    assert isinstance(result.exception, GateError)
    verdicts = [json.loads(line) for line in result.stdout.splitlines()]
    assert {verdict["status"] for verdict in verdicts} == {"failed"}
    assert all("logits differ by" in verdict["reason"] for verdict in verdicts)
