"""Models that were made elsewhere: imported, exported, verified, classified."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from click.testing import CliRunner, Result
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from hemline import api
from hemline.cli import cli
from hemline.contract import schema
from hemline.contract.card import Card
from hemline.contract.checkpoint import read_card
from hemline.contract.manifest import read_manifest
from hemline.errors import HemlineError
from hemline.remedies import described

SIDE, CLASSES = 8, ("dark", "green", "red")


OTHER_KINDS = ("h5", "saved-model", "tflite")


def images_of(count: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Return noisy images (n, 8, 8, 3) and their classes: dark, green or red."""
    random = np.random.default_rng(1)
    classes = np.arange(count, dtype=np.uint8) % 3
    level = np.array([[30, 30, 30], [40, 200, 40], [200, 40, 40]])[classes]
    noise = random.integers(-25, 26, (count, SIDE, SIDE, 3))
    return (level[:, None, None] + noise).clip(0, 255).astype(np.uint8), classes


def onnx_model(
    path: Path, *, low: float = 0.0, high: float = 1.0, bgr: bool = False, softmaxes: int = 1
) -> Path:
    """Write a classifier of `images_of` that takes (n, 3, 8, 8) of low … high."""
    mean = np.full((3, 3, 1, 1), 0, np.float32)
    mean[[0, 1, 2], [2, 1, 0] if bgr else [0, 1, 2]] = 1
    span = high - low
    # logits: dark −, green and red by how much brighter they are than the other
    weights = 20 / span * np.array([[-1, -1, 0], [-1, 1, 0], [1, -1, 0]], np.float32)
    bias = np.array([6.0, 0.0, 0.0], np.float32) - low * weights.sum(axis=1)
    nodes = [
        helper.make_node("Conv", ["image", "kernel"], ["convolved"], name="convolution"),
        helper.make_node("GlobalAveragePool", ["convolved"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights", "bias"], ["scores"], transB=1),
        *(
            helper.make_node("Softmax", [name], [f"softmax_{at}"], axis=1)
            for at, name in enumerate(["scores", *(f"softmax_{at}" for at in range(softmaxes - 1))])
        ),
        helper.make_node("Identity", [f"softmax_{softmaxes - 1}"], ["probabilities"]),
    ]
    constants = {"kernel": mean, "weights": weights, "bias": bias.astype(np.float32)}
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    proto.ir_version = 8
    onnx.save(proto, path)
    return path


def folders(root: Path, count: int = 90) -> Path:
    """Write images as PNG files into a folder for each class."""
    for at, (image, label) in enumerate(zip(*images_of(count), strict=True)):
        folder = root / CLASSES[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{at}.png")
    return root


def hemline(*arguments: str | Path) -> Result:
    """Run a command; its exit code for a HemlineError is that of the command line."""
    return CliRunner().invoke(cli, [str(each) for each in arguments])


def failure(result: Result) -> str:
    """Return the line that the command line prints for an error."""
    assert isinstance(result.exception, HemlineError), result.exception
    return described(result.exception)


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_an_onnx_file_becomes_a_checkpoint(inside: Path) -> None:
    result = hemline("import", onnx_model(Path("fruit.onnx")), "--labels", ",".join(CLASSES))
    assert result.exit_code == 0, result.output
    card = read_card(inside / "checkpoints" / "fruit")
    assert card.model.source == "onnx"
    assert card.model.labels == CLASSES
    assert card.model.shape == (SIDE, SIDE, 3)
    assert card.model.parameters == 9 + 9 + 3  # two kernels and a bias
    assert card.model.macs == 64 * 9 + 9
    assert len(card.model.test_vectors) == 2
    assert card.training is None
    assert card.imported is not None
    assert (card.imported.kind, card.imported.file) == ("onnx", "fruit.onnx")
    assert card.imported.largest_difference <= 1e-5
    assert card.imported.unconfirmed == ("pixel range", "channel order")
    document = {**schema.to_document(card), "schema": 4}  # before there was an order of channels
    del document["imported"]["bgr"]
    assert schema.from_document(Card, document, where="card.json") == card


@pytest.mark.medium
def test_an_imported_model_is_exported_verified_and_classifies(inside: Path) -> None:
    model, data = onnx_model(Path("fruit.onnx")), folders(inside / "photos")
    result = hemline("export", model, "--data", data)
    assert result.exit_code == 0, result.output
    bundle = inside / "artifacts" / "fruit"
    manifest = read_manifest(bundle)
    assert manifest.source == "onnx"
    assert manifest.labels == CLASSES  # the names of the folders
    assert len(manifest.artifacts) == 6
    for artifact in manifest.artifacts:
        for verdict in artifact.verdicts:
            assert verdict.status == "passed", (artifact.name, verdict)
            score = verdict.score("test")
            assert score is not None
            assert score.accuracy == 1
    picture = next((data / "red").iterdir())
    for name in ("int8.tflite", "int8.onnx"):
        shown = hemline("classify", bundle / name, picture)
        assert "red" in shown.output.splitlines()[0], shown.output
    assert hemline("verify", bundle).exit_code == 0
    assert "source" in hemline("table", bundle).output
    shown = hemline("evaluate", inside / "checkpoints" / "fruit", "--data", data, "--json")
    assert json.loads(shown.stdout)["results"][0]["correct"] == 90


def test_labelled_images_choose_the_pixel_range(inside: Path) -> None:
    model, data = onnx_model(Path("fruit.onnx"), low=-1), folders(inside / "photos")
    result = hemline("import", model, "--data", data)
    assert result.exit_code == 0, result.output
    imported = read_card(inside / "checkpoints" / "fruit").imported
    assert imported is not None
    assert (imported.mean, imported.std) == ((127.5,), (127.5,))
    assert imported.pixels_confirmed == "images"


@pytest.mark.medium
def test_without_data_the_float_schemes_are_exported_and_int8_says_what_it_needs(
    inside: Path,
) -> None:
    result = hemline("export", onnx_model(Path("fruit.onnx")), "--pixels", "0..1")
    assert result.exit_code == 0, result.output
    assert "int8.tflite, int8.onnx cannot be made: calibration needs images" in result.stderr
    manifest = read_manifest(inside / "artifacts" / "fruit")
    names = [artifact.name for artifact in manifest.artifacts]
    assert names == ["fp32.tflite", "fp16.tflite", "dynamic.tflite", "fp32.onnx"]
    for artifact in manifest.artifacts:
        assert {verdict.status for verdict in artifact.verdicts} == {"passed"}
    error = failure(hemline("export", "fruit.onnx", "--pixels", "0..1", "--scheme", "int8"))
    advice = "name yours with --data, or generate some with --calibrator synthetic"
    assert error.endswith(f"calibration needs images; {advice}")


@pytest.mark.slow
def test_8_bit_files_are_made_without_data_when_asked(inside: Path) -> None:
    onnx_model(Path("fruit.onnx"))
    options = ("--pixels", "0..1", "--scheme", "int8", "--calibrator", "synthetic")
    result = hemline("export", "fruit.onnx", *options, "--calibration-images", "32")
    assert result.exit_code == 0, result.output
    manifest = read_manifest(inside / "artifacts" / "fruit")
    assert [artifact.name for artifact in manifest.artifacts] == ["int8.tflite", "int8.onnx"]
    shown = hemline("plan", "artifacts/fruit/int8.onnx").stdout
    assert "int8.onnx: calibrator synthetic on 32 images made without data" in shown


@pytest.mark.medium
def test_images_without_labels_give_agreement_and_no_accuracy(inside: Path) -> None:
    flat = inside / "flat"
    flat.mkdir()
    for at, image in enumerate(images_of(60)[0]):
        Image.fromarray(image).save(flat / f"{at}.png")
    words = ("--pixels", "0..1", "--scheme", "int8.onnx")
    result = hemline("export", onnx_model(Path("fruit.onnx")), *words, "--data", flat)
    assert result.exit_code == 0, result.output
    assert "agreement 100.00 %" in result.stderr
    assert "accuracy" not in result.stderr
    manifest = read_manifest(inside / "artifacts" / "fruit")
    assert [each.name for each in manifest.artifacts] == ["int8.onnx"]
    verdicts = [verdict for artifact in manifest.artifacts for verdict in artifact.verdicts]
    assert all(verdict.images == 9 and verdict.scores == () for verdict in verdicts)
    np.savez(inside / "flat.npz", x=images_of(60)[0])
    again = hemline("export", "fruit.onnx", *words, "--data", "flat.npz", "-o", "artifacts/npz")
    assert again.exit_code == 0, again.output
    assert len(read_manifest(inside / "artifacts" / "npz").artifacts) == 1


@pytest.mark.medium
def test_a_second_export_changes_nothing_and_needs_no_tensorflow(inside: Path) -> None:
    model, data = onnx_model(Path("fruit.onnx")), folders(inside / "photos", 30)
    assert hemline("export", model, "--data", data, "--scheme", "int8.onnx").exit_code == 0
    watched = [*(inside / "checkpoints/fruit").iterdir(), inside / "artifacts/fruit/manifest.json"]
    before = [path.stat().st_mtime_ns for path in watched]
    code = (
        "import sys\nfrom hemline.cli import cli\n"
        "cli.main(sys.argv[1:], standalone_mode=False)\n"
        "assert 'tensorflow' not in sys.modules"
    )
    words = ["export", str(model), "--data", str(data), "--scheme", "int8.onnx"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [path.stat().st_mtime_ns for path in watched] == before


def test_a_changed_file_or_option_is_imported_again(inside: Path) -> None:
    model = onnx_model(Path("fruit.onnx"))
    assert "import fruit.onnx" in hemline("import", model).stderr
    assert "import fruit.onnx" not in hemline("import", model).stderr
    assert "import fruit.onnx" in hemline("import", model, "--pixels", "-1..1").stderr
    onnx_model(model, low=-1)
    assert "import fruit.onnx" in hemline("import", model, "--pixels", "-1..1").stderr


def test_an_export_without_data_does_not_replace_one_with_images(inside: Path) -> None:
    model, data = onnx_model(Path("fruit.onnx")), folders(inside / "photos")
    options = ("--pixels", "0..1", "--labels", ",".join(CLASSES), "--scheme", "fp32.onnx")
    assert hemline("export", model, *options, "--data", data).exit_code == 0
    assert failure(hemline("export", model, *options)) == (
        "artifacts/fruit was exported with the images photos; name them with --data, or another "
        "folder with -o"
    )


def test_classes_that_the_model_does_not_have_are_refused(inside: Path) -> None:
    model, data = onnx_model(Path("fruit.onnx")), folders(inside / "photos")
    result = hemline("export", model, "--labels", "a,b,c", "--data", data)
    assert "dark, green, red cannot be matched" in failure(result)


@pytest.mark.medium
def test_a_model_file_is_exported_from_python_with_its_labels_and_pixels(inside: Path) -> None:
    model, data = onnx_model(Path("fruit.onnx"), low=-1.0), folders(inside / "photos")
    Path("labels.txt").write_text("\n".join(CLASSES))
    exported = api.export(model, labels="labels.txt", pixels=(-1, 1), data=data, schemes=["fp32"])
    card = read_card(exported.checkpoint)
    assert card.model.labels == CLASSES
    assert card.imported is not None
    assert (card.imported.mean, card.imported.std) == ((127.5,), (127.5,))


def test_repeated_labels_are_told_apart_with_a_warning(
    inside: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Path("names.txt").write_text("crane\nfox\ncrane\n")
    result = hemline("import", onnx_model(Path("fruit.onnx")), "--labels", "names.txt")
    assert result.exit_code == 0, result.exception
    assert read_card(inside / "checkpoints/fruit").model.labels == ("crane", "fox", "crane (2)")
    assert "'crane' is repeated" in caplog.text


def test_mistakes_of_users_are_one_line(inside: Path) -> None:
    model = onnx_model(Path("fruit.onnx"))
    Path("other.txt").write_text("no model")
    Path("empty").mkdir()
    cases = {
        ("import", model, "--labels", "a,b"): "fruit.onnx has 3 classes, but 2 labels are given",
        ("export", "friut.onnx"): "friut.onnx does not exist: did you mean 'fruit.onnx'?",
        ("export", "hem-5k"): "unknown model 'hem-5k': did you mean 'hem-50k'?",
        ("export", "other.txt"): "other.txt cannot be imported: it is not a .keras, "
        ".h5, .tflite or .onnx file, or a SavedModel folder",
        ("export", "empty"): "empty is neither a checkpoint nor a SavedModel (no saved_model.pb)",
        ("export", "cnn", "--pixels", "0..1"): "cnn is not imported: omit the import options",
        ("export", "cnn", "--model", "mlp"): "cnn is already named: omit --model and --checkpoint",
        ("import", model, "--mean", "1"): "--mean and --std go together, on the same scale",
        ("import", model, "--pixels", "1..0"): "a pixel range must increase, '1..0' does not",
    }
    for words, message in cases.items():
        result = hemline(*words)
        assert failure(result) == message
        assert getattr(result.exception, "exit_code", 0) == 2


def keras_model() -> Any:
    """Return a classifier of `images_of` that takes pixels 0 … 255."""
    import keras

    keras.utils.set_random_seed(1)
    image = keras.Input((SIDE, SIDE, 3))
    features = keras.layers.Rescaling(1 / 255)(image)
    features = keras.layers.Conv2D(6, 3, activation="relu")(features)
    features = keras.layers.BatchNormalization()(features)
    features = keras.layers.GlobalAveragePooling2D()(features)
    return keras.Model(image, keras.layers.Dense(3, activation="softmax")(features))


def saved(kind: str, folder: Path) -> Path:
    """Write a Keras model in one of the forms that people have."""
    model = keras_model()
    if kind in ("keras", "h5"):
        model.save(folder / f"net.{kind}")
        return folder / f"net.{kind}"
    model.export(folder / "net", verbose=False)
    if kind == "saved-model":
        return folder / "net"
    import tensorflow as tf

    content = tf.lite.TFLiteConverter.from_saved_model(str(folder / "net")).convert()
    (folder / "net.tflite").write_bytes(content)
    return folder / "net.tflite"


# the others differ in how they are read only, which test_importers.py does for each kind
@pytest.mark.medium
@pytest.mark.parametrize(
    "kind", ["keras", *(pytest.param(each, marks=pytest.mark.slow) for each in OTHER_KINDS)]
)
def test_every_kind_of_file_is_imported_and_exported(kind: str, inside: Path) -> None:
    data = folders(inside / "photos")
    model = saved(kind, inside)
    result = hemline(
        "export", model, "--pixels", "0..255", "--data", data, "--scheme", "int8",
        "--scheme", "fp32"
    )  # fmt: skip
    assert result.exit_code == 0, (result.output, result.exception)
    imported = read_card(inside / "checkpoints" / "net").imported
    assert imported is not None
    assert imported.kind == ("keras" if kind == "h5" else kind)
    assert imported.largest_difference <= 1e-5
    manifest = read_manifest(inside / "artifacts" / "net")
    names = {artifact.name for artifact in manifest.artifacts}
    assert names == {"int8.tflite", "int8.onnx", "fp32.tflite", "fp32.onnx"}


@pytest.mark.parametrize(
    ("low", "options", "message"),
    [
        (-1.0, ("--pixels", "0..1"), "accuracy 100.0 % instead of"),
        (0.0, ("--mean", "220", "--std", "255"), "accuracy 100.0 % instead of"),
        (0.0, ("--labels", "green,dark,red"), "with the labels in a different order"),
    ],
)
def test_labelled_images_show_mistakes(
    low: float, options: tuple[str, ...], message: str, inside: Path
) -> None:
    model, data = onnx_model(Path("fruit.onnx"), low=low), folders(inside / "photos")
    assert message in failure(hemline("import", model, *options, "--data", data))
    assert not (inside / "checkpoints" / "fruit" / "card.json").exists()


def test_labelled_images_that_fit_no_order_of_the_labels_leave_all_unconfirmed(
    inside: Path,
) -> None:
    images, classes = images_of(90)
    mixed = np.random.default_rng(5).permutation(classes)
    np.savez("mixed.npz", x=images, y=mixed)
    words = ("import", onnx_model(Path("fruit.onnx")), "--labels", ",".join(CLASSES))
    words = (*words, "--pixels", "0..1", "--channel-order", "rgb")
    assert "not confirmed" not in hemline(*words).stdout  # the user said it
    result = hemline(*words, "--data", "mixed.npz")
    assert result.exit_code == 0, result.exception
    assert "is not clearly better than guessing (33.3 %); check --pixels" in result.stderr
    assert "not confirmed: pixel range, channel order, order of the labels" in result.stdout


@pytest.mark.medium
def test_images_that_come_after_the_import_confirm_it_or_refuse_it(inside: Path) -> None:
    images, classes = images_of(90)
    np.savez("fruit.npz", x=images, y=classes)
    model, checkpoint = onnx_model(Path("fruit.onnx")), inside / "checkpoints" / "fruit"
    words = ("import", model, "--labels", ",".join(CLASSES), "--channel-order", "rgb", "--pixels")
    export = ("export", "checkpoints/fruit", "--data", "fruit.npz", "--scheme", "fp32.onnx")
    assert hemline(*words, "0..255").exit_code == 0
    error = failure(hemline(*export))
    assert error.startswith("checkpoints/fruit (import fruit.onnx again): accuracy ")
    assert error.endswith("with pixel range 0 … 1; specify --pixels 0..1")
    assert not (inside / "artifacts" / "fruit").exists()
    assert hemline(*words, "0..1").exit_code == 0
    imported = read_card(checkpoint).imported
    assert imported is not None
    assert imported.pixels_confirmed == "user"
    assert hemline(*export).exit_code == 0
    imported = read_card(checkpoint).imported
    assert imported is not None
    assert imported.proven
    card = (checkpoint / "card.json").read_bytes()
    assert hemline(*export).exit_code == 0
    assert (checkpoint / "card.json").read_bytes() == card


@pytest.mark.medium
def test_a_model_of_blue_green_and_red_is_found_and_imported(inside: Path) -> None:
    model, data = onnx_model(Path("fruit.onnx"), bgr=True), folders(inside / "photos")
    words = ("import", model, "--pixels", "0..1", "--labels", ",".join(CLASSES))
    error = failure(hemline(*words, "--data", data))
    assert "with channels in the order blue, green and red" in error
    assert error.endswith("specify --channel-order bgr")
    assert hemline(*words, "--channel-order", "bgr").exit_code == 0
    imported = read_card(inside / "checkpoints" / "fruit").imported
    assert imported is not None
    assert imported.bgr
    assert imported.channels_confirmed == "user"
    assert imported.largest_difference <= 1e-5
    result = hemline(*words, "--channel-order", "bgr", "--data", data)
    assert result.exit_code == 0, result.output
    assert "pixel range 0 … 1 of blue, green and red" in result.stdout
    shown = hemline("evaluate", inside / "checkpoints" / "fruit", "--data", data, "--json")
    assert json.loads(shown.stdout)["results"][0]["correct"] == 90


@pytest.mark.medium
def test_most_images_are_for_test_and_evaluate_uses_all_that_are_named(inside: Path) -> None:
    model, data = onnx_model(Path("fruit.onnx")), folders(inside / "photos", 240)
    words = ("--pixels", "0..1", "--labels", ",".join(CLASSES), "--data", data)
    result = hemline("export", model, *words, "--scheme", "fp32.onnx")
    assert result.exit_code == 0, result.exception
    counts = "240 images: 51 for calibration, 51 for validation, 138 for test"
    assert counts in result.stderr
    manifest = read_manifest(inside / "artifacts" / "fruit")
    scores = [verdict.score("test") for verdict in manifest.artifacts[0].verdicts]
    assert [score.images for score in scores if score] == [138]
    file = inside / "artifacts" / "fruit" / "fp32.onnx"
    for split in ("test", "validation"):
        shown = hemline("evaluate", file, "--data", data, "--split", split, "--json")
        assert json.loads(shown.stdout)["results"][0]["correct"] == 240
        assert "exported from other" not in shown.stderr


def test_the_folder_of_one_class_is_refused(inside: Path) -> None:
    model, data = onnx_model(Path("fruit.onnx")), folders(inside / "photos")
    words = ("export", model, "--pixels", "0..1", "--labels", ",".join(CLASSES))
    error = failure(hemline(*words, "--data", data / "red"))
    assert "photos/red has the images of one class, red; name the folder with a folder" in error
    assert error.endswith(f"--data {data}")
    assert not (inside / "artifacts" / "fruit").exists()


@pytest.mark.medium
def test_an_export_without_images_names_the_command_that_confirms_it(inside: Path) -> None:
    words = ("export", onnx_model(Path("fruit.onnx")), "--pixels", "0..1", "-o", "out")
    shown = hemline(*words, "--scheme", "fp32.onnx").stderr.splitlines()[-1]
    assert shown == (
        "next: hemline export fruit.onnx --labels FILE --pixels 0..1 -o out --data FOLDER"
    )


def test_a_softmax_that_is_applied_twice_is_told(inside: Path) -> None:
    model, data = onnx_model(Path("fruit.onnx"), softmaxes=2), folders(inside / "photos")
    result = hemline("import", model, "--pixels", "0..1", "--data", data)
    assert result.exit_code == 0, result.output
    assert "likely mistake: no probability is above" in result.stderr
    assert "convert the model again without its last softmax" in result.stderr


def test_labelled_images_confirm_what_nobody_says(inside: Path) -> None:
    model, data = onnx_model(Path("fruit.onnx")), folders(inside / "photos", 180)
    assert hemline("import", model, "--pixels", "0..1", "--data", data).exit_code == 0
    imported = read_card(inside / "checkpoints" / "fruit").imported
    assert imported is not None
    assert imported.unconfirmed == ()
