"""`hemline evaluate`: checkpoints, artifacts and ensembles, as text, JSON, pictures and a page."""

from __future__ import annotations

import json
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from scipy.special import softmax

from hemline.bench.evaluation.commands import MISTAKES_NAME, REPORT_NAME
from hemline.bench.evaluation.pictures import PICTURES as EVALUATION_PICTURES
from hemline.bench.evaluation.result import Evaluation
from hemline.cli import cli
from hemline.contract import schema
from hemline.contract.card import Card
from hemline.contract.checkpoint import MODEL_NAME, read_card
from hemline.contract.evaluation_set import load_split
from hemline.contract.manifest import Manifest, read_manifest
from hemline.contract.model_summary import Layer
from hemline.data.datasets import DATASETS, Images
from hemline.errors import HemlineError
from hemline.remedies import described
from hemline.train.explanation.curves import curve_caption
from hemline.train.explanation.pictures import EXPLANATIONS
from hemline.train.overfitting import overfitting_line

Train = Callable[..., Card]
PICTURES = (*EVALUATION_PICTURES, *EXPLANATIONS)


@pytest.fixture(scope="module")
def other(train_checkpoint: Train, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkpoint of the same data that was trained for too short a time to know it."""
    folder = tmp_path_factory.mktemp("other")
    assert train_checkpoint(folder, epochs=2, seed=2).trained.score("test").accuracy < 1
    return folder


@pytest.fixture(scope="module")
def report(
    other: Path, data_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """Return the folder of a checkpoint's pictures, and its page."""
    folder = tmp_path_factory.mktemp("report") / "new"
    invoke(other, "--data", data_folder, "-o", folder)
    return folder, (folder / REPORT_NAME).read_text()


def invoke(*words: object, check: bool = True) -> Result:
    result = CliRunner().invoke(
        cli, ["-q", "evaluate", *map(str, words)], catch_exceptions=not check
    )
    assert not check or result.exit_code == 0
    return result


def evaluated(*words: object) -> Evaluation:
    document = json.loads(invoke(*words, "--json").stdout)
    return schema.from_document(Evaluation, document, where="the output")


def refused(*words: object) -> str:
    """Return the one line that a command ends with."""
    error = invoke(*words, check=False).exception
    assert isinstance(error, HemlineError), error
    assert "\n" not in described(error)
    return described(error)


def logits_of(checkpoint: Path, images: Images) -> np.ndarray:
    from hemline.train.tensorflow import quiet_keras

    model = quiet_keras().models.load_model(checkpoint / MODEL_NAME, compile=False)
    return np.asarray(model(images.test_images.astype(np.float32), training=False))


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_checkpoint_answers_as_its_card_says(
    checkpoint: Path, data_folder: Path, split: str
) -> None:
    card, found = (
        read_card(checkpoint),
        evaluated(checkpoint, "--data", data_folder, "--split", split),
    )
    (result,) = found.results
    score = card.trained.score(split)
    assert (result.images, result.correct) == (score.images, score.correct)
    assert found.split == split
    assert found.labels == card.model.labels
    assert not found.notes
    origin = result.origin
    assert (origin.kind, origin.runtime) == ("checkpoint", "keras")
    assert (origin.parameters, origin.macs) == (card.model.parameters, card.model.macs)
    assert sum(layer.parameters for layer in origin.layers) == card.model.parameters
    assert sum(layer.macs for layer in origin.layers) == card.model.macs
    assert result.calibration[1].temperature == card.model.temperature
    assert [each.support for each in result.classes] == [score.images // 10] * 10


@pytest.mark.slow
def test_the_test_split_is_the_default_of_one_and_validation_of_several(
    checkpoint: Path, other: Path, data_folder: Path
) -> None:
    assert evaluated(checkpoint, "--data", data_folder).split == "test"
    found = evaluated(checkpoint, other, "--data", data_folder)
    assert found.split == "validation"
    first, second = found.results
    assert first.difference is None
    assert second.difference is not None
    points = 100 * (second.accuracy - first.accuracy)
    assert second.difference.points == pytest.approx(points)


@pytest.mark.medium
@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize("name", ["int8.tflite", "fp32.onnx"])
def test_an_artifact_answers_as_it_did_when_it_was_verified(
    bundle: Path, manifest: Manifest, name: str, split: str
) -> None:
    found = evaluated(bundle / name, "--split", split)
    (result,) = found.results
    origin = result.origin
    (verdict,) = [
        verdict
        for verdict in manifest.artifact(name).verdicts
        if (verdict.runtime, verdict.version) == (origin.runtime, origin.runtime_version)
    ]
    score = verdict.score(split)
    assert score is not None
    assert (result.images, result.correct) == (score.images, score.correct)
    if split == "test":
        assert result.keras_agreement == verdict.agreement
    assert origin.sha256 == manifest.artifact(name).sha256
    assert (origin.parameters, origin.macs) == (manifest.parameters, manifest.macs)


@pytest.mark.medium
def test_many_images_are_answered_by_several_processes_in_their_order(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hemline.bench.evaluation import running

    whole = evaluated(bundle / "int8.tflite")
    monkeypatch.setattr(running, "_PART", 70)  # 200 images: two parts
    assert evaluated(bundle / "int8.tflite").results == whole.results


@pytest.mark.medium
def test_a_bundle_is_evaluated_by_the_artifact_to_ship(bundle: Path) -> None:
    (result,) = evaluated(bundle, "--runtime", "onnxruntime").results
    assert result.origin.name.endswith(".onnx")
    assert result.origin.runtime == "onnxruntime"


def test_a_file_alone_is_evaluated_on_a_data_set_with_its_classes(
    bundle: Path, data_folder: Path, tmp_path: Path
) -> None:
    alone = Path(shutil.copy(bundle / "int8.tflite", tmp_path))
    found, inside = evaluated(alone, "--data", data_folder), evaluated(bundle / "int8.tflite")
    assert found.results[0].confusion == inside.results[0].confusion
    assert found.images_sha256 == inside.images_sha256
    assert found.results[0].origin.parameters is None
    assert found.results[0].keras_agreement is None
    assert "use --split test" in refused(alone, "--data", data_folder, "--split", "validation")


@pytest.mark.medium
def test_an_artifact_needs_no_tensorflow_and_no_pictures_library(bundle: Path) -> None:
    code = (
        "import sys; from hemline.cli import cli; "
        "cli.main(['-q', 'evaluate', sys.argv[1]], standalone_mode=False); "
        "print(','.join(sys.modules))"
    )
    words = [sys.executable, "-c", code, str(bundle / "int8.tflite")]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd="/")
    assert done.stdout.startswith(f"{bundle / 'int8.tflite'}: ")
    loaded = set(done.stdout.splitlines()[-1].split(","))
    assert not loaded & {"tensorflow", "keras", "matplotlib", "ai_edge_litert.interpreter"}


@pytest.mark.slow
def test_an_ensemble_averages_probabilities_each_with_its_own_temperature(
    checkpoint: Path, other: Path, data_folder: Path, images: Images
) -> None:
    found = evaluated(checkpoint, other, "--ensemble", "--data", data_folder)
    assert found.split == "test"
    one, two, together = found.results
    likely = sum(
        softmax(logits_of(folder, images) / read_card(folder).model.temperature, axis=1)
        for folder in (checkpoint, other)
    )
    assert together.correct == int((likely.argmax(axis=1) == images.test_labels).sum())
    assert together.origin.members == (str(checkpoint), str(other))
    assert together.origin.parameters == 2 * read_card(checkpoint).model.parameters
    assert together.calibration[1].temperature is None
    expected = 100 * (together.accuracy - one.accuracy)
    assert together.difference is not None
    assert together.difference.points == pytest.approx(expected)
    text = invoke(checkpoint, other, "--ensemble", "--data", data_folder).stdout
    assert text.startswith("ensemble of 2: ")
    assert "each member's own" in text
    assert two.origin.name in text


@pytest.mark.medium
def test_a_checkpoint_and_its_artifact_are_compared_on_the_same_images(
    checkpoint: Path, bundle: Path, data_folder: Path
) -> None:
    words = (checkpoint, bundle / "fp32.tflite", "--split", "test", "--data", data_folder)
    keras, artifact = evaluated(*words).results
    assert keras.confusion == artifact.confusion
    assert artifact.difference is not None
    assert artifact.difference.points == 0


@pytest.fixture
def other_data(data_folder: Path, tmp_path: Path) -> Path:
    """Return the small data set with one training pixel changed, and one test pixel."""
    folder = tmp_path / "other data"
    shutil.copytree(data_folder, folder)
    for file in DATASETS["fashion-mnist"].files:
        if file.role.endswith("images"):
            content = bytearray((folder / file.name).read_bytes())
            content[16:] = bytes(255 - value for value in content[16:])
            (folder / file.name).write_bytes(content)
    return folder


@pytest.mark.medium
def test_data_that_it_was_not_trained_on_are_told(checkpoint: Path, other_data: Path) -> None:
    found = evaluated(checkpoint, "--data", other_data)
    assert found.notes == (
        f"{checkpoint} was trained on other fashion-mnist files than those in {other_data}",
    )
    text = invoke(checkpoint, "--data", other_data).stdout.splitlines()
    assert text[1] == f"note: {found.notes[0]}"


@pytest.mark.medium
def test_a_bundle_is_evaluated_on_its_own_images_unless_other_data_are_named(
    bundle: Path, data_folder: Path, other_data: Path
) -> None:
    artifact = bundle / "int8.tflite"
    for split in ("validation", "test"):
        found = evaluated(artifact, "--data", data_folder, "--split", split)
        assert found.source == str(bundle / "evaluation")
        assert not found.notes
    found = evaluated(artifact, "--data", other_data)
    assert found.notes == (
        f"{artifact} was exported from other fashion-mnist files than those in {other_data}",
    )
    assert found.results[0].keras_agreement is None
    error = refused(artifact, "--data", other_data, "--split", "validation")
    assert f"the validation images of {artifact} are unknown in {other_data}" in error


@pytest.mark.medium
def test_a_whole_held_out_data_set_is_evaluated_with_its_labels_in_another_order(
    bundle: Path, images: Images, tmp_path: Path
) -> None:
    artifact, labels = bundle / "int8.tflite", read_manifest(bundle).labels
    turned = np.array([9 - label for label in images.test_labels], np.uint8)
    data = tmp_path / "turned.npz"
    np.savez(data, x=images.test_images, y=turned, labels=np.array(labels[::-1]))
    found = evaluated(artifact, "--data", data)
    assert found.labels == labels
    expected = evaluated(artifact, "--split", "test").results[0]
    assert (found.results[0].images, found.results[0].correct) == (200, expected.correct)
    assert found.results[0].confusion == expected.confusion
    assert found.notes == (
        f"{artifact} was exported from other fashion-mnist files than those in {data}",
        f"all images in {data} are evaluated: the accuracy is too high if {artifact} was trained "
        "on any of them",
    )


def test_data_of_other_classes_are_refused(bundle: Path, images: Images, tmp_path: Path) -> None:
    data = tmp_path / "other.npz"
    names = np.array([f"class {at}" for at in range(10)])
    np.savez(data, x=images.test_images, y=images.test_labels, labels=names)
    error = refused(bundle / "int8.tflite", "--data", data)
    assert "class 0, class 1, class 2 and 7 more cannot be matched; name other data" in error


def test_validation_images_that_are_not_there_are_refused(
    checkpoint: Path, other_data: Path
) -> None:
    error = refused(checkpoint, "--data", other_data, "--split", "validation")
    assert f"the validation images of {checkpoint} are unknown in {other_data}" in error
    assert "--split test" in error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--split", "tset"), "unknown split 'tset': did you mean 'test'?"),
        (("--runtime", "litert"), "--runtime is for artifacts"),
        (("--ensemble",), "an ensemble needs at least two"),
        (("--layer", "conv2d"), "name a folder for them with -o"),
        (("{checkpoint}",), "is named twice"),
        (("{bundle}", "--runtime", "litrt"), "unknown runtime 'litrt': did you mean 'litert'?"),
        (("{bundle}/int8.onnx", "--runtime", "litert"), "is a .onnx file: litert cannot open it"),
        (
            ("{bundle}/int8.onnx", "--runtime", "keras"),
            "unknown runtime 'keras': choose one of: litert",
        ),
        (("{bundle}/int8.onnx", "--runtime", "installed"), "an evaluation needs one"),
        (("-o", "{bundle}/manifest.json/new"), "cannot write to .*: not a directory"),
    ],
)
def test_what_cannot_be_evaluated_is_told_in_one_line(
    checkpoint: Path, bundle: Path, data_folder: Path, words: tuple[str, ...], message: str
) -> None:
    given = [word.format(checkpoint=checkpoint, bundle=bundle) for word in words]
    assert re.search(message, refused(checkpoint, *given, "--data", data_folder))


def test_strangers_that_are_not_there_are_refused_before_the_work(bundle: Path) -> None:
    words = ["evaluate", str(bundle / "int8.tflite"), "--strangers", "noise"]
    done = CliRunner().invoke(cli, [*words, "--strangers", "digit"])
    assert "unknown set of strangers 'digit': did you mean 'digits'" in str(done.exception)
    assert "images from" not in done.output  # what is evaluated


def test_an_artifact_shows_no_layers(bundle: Path, tmp_path: Path) -> None:
    error = refused(bundle / "int8.tflite", "--layer", "conv2d", "-o", tmp_path)
    assert "an artifact does not show its layers" in error


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("stem2", "unknown layer 'stem2': did you mean 'stem"),
        (
            "logits",
            "the output of layer 'logits' has no rows and columns: use one with them, for example",
        ),
    ],
)
def test_a_layer_without_maps_or_unknown_is_refused_before_the_work(
    checkpoint: Path, data_folder: Path, tmp_path: Path, layer: str, message: str
) -> None:
    words = (checkpoint, "--layer", layer, "-o", tmp_path / "new", "--data", data_folder)
    assert message in refused(*words)
    assert not (tmp_path / "new").exists()


def test_an_altered_checkpoint_or_artifact_is_refused(
    checkpoint: Path, bundle: Path, tmp_path: Path
) -> None:
    shutil.copytree(checkpoint, tmp_path / "altered")
    with (tmp_path / "altered" / MODEL_NAME).open("ab") as stream:
        stream.write(b"x")
    assert "does not match its card" in refused(tmp_path / "altered")
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / MODEL_NAME).write_bytes(b"")
    assert "has no card next to it" in refused(tmp_path / "bare" / MODEL_NAME)
    assert "it has no card.json" in refused(tmp_path / "bare")
    cut = tmp_path / "int8.tflite"
    cut.write_bytes((bundle / "int8.tflite").read_bytes()[:5000])
    assert "has no Hemline stamp" in refused(cut)
    (tmp_path / "text").write_text("nothing")
    assert "is neither a .tflite nor an .onnx file" in refused(tmp_path / "text")


def test_a_file_that_was_swapped_in_its_bundle_is_refused(bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(bundle, tmp_path / "bundle")
    shutil.copy(bundle / "fp32.tflite", tmp_path / "bundle" / "int8.tflite")
    error = refused(tmp_path / "bundle" / "int8.tflite")
    assert "is not the file that manifest.json describes" in error


def test_a_card_of_another_model_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(checkpoint, tmp_path / "swapped")
    path = tmp_path / "swapped" / "card.json"
    document = json.loads(path.read_text())
    model = document["model"]
    labels = [f"class {at}" for at in range(9)]
    path.write_text(json.dumps({**document, "model": {**model, "labels": labels}}))
    assert refused(tmp_path / "swapped", checkpoint).endswith("evaluate them one by one")
    smaller = {**model, "input": {**model["input"], "height": 14}}
    path.write_text(json.dumps({**document, "model": smaller}))
    assert "needs images of (28, 28, 1)" in refused(tmp_path / "swapped", checkpoint)


def test_no_picture_without_matplotlib_is_begun(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert "pictures need matplotlib" in refused(checkpoint, "-o", tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.medium
def test_every_picture_is_drawn_of_a_checkpoint(report: tuple[Path, str]) -> None:
    folder, _ = report
    expected = {f"{picture.name}.png" for picture in PICTURES}
    others = {REPORT_NAME, MISTAKES_NAME, ".lock"}
    assert {path.name for path in folder.iterdir()} == expected | others
    for path in folder.glob("*.png"):
        width, height = struct.unpack(">2I", path.read_bytes()[16:24])
        assert 500 < width < 2000, path
        assert 300 < height < 2500, path


def test_a_report_is_not_replaced_unasked(
    checkpoint: Path, report: tuple[Path, str], data_folder: Path
) -> None:
    folder, page = report
    assert "holds a report: use --force" in refused(checkpoint, "-o", folder)
    assert (folder / REPORT_NAME).read_text() == page


def test_the_page_needs_nothing_but_itself(report: tuple[Path, str]) -> None:
    _, page = report
    body, script, end = without_script(page)
    for reference in re.findall(r'(?:src|href|url)\s*[=(]\s*"?([^")\s>]{1,30})', body):
        assert reference.startswith(("data:image/png;base64,", "#section-"))
    assert "<script" not in body + end
    assert "fetch" not in script
    assert "default-src 'none'" in body
    assert "@import" not in page
    assert page.count("<img ") == len(PICTURES)
    assert 'name="viewport"' in page
    assert "prefers-color-scheme: dark" in page


@pytest.mark.medium
def test_the_page_is_well_formed_and_begins_with_the_verdict(
    report: tuple[Path, str], other: Path, data_folder: Path
) -> None:
    _, page = report
    assert unclosed(page) == []
    verdict = invoke(other, "--data", data_folder).stdout.splitlines()[0]
    on_one_line = verdict.replace(" %", "\N{NO-BREAK SPACE}%")
    assert f'<p class="verdict">{on_one_line}.</p>' in page
    assert not re.search(r"\d %", page)
    before, _, _ = page.partition('class="verdict"')
    assert "<table" not in before
    for label in read_card(other).model.labels:
        assert f'<th scope="row">{label}</th>' in page


def without_script(page: str) -> tuple[str, str, str]:
    """Return what is before the one script of a page, the script, and what is behind it."""
    body, script = page.split("<script>")
    return body, *script.split("</script>")  # type: ignore[return-value]


def test_the_page_lists_its_contents_and_shows_each_picture_once(report: tuple[Path, str]) -> None:
    _, page = report
    headings = re.findall(r'<h2 id="(section-\d)">([^<]+)</h2>', page)
    assert headings == re.findall(r'<a href="#(section-\d)">([^<]+)</a>', page)
    assert {"Classes", "Mistakes", "Calibration"} <= {title for _, title in headings}
    pictures = re.findall(r'<img alt="([^"]+)"', page)
    assert len(set(pictures)) == len(pictures) == len(PICTURES)
    assert page.count("95 % interval") + page.count("95\N{NO-BREAK SPACE}% interval") == 0


PLAIN = {"shift": 0, "flip": False, "rotation": 0.0, "zoom": 0.0, "cutout": 0, "erasing": 0.0}
PLAIN |= {"mixup": 0.0, "label_smoothing": 0.0, "l2": 0.0, "class_weights": "none", "dropout": 0.0}
DURING = "Training figures are measured during the epoch, while the weights still change"
LOWER = ": the training accuracy may lie below the validation one"


@pytest.mark.parametrize(
    ("fields", "caption"),
    [
        ({}, f"{DURING}."),
        ({"flip": True}, f"{DURING}, on augmented images{LOWER}, and the training loss above it."),
        ({"dropout": 0.2}, f"{DURING}, with dropout{LOWER}, and the training loss above it."),
        (
            {"label_smoothing": 0.1, "l2": 1e-4},
            f"{DURING}. The training loss is raised by label smoothing and the penalty of the "
            "kernels.",
        ),
    ],
)
def test_the_caption_of_the_curves_says_what_is_true_of_the_recipe(
    checkpoint: Path, fields: dict[str, Any], caption: str
) -> None:
    card = replace(read_card(checkpoint).trained, recipe_fields=PLAIN | fields)
    assert curve_caption(card, ()) == caption


@pytest.mark.parametrize(("accuracy", "memorised"), [(0.96, True), (0.84, False), (0.75, False)])
def test_a_model_that_memorised_its_training_images_is_named(
    checkpoint: Path, accuracy: float, memorised: bool
) -> None:
    """Of 33 validation images 19 are right: 57.58 %, by Wilson at most 72.76 %, and 5 points.

    Under 85 % on training images nothing is memorised.
    """
    card = read_card(checkpoint).trained
    test = replace(card.score("test"), split="validation", images=33, correct=19)
    history = (*card.history[:-1], replace(card.history[-1], accuracy=accuracy))
    card = replace(card, history=history, kept_epoch=0, scores=(test, card.score("test")))
    line = "training accuracy 96.00 %, validation 57.58 %: the model has memorised its"
    assert overfitting_line(card) == (f"{line} training images" if memorised else "")
    caption = curve_caption(replace(card, recipe_fields=PLAIN | {"flip": True}), ())
    assert caption.startswith(f"T{line[1:]}" if memorised else DURING)


def test_the_dropout_of_the_model_counts_where_the_recipe_leaves_it_open(checkpoint: Path) -> None:
    card = replace(read_card(checkpoint).trained, recipe_fields=PLAIN | {"dropout": None})
    layer = Layer(name="drop", kind="Dropout", output=(5,), parameters=0, macs=0)
    assert "with dropout" in curve_caption(card, (layer,))
    assert "with dropout" not in curve_caption(card, ())


def test_the_loss_of_a_taught_model_is_not_compared(checkpoint: Path) -> None:
    fields = PLAIN | {"shift": 2, "label_smoothing": 0.1}
    card = replace(read_card(checkpoint).trained, recipe_fields=fields, teachers=("0" * 64,))
    caption = curve_caption(card, ())
    assert f"on augmented images{LOWER}. The training loss also includes" in caption
    assert "above it" not in caption
    assert "label smoothing" not in caption


def unclosed(page: str) -> list[str]:
    """Return the tags of a page that were not closed in their order."""
    open_tags: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, _: Any) -> None:
            if tag not in ("meta", "img", "br"):
                open_tags.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert open_tags.pop() == tag

    Reader().feed(page)
    return open_tags


@pytest.mark.slow
def test_labels_are_escaped_on_the_page_and_drawn_as_they_are(
    checkpoint: Path, tmp_path: Path, images: Images
) -> None:
    shutil.copytree(checkpoint, tmp_path / "named")
    labels = ["<script>alert(1)</script>", "a & b", "$x^2$", "accuracy", *"efghi", "猫" * 40]
    path = tmp_path / "named" / "card.json"
    document = json.loads(path.read_text())
    document["model"]["labels"] = labels
    path.write_text(json.dumps(document))
    data = tmp_path / "data.npz"
    np.savez(
        data,
        x_train=images.train_images,
        y_train=images.train_labels,
        x_test=images.test_images,
        y_test=images.test_labels,
        labels=np.array(labels),
    )
    invoke(tmp_path / "named", "--data", data, "-o", tmp_path / "new")
    page = (tmp_path / "new" / REPORT_NAME).read_text()
    assert unclosed(page) == []
    body, _, end = without_script(page)
    assert "<script" not in body + end
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "a &amp; b" in page


@pytest.mark.slow
def test_several_have_their_pictures_in_folders_and_one_page(
    other: Path, bundle: Path, data_folder: Path, tmp_path: Path
) -> None:
    words = (other, bundle / "fp32.tflite", "--ensemble", "--data", data_folder)
    result = CliRunner().invoke(cli, ["evaluate", *map(str, words), "-o", str(tmp_path / "new")])
    assert result.exit_code == 0
    folders = {path.name for path in (tmp_path / "new").iterdir() if path.is_dir()}
    assert folders == {other.name, "fp32.tflite", "ensemble"}
    missing = "it needs a checkpoint, this is an"
    names = "no curves, feature-maps, grad-cam"
    assert f"{bundle / 'fp32.tflite'}: {names}: {missing} artifact" in result.stderr
    assert f"ensemble: {names}: {missing} ensemble" in result.stderr
    drawn = len(list((tmp_path / "new").rglob("*.png")))
    assert drawn >= 3 * len(PICTURES) - 6 - 2  # the file and the ensemble may make no mistake
    page = (tmp_path / "new" / REPORT_NAME).read_text()
    assert unclosed(page) == []
    assert page.count("<img ") == drawn
    assert "Comparison</h2>" in page
    assert "Left out</h3>" in page


@pytest.mark.slow
def test_a_model_without_convolutions_has_no_maps(
    checkpoint: Path, data_folder: Path, tmp_path: Path, images: Images
) -> None:
    """And one whose answers are all right has no mistakes."""
    import keras

    shutil.copytree(checkpoint, tmp_path / "flat")
    pixels = keras.Input((28, 28, 1))
    # the bars of the small data lie in rows of their own: the mean of these rows knows the class
    weights = np.zeros((784, 10), np.float32)
    for label in range(10):
        weights.reshape(28, 28, 10)[3 + 2 * label, 4:24, label] = 1
    dense = keras.layers.Dense(10, use_bias=False)
    model = keras.Model(pixels, dense(keras.layers.Flatten()(pixels)))
    dense.set_weights([weights])
    model.save(tmp_path / "flat" / MODEL_NAME)
    from hemline.files import sha256_of

    path = tmp_path / "flat" / "card.json"
    document = json.loads(path.read_text())
    document["model"]["sha256"] = sha256_of(tmp_path / "flat" / MODEL_NAME)
    del document["training"]["history"][1:]
    path.write_text(json.dumps(document))
    words = (tmp_path / "flat", "--data", data_folder, "-o", tmp_path / "new")
    result = CliRunner().invoke(cli, ["evaluate", *map(str, words)])
    assert result.exit_code == 0
    assert "no mistakes: every prediction is correct" in result.stderr
    assert "no feature-maps, grad-cam: the model has no convolution" in result.stderr
    assert (tmp_path / "new" / "curves.png").exists()
    assert "100.00 %" in result.stdout


@pytest.mark.slow
def test_pictures_of_before_that_are_not_drawn_again_are_removed(
    checkpoint: Path, bundle: Path, data_folder: Path, report: tuple[Path, str], tmp_path: Path
) -> None:
    shutil.copytree(report[0], tmp_path / "copy")
    invoke(bundle / "int8.tflite", "-o", tmp_path / "copy", "--force")
    names = {path.stem for path in (tmp_path / "copy").glob("*.png")}
    assert not names & {"curves", "feature-maps", "grad-cam"}
    assert "confusion" in names


@pytest.mark.medium
def test_quiet_says_nothing_but_the_result(checkpoint: Path, data_folder: Path) -> None:
    spoken = CliRunner().invoke(cli, ["evaluate", str(checkpoint), "--data", str(data_folder)])
    silent = invoke(checkpoint, "--data", data_folder)
    assert spoken.stdout == silent.stdout
    assert "200 test images from" in spoken.stderr
    assert "test images" not in silent.stderr


def test_the_agreement_is_with_the_keras_logits_of_the_bundle(bundle: Path) -> None:
    split = load_split(bundle, "test", read_manifest(bundle).evaluation_sha256)
    (result,) = evaluated(bundle / "fp32.tflite").results
    assert result.keras_agreement == len(split.labels)
