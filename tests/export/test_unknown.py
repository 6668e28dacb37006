"""Files that decide by a distance: fitted through each, chosen on strangers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hemline.contract.checkpoint import read_card
from hemline.contract.specs import OutputSpec
from hemline.contract.stamp import read_stamped
from hemline.data.datasets import Images
from hemline.errors import HemlineError, UsageError
from hemline.export.bundle import ExportRequest, export_bundle
from hemline.export.quantization.options import PostTrainingOptions, QuantizationOptions
from hemline.export.schemes import find_schemes
from hemline.export.trained_data import split_of
from hemline.export.unknown.choice import Choice, deciding_by
from hemline.export.unknown.fitting import LARGEST_RANK, fit_distance, training_images
from hemline.runtime import Classifier
from hemline.runtime.unknown import Distances

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
    embeddings, labels, *_ = gaussian(LARGEST_RANK + 30, 3000)
    distance = fit_distance(embeddings, labels, 3)
    assert len(distance.variances) == LARGEST_RANK
    measure = Distances(distance, spec(LARGEST_RANK + 30))
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


def test_the_score_is_chosen_where_both_are_equal() -> None:
    assert Choice(aurocs={"score": 0.9, "distance": 0.9}, strangers=()).method == "score"
    better = Choice(aurocs={"score": 0.9, "distance": 0.95}, strangers=("digits",))
    assert better.line == (
        "unknown by distance: mean AUROC 0.9000 by score, 0.9500 by distance, on one half of digits"
    )


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


@pytest.mark.medium
def test_files_of_auto_know_their_images_and_not_noise(
    checkpoint: Path, images: Images, tmp_path: Path
) -> None:
    said: list[str] = []
    asked = request(checkpoint, tmp_path / "bundle")
    decided = deciding_by("auto", asked, images, ("textures", "noise"), said.append)
    assert said[0].startswith(f"unknown by {decided.unknown}: mean AUROC ")
    by_distance = deciding_by("distance", asked, images, (), said.append)
    export_bundle(by_distance, images)
    noise = np.random.default_rng(1).integers(0, 256, (200, 28, 28, 1), np.uint8)
    thresholds = []
    for name in ("int8.tflite", "fp32.onnx"):
        with Classifier.load(tmp_path / "bundle" / name) as classifier:
            known = [each.known for each in classifier.classify_batch(images.test_images)]
            strangers = [each.known for each in classifier.classify_batch(noise)]
        distance = read_stamped(tmp_path / "bundle" / name).stamp.distance
        assert distance is not None
        thresholds.append(distance.threshold)
        # 1 % of the correct validation images are beyond the threshold
        assert np.mean(known) > 0.9
        assert np.mean(strangers) < 0.2
    assert thresholds[0] != thresholds[1], "each is fitted through its own file"
