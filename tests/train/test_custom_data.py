"""A custom data set on the whole way: train, export, verify, classify."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from hemline.bench.evaluation.images import DataSource, split_of
from hemline.bench.evaluation.target import find_target
from hemline.cli import cli
from hemline.contract import schema
from hemline.contract.card import Card
from hemline.contract.checkpoint import CARD_NAME, read_card
from hemline.contract.evaluation_set import load_split
from hemline.contract.manifest import read_manifest
from hemline.contract.stamp import read_stamped
from hemline.data.custom.reading import ReadOptions
from hemline.data.datasets import Images
from hemline.data.fetch import FetchOptions, load_images
from hemline.data.splits import split_images
from hemline.errors import DataError, HemlineError, UsageError
from hemline.export.quantization.calibration import calibration_images
from hemline.export.trained_data import require_trained_on, trained_images
from hemline.files import sha256_of
from hemline.pictures.generated import self_test_images
from hemline.pictures.images import read_image
from hemline.remedies import described
from hemline.train.baselines.running import split_for
from hemline.train.custom_data import parts_line, suited
from hemline.train.nets import pretrained
from hemline.train.nets.models import find_model
from hemline.train.recipes.recipe import RECIPES, Recipe
from hemline.train.request import TrainRequest, new_request
from hemline.train.tensorflow import quiet_keras
from hemline.train.tuning.preparing import prepare, space_of

quiet_keras()

from hemline.train import training  # noqa: E402 — after the noise of TensorFlow was turned off

COLOURS = {"blue": (40, 60, 200), "green": (50, 180, 60), "red": (200, 50, 40)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of 120 images of three sizes in three classes."""
    random = np.random.default_rng(1)
    root = tmp_path_factory.mktemp("custom") / "colours"
    for name, colour in COLOURS.items():
        (root / name).mkdir(parents=True)
        for at in range(40):
            size = (16 + 4 * (at % 3), 20)
            pixels = np.clip(np.array(colour) + random.integers(-50, 50, (*size, 3)), 0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{at}.png")
    return root


def invoke(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words])


@pytest.fixture(scope="module")
def trained(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a checkpoint that was trained on the folder of images."""
    place = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("XDG_CACHE_HOME", str(place / "cache"))
        options = ("--image-size", "16x20", "--epochs", "4", "--batch", "16")
        result = invoke("train", "--data", folder, *options, "--precision", "float32")
        assert result.exit_code == 0, result.output
        assert (
            "3 classes, 16 × 20 colour: 82 training images, 20 validation, 18 test "
            "(held out)" in result.output
        )
    return place / "checkpoints" / "hem-50k-colours"


@pytest.fixture(scope="module")
def card(trained: Path) -> Card:
    return read_card(trained)


def test_the_card_tells_of_the_data(card: Card, trained: Path, folder: Path) -> None:
    assert (card.trained.dataset, card.model.labels) == ("colours", ("blue", "green", "red"))
    assert (card.model.shape, card.model.preprocessing) == ((16, 20, 3), "stretch")
    assert (card.trained.score("validation").images, card.trained.score("test").images) == (20, 18)
    assert set(card.trained.data_sha256) == {"train", "test"}
    assert str(folder.parent) not in (trained / "card.json").read_text()


def test_the_split_of_the_card_is_that_of_the_data(card: Card, folder: Path) -> None:
    options = FetchOptions(folder=folder, reading=ReadOptions(size=(16, 20)))
    images = load_images(card.trained.dataset, options)
    assert card.trained.split == split_images(images, validation=20).split
    assert card.trained.split.test_indices == images.test_indices
    classes = [images.train_labels[at] for at in card.trained.split.validation_indices]
    assert max(np.bincount(classes)) - min(np.bincount(classes)) <= 1


def test_every_command_holds_out_the_same_images(card: Card, trained: Path, folder: Path) -> None:
    """Train, evaluate and export at the checkpoint's size; baseline and tune here at another."""
    options = FetchOptions(folder=folder)
    first = trained_images(card, options, checkpoint=trained)
    size = (first.train_images.shape[1] + 8,) * 2
    other = load_images("", replace(options, reading=ReadOptions(size=size, channels=1)))
    assert first.sha256 != other.sha256
    assert sha256_in(folder, other.test_names) == sha256_in(folder, first.test_names)
    validated = [first.train_names[at] for at in card.trained.split.validation_indices]
    baseline = split_for(other, None).split
    request = new_request(find_model("mlp"), folder=folder)
    searched = prepare(request, other, space_of(request, other), {}).validation
    for split in (baseline, split_images(other, validation=searched).split):
        names = [other.train_names[at] for at in split.validation_indices]
        assert sha256_in(folder, names) == sha256_in(folder, validated)


def sha256_in(folder: Path, names: Sequence[str]) -> list[str]:
    return [sha256_of(folder / name) for name in names]


def test_at_most_a_fifth_is_kept_for_validation(images: Images) -> None:
    assert len(images.train_images) == 800
    assert suited(RECIPES["fast"], images).validation == 160
    assert suited(Recipe(validation=100), images).validation == 100
    assert suited(Recipe(limit=200), images).validation == 40
    assert suited(Recipe(limit=3), images).validation == 1


def test_few_custom_images_go_in_small_batches(images: Images) -> None:
    custom = replace(images, dataset=replace(images.dataset, files=()))  # 800 of them
    recipe = RECIPES["fast"]
    assert suited(replace(recipe, validation=160), custom).batch == 32
    assert suited(replace(recipe, validation=40, limit=200), custom).batch == 8
    assert suited(replace(recipe, validation=20, limit=60), custom).batch == 8, "no smaller ones"
    assert suited(Recipe(batch=4, validation=160), custom).batch == 4, "a smaller one stays"
    assert suited(recipe, images).batch == recipe.batch, (
        "published data: the recipe was made for it"
    )
    given = {"batch", "validation", "flip"}
    assert suited(recipe, custom, given=given) == recipe, "what is given stays"


def test_custom_images_are_flipped_only_on_request(images: Images, tmp_path: Path) -> None:
    custom = replace(images, dataset=replace(images.dataset, files=()))
    assert RECIPES["fast"].flip, "Fashion-MNIST's recipe stays as it is"
    assert suited(RECIPES["fast"], images).flip
    unflipped = suited(RECIPES["fast"], custom)
    assert not unflipped.flip
    assert parts_line(custom, unflipped).endswith("; images are not flipped")
    flipped = suited(RECIPES["fast"], custom, given={"flip"})
    assert parts_line(custom, flipped).endswith("; images are flipped left to right at random")
    model = find_model("hem-50k")
    for text, given in (("flip = true", {"flip"}), ("epochs = 3", set())):
        (tmp_path / "own.toml").write_text(text)
        request = new_request(model, recipe=str(tmp_path / "own.toml"), folder=tmp_path)
        assert request.given == given


def test_export_trains_custom_images_as_train_does(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[TrainRequest] = []

    def stop(request: TrainRequest, *_: object, **__: object) -> None:
        seen.append(request)
        raise HemlineError("far enough")

    weights = tmp_path / "imagenet.h5"
    monkeypatch.setattr(pretrained, "pretrained_weights", lambda *_: weights)
    monkeypatch.setattr(training, "train", stop)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for command in (("train", "mobilenetv2"), ("export", "--model", "mobilenetv2")):
        result = invoke(*command, "--data", folder, "--image-size", "32")
        assert str(result.exception) == "far enough", result.output
    one, other = seen
    assert one == other
    assert (one.recipe_name, one.weights) == ("transfer", weights)
    assert (one.recipe.validation, one.recipe.batch) == (20, 8)


def test_an_option_for_teachers_needs_one(folder: Path) -> None:
    result = invoke("train", "mlp", "--data", folder, "--distillation", "0.5")
    assert isinstance(result.exception, UsageError)
    expected = "distillation needs a teacher; omit it, or name one with --teacher"
    assert described(result.exception) == expected


def test_a_checkpoint_is_evaluated_on_custom_images_as_they_were_read_for_training(
    trained: Path, folder: Path, tmp_path: Path
) -> None:
    moved = shutil.copytree(folder, tmp_path / "elsewhere")
    (moved / "red" / "broken.png").write_text("no image")
    result = invoke("evaluate", trained, "--data", moved, "--json")
    assert result.exit_code == 0, result.output
    assert "was trained on other" not in result.output


def test_numbered_classes_have_the_names_of_the_checkpoint(images: Images, tmp_path: Path) -> None:
    """The names were given for training; the array itself still has none."""
    path = tmp_path / "numbered.npz"
    labels = images.train_labels[:200] % 3
    np.savez(path, x=images.train_images[:200], y=labels)
    source = DataSource(FetchOptions(folder=path))
    assert source.load("numbered", (28, 28, 1), ("a", "b", "c")).dataset.labels == ("a", "b", "c")
    some = source.load("numbered", (28, 28, 1), ("a", "b", "c", "d"))  # no image of the last class
    assert some.dataset.labels == ("a", "b", "c", "d")
    with pytest.raises(
        DataError, match=r"are 0, 1, 2 \(3 classes\), those of the model a, b \(2 classes\)"
    ):
        source.load("numbered", (28, 28, 1), ("a", "b"))


def test_a_number_that_is_given_counts(folder: Path, tmp_path: Path) -> None:
    result = invoke(
        "train", "--data", folder, "--image-size", "8", "--validation", "102", "-o", tmp_path / "c"
    )
    assert isinstance(result.exception, DataError)
    assert "102 validation images cannot be held out of 102" in str(result.exception)


def test_the_data_is_found_again_for_a_checkpoint(
    card: Card, trained: Path, folder: Path, tmp_path: Path
) -> None:
    moved = shutil.copytree(folder, tmp_path / "elsewhere")
    (moved / "red" / "broken.png").write_text("no image")
    for place in (folder, moved):
        images = trained_images(card, FetchOptions(folder=place), checkpoint=trained)
        require_trained_on(card, images, checkpoint=trained)
        assert images.dataset.labels == card.model.labels
    assert calibration_images(images, card.trained.split, count=80).images.shape == (80, 16, 20, 3)
    # all that were trained on, fewer than the usual 500
    assert calibration_images(images, card.trained.split, count=None).images.shape == (
        82,
        16,
        20,
        3,
    )


def test_other_data_is_told_in_one_line(
    card: Card, trained: Path, folder: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(folder, tmp_path / "other")
    (other / "red" / "7.png").unlink()
    images = trained_images(card, FetchOptions(folder=other), checkpoint=trained)
    with pytest.raises(DataError, match="was trained on other images than those in .*") as error:
        require_trained_on(card, images, checkpoint=trained)
    assert described(error.value).endswith("; name the right colours with --data")
    shutil.rmtree(other / "red")
    images = trained_images(card, FetchOptions(folder=other), checkpoint=trained)
    with pytest.raises(DataError, match="was trained on other images"):
        require_trained_on(card, images, checkpoint=trained)


def test_a_checkpoint_of_custom_images_needs_them(trained: Path, data_folder: Path) -> None:
    result = invoke("export", "--checkpoint", trained)
    assert isinstance(result.exception, UsageError)
    assert described(result.exception).endswith(
        "was trained on a custom data set, colours; name its folder or .npz with --data"
    )
    result = invoke("export", "--checkpoint", trained, "--data", data_folder)  # ten classes
    assert isinstance(result.exception, DataError)
    assert str(result.exception).endswith("the train files have labels outside 0 … 2")


def test_a_size_that_is_not_the_checkpoints_is_refused(trained: Path, folder: Path) -> None:
    result = invoke("export", "--checkpoint", trained, "--data", folder, "--image-size", "8")
    assert isinstance(result.exception, UsageError)
    assert "needs images of 16x20 with 3 channels" in str(result.exception)


def test_a_checkpoint_of_a_known_data_set_takes_no_others(checkpoint: Path, folder: Path) -> None:
    result = invoke("export", "--checkpoint", checkpoint, "--data", folder)
    assert isinstance(result.exception, HemlineError)
    assert "was trained on other fashion-mnist files than those in" in str(result.exception)


@pytest.mark.medium
def test_custom_images_go_the_whole_way(
    trained: Path, folder: Path, card: Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    schemes = ("--scheme", "fp32.tflite", "--scheme", "int8.onnx")
    result = invoke("export", "--checkpoint", trained, *schemes, "--data", folder)
    assert result.exit_code == 0, (result.output, result.exception)
    bundle = tmp_path / "artifacts" / "hem-50k-colours"
    manifest = read_manifest(bundle)
    assert (manifest.dataset, manifest.labels) == ("colours", card.model.labels)
    stamp = read_stamped(bundle / "int8.onnx").stamp
    assert (stamp.input.shape, stamp.preprocessing) == ((16, 20, 3), "stretch")
    assert invoke("verify", bundle).exit_code == 0
    assert invoke("selftest", bundle).exit_code == 0
    for stored in (stamp.test_vectors, card.model.test_vectors):  # nobody's images
        pictures = np.stack([vector.image((16, 20, 3)) for vector in stored])
        np.testing.assert_array_equal(pictures, self_test_images((16, 20, 3)))
    test = load_split(bundle, "test", manifest.evaluation_sha256)
    images = trained_images(card, FetchOptions(folder=folder), checkpoint=trained)
    for at, name in enumerate(images.test_names):  # a device sees what was evaluated
        seen = read_image(folder / name, stamp.input, stamp.preprocessing)
        np.testing.assert_array_equal(seen, test.images[at])
    data = DataSource(FetchOptions(folder=folder))
    for target in (find_target(trained, None), find_target(bundle / "fp32.tflite", None)):
        for part in ("validation", "test"):  # and an evaluation can name each file
            split = split_of(target, part, data)
            seen = [read_image(folder / x, stamp.input, stamp.preprocessing) for x in split.files]
            np.testing.assert_array_equal(np.stack(seen), split.pixels)
    files = [str(folder / name) for name in images.test_names]
    answers = invoke("classify", bundle / "fp32.tflite", *files, "--json").stdout.splitlines()
    indices = [json.loads(line)["index"] for line in answers]
    assert indices == test.logits.argmax(axis=1).tolist()


@pytest.mark.medium
def test_files_hold_images_of_a_custom_data_set_only_when_asked(
    trained: Path, folder: Path, tmp_path: Path
) -> None:
    words = ("export", "--checkpoint", trained, "--data", folder, "--scheme", "fp32.onnx")
    result = invoke(*words, "-o", tmp_path / "bundle", "--store-images")
    assert result.exit_code == 0, (result.output, result.exception)
    validation = load_split(
        tmp_path / "bundle", "validation", read_manifest(tmp_path / "bundle").evaluation_sha256
    )
    stamp = read_stamped(tmp_path / "bundle" / "fp32.onnx").stamp
    pictures = [vector.image((16, 20, 3)) for vector in stamp.test_vectors]
    np.testing.assert_array_equal(pictures, validation.images[:2])
    assert invoke("selftest", tmp_path / "bundle").exit_code == 0
    result = invoke(*words, "-o", tmp_path / "bundle")
    assert "export fp32.onnx" in result.output, "made again without them"
    stamp = read_stamped(tmp_path / "bundle" / "fp32.onnx").stamp
    pictures = [vector.image((16, 20, 3)) for vector in stamp.test_vectors]
    np.testing.assert_array_equal(pictures, self_test_images((16, 20, 3)))


def with_card(trained: Path, folder: Path, card: Card) -> Path:
    """Return a copy of a checkpoint with another card."""
    shutil.copytree(trained, folder)
    schema.save(folder / CARD_NAME, card)
    return folder


@pytest.mark.slow
def test_a_model_that_was_not_trained_here_is_exported_by_its_model_card(
    trained: Path, folder: Path, card: Card, tmp_path: Path
) -> None:
    imported = with_card(trained, tmp_path / "imported", replace(card, training=None))
    result = invoke("export", "--checkpoint", imported, "--scheme", "int8")
    assert described(result.exception) == (
        "int8.tflite, int8.onnx cannot be made: calibration needs images; name yours with --data, "
        "or generate some with --calibrator synthetic"
    )
    bundle = tmp_path / "bundle"
    words = ("--scheme", "int8.tflite", "--calibration", "50", "-o", bundle)
    result = invoke("export", "--checkpoint", imported, "--data", folder, *words)
    assert result.exit_code == 0, (result.output, result.exception)
    manifest = read_manifest(bundle)
    assert (manifest.dataset, manifest.keras_scores) == ("colours", ())
    images = trained_images(card, FetchOptions(folder=folder), checkpoint=trained)
    validation = load_split(bundle, "validation", manifest.evaluation_sha256)
    assert len(validation.images) == len(images.train_images) // 5, "a fifth is held out"
    assert manifest.artifact("int8.tflite").plan_sha256 is not None


def test_a_model_of_an_unknown_kind_is_refused(
    trained: Path, folder: Path, card: Card, tmp_path: Path
) -> None:
    newer = replace(card, model=replace(card.model, source="safetensors"))
    copy = with_card(trained, tmp_path / "newer", newer)
    result = invoke("export", "--checkpoint", copy, "--data", folder, "-o", tmp_path / "bundle")
    assert isinstance(result.exception, UsageError)
    assert "unknown kind of model 'safetensors': choose one of: keras" in str(result.exception)
