"""Files that decide by a distance: fitted through each, chosen on strangers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.special import softmax

from hemline.bench.evaluation.result import Evaluation
from hemline.cli import cli
from hemline.contract.checkpoint import read_card
from hemline.contract.schema import from_document
from hemline.contract.specs import OutputSpec
from hemline.contract.stamp import read_stamped
from hemline.data.datasets import Images
from hemline.data.strangers import load_strangers
from hemline.errors import HemlineError, UsageError
from hemline.export.bundle import ExportRequest, export_bundle
from hemline.export.quantization.options import PostTrainingOptions, QuantizationOptions
from hemline.export.schemes import find_schemes
from hemline.export.trained_data import split_of
from hemline.export.unknown.choice import deciding_by
from hemline.export.unknown.fitting import LEAST_DIRECTIONS, fit_distance, training_images
from hemline.runtime import Classifier
from hemline.runtime.unknown import Distances
from hemline.statistics import auroc

RANDOM = np.random.default_rng(7)


def spec(size: int) -> OutputSpec:
    return OutputSpec(name="embedding", role="embedding", size=size, dtype="float32")


def gaussian(size: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return embeddings of three classes, their labels, the class means and the deviations."""
    means, deviations = RANDOM.normal(0, 5, (3, size)), RANDOM.uniform(0.5, 3, size)
    labels = np.arange(count) % 3
    embeddings = means[labels] + RANDOM.normal(0, deviations, (count, size))
    return embeddings.astype(np.float32), labels.astype(np.uint8), means, deviations


def test_a_distance_is_that_of_mahalanobis() -> None:
    embeddings, labels, means, deviations = gaussian(8, 6000)
    found = Distances(fit_distance(embeddings, labels, 3), spec(8))(embeddings[:500])
    away = (embeddings[:500, None] - means) / deviations
    expected = np.sqrt((away**2).sum(axis=2).min(axis=1))
    # a variance from 6,000 images is within 2 % (1.8 % is one standard deviation, of 8 averaged);
    # 8 bits move a direction by at most 0.4 %
    assert np.abs(found / expected - 1).mean() < 0.03


def test_directions_that_are_left_out_share_a_variance() -> None:
    embeddings, labels, *_ = gaussian(140, 3000)
    distance = fit_distance(embeddings, labels, 3)
    assert len(distance.variances) == LEAST_DIRECTIONS
    measure = Distances(distance, spec(140))
    inside = distance.directions.array()
    beside = np.linalg.svd(inside)[2][-1]  # at a right angle to all of them
    near, far = embeddings[:200], embeddings[:200] + 60 * beside
    assert np.median(measure(far)) > 3 * np.median(measure(near))


def test_values_that_never_vary_do_no_harm() -> None:
    embeddings, labels, *_ = gaussian(8, 600)
    embeddings[:, 3:] = 0.25
    distances = Distances(fit_distance(embeddings, labels, 3), spec(8))(embeddings)
    assert np.isfinite(distances).all()


@pytest.mark.parametrize(
    ("embeddings", "labels", "message"),
    [
        (np.ones((6, 4), np.float32), [0, 1, 2, 0, 1, 2], "this one is constant"),
        (np.eye(6, 4, dtype=np.float32), [0, 1, 0, 0, 1, 1], "of each class: class 2"),
    ],
)
def test_what_cannot_be_fitted_is_refused(
    embeddings: np.ndarray, labels: list[int], message: str
) -> None:
    with pytest.raises(HemlineError, match=message):
        fit_distance(embeddings, np.array(labels, np.uint8), 3)


def test_training_images_are_of_all_classes_and_not_of_validation(
    checkpoint: Path, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hemline.export.unknown.fitting._TRAINING", 50)
    split = split_of(read_card(checkpoint), images)
    pixels, labels = training_images(images, split)
    assert np.bincount(labels).tolist() == [5] * 10
    held_out = {images.train_images[at].tobytes() for at in split.validation_indices}
    assert not held_out & {each.tobytes() for each in pixels}


def request(checkpoint: Path, folder: Path) -> ExportRequest:
    return ExportRequest(
        checkpoint=checkpoint,
        bundle=folder,
        schemes=find_schemes(("int8.tflite", "fp32.onnx")),
        options=QuantizationOptions(post_training=PostTrainingOptions(images=100)),
    )


def test_images_without_labels_are_refused(checkpoint: Path, images: Images) -> None:
    import dataclasses

    bare = dataclasses.replace(images, labelled=False)
    with pytest.raises(UsageError, match="fitted on labelled images"):
        deciding_by("distance", request(checkpoint, Path("x")), bare, (), print)


@pytest.fixture(scope="module")
def knowing(
    checkpoint: Path, images: Images, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[str]]:
    """Return a bundle of files that decide by distance, and what auto says of the methods."""
    folder, said = tmp_path_factory.mktemp("knowing") / "bundle", list[str]()
    asked = request(checkpoint, folder)
    decided = deciding_by("auto", asked, images, ("textures", "noise"), said.append)
    assert said[0].startswith(f"unknown by {decided.unknown}: mean AUROC ")
    export_bundle(deciding_by("distance", asked, images, (), said.append), images)
    return folder, said


@pytest.mark.medium
@pytest.mark.parametrize(("score", "chosen"), [(0.9, "score"), (0.8, "distance")])
def test_the_score_is_chosen_unless_the_distance_is_better(
    checkpoint: Path, images: Images, monkeypatch: pytest.MonkeyPatch, score: float, chosen: str
) -> None:
    said, found = list[str](), {"score": score, "distance": 0.9}
    monkeypatch.setattr("hemline.export.unknown.choice.mean_aurocs", lambda *_: found)
    decided = deciding_by("auto", request(checkpoint, Path("x")), images, ("digits",), said.append)
    assert (decided.unknown, decided.embedding) == (chosen, chosen == "distance")
    assert said == [
        f"unknown by {chosen}: mean AUROC {score:.4f} by score, 0.9000 by distance (1 is perfect, "
        "0.5 a coin), on one half of digits"
    ]


@pytest.mark.medium
def test_the_score_is_chosen_where_a_class_has_no_training_images(
    checkpoint: Path, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = list[str]()

    def without_a_class(*given: Any) -> tuple[Any, Any]:
        pixels, labels = training_images(*given)
        return pixels[labels != 3], labels[labels != 3]

    monkeypatch.setattr("hemline.export.unknown.choice.training_images", without_a_class)
    decided = deciding_by("auto", request(checkpoint, Path("x")), images, ("digits",), said.append)
    assert decided.unknown == "score"
    assert said == ["unknown by score: a distance needs training images of each class: class 3"]


@pytest.mark.medium
def test_files_know_their_images_and_not_noise(
    knowing: tuple[Path, list[str]], images: Images
) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (200, 28, 28, 1), np.uint8)
    thresholds = []
    for name in ("int8.tflite", "fp32.onnx"):
        with Classifier.load(knowing[0] / name) as classifier:
            known = [each.known for each in classifier.classify_batch(images.test_images)]
            strangers = [each.known for each in classifier.classify_batch(noise)]
        distance = read_stamped(knowing[0] / name).stamp.distance
        assert distance is not None
        thresholds.append(distance.threshold)
        # 1 % of the correct validation images are beyond the threshold
        assert np.mean(known) > 0.9
        assert np.mean(strangers) < 0.2
    assert thresholds[0] != thresholds[1], "each is fitted through its own file"


@pytest.mark.medium
def test_an_evaluation_says_what_the_file_does(knowing: tuple[Path, list[str]]) -> None:
    file = knowing[0] / "int8.tflite"
    words = ["-q", "evaluate", str(file), "--strangers", "noise", "--json"]
    document = json.loads(CliRunner().invoke(cli, words, catch_exceptions=False).stdout)
    result = from_document(Evaluation, document, where="the output").results[0]
    by = {each.method: each for each in result.separations}
    assert (by["score"].decides, by["distance"].decides) == (False, True)
    with Classifier.load(file) as classifier:
        spec = classifier.stamp.input
        strangers = classifier.classify_batch(load_strangers("noise", spec, "stretch").second)
        tested = np.load(knowing[0] / "evaluation" / "test-images.npy")
        known = classifier.classify_batch(tested)
        logits = [np.array([each.logits for each in found], float) for found in (known, strangers)]
    assert by["distance"].images == len(strangers)
    assert by["distance"].unknown_strangers == np.mean([not each.known for each in strangers])
    assert by["distance"].unknown_images == np.mean([not each.known for each in known])
    expected = auroc(*(np.array([x.distance for x in found]) for found in (known, strangers)))
    # float32 distances of single images and of batches differ in their last digits
    assert by["distance"].auroc == pytest.approx(expected, abs=1e-4)
    # in double precision: many scores of this model are 1 in float32
    scores = [softmax(x / classifier.stamp.temperature, axis=1).max(axis=1) for x in logits]
    assert by["score"].auroc == pytest.approx(auroc(-scores[0], -scores[1]), abs=1e-4)
