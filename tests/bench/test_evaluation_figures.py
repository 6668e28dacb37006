"""The figures of an evaluation: scikit-learn's, the literature's, and by hand."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.metrics import classification_report
from sklearn.metrics import confusion_matrix as confusion_of

from hemline.bench.evaluation.calibration import BINS, bins_of, calibration_of, merged_bins
from hemline.bench.evaluation.charts import _too_often
from hemline.bench.evaluation.images import SplitImages
from hemline.bench.evaluation.measures import averaged, predictions_of, result_of
from hemline.bench.evaluation.pictures import PICTURES
from hemline.bench.evaluation.result import Evaluation, Origin, RunResult, Separation
from hemline.bench.evaluation.running import EvaluationRun
from hemline.bench.evaluation.text import (
    as_report,
    confusion_table,
    scores_table,
    separation_note,
    separation_table,
    verdict,
    wrong_table,
)
from hemline.contract.schema import from_document, to_document
from hemline.figures import Heading, fitted, short_labels, text_width
from hemline.statistics import wilson
from hemline.tables import as_csv
from hemline.tiles import Gallery, balanced_sample
from hemline.train.explanation.curves import epoch_ticks

RANDOM = np.random.default_rng(7)
NAMES = ("ant", "bee", "accuracy", "dog")
LABELS = RANDOM.integers(0, 4, 500).astype(np.uint8)
LOGITS = (RANDOM.normal(0, 1.5, (500, 4)) + 2 * np.eye(4)[LABELS]).astype(np.float32)
ORIGIN = Origin(
    name="a",
    kind="checkpoint",
    model="tiny",
    sha256="0" * 64,
    parameters=10,
    macs=20,
    size_bytes=3000,
    runtime="keras",
    runtime_version="3",
    members=(),
    layers=(),
)


def result(logits: np.ndarray = LOGITS, labels: np.ndarray = LABELS, **more: object) -> RunResult:
    names = NAMES[: logits.shape[1]]
    images = [f"test[{at}]" for at in range(len(labels))]
    return result_of(ORIGIN, predictions_of(logits, 1.5), labels, names, images=images, **more)  # type: ignore[arg-type]


def evaluation(*results: RunResult) -> Evaluation:
    return Evaluation(
        split="test",
        dataset="zoo",
        title="Zoo",
        source="here",
        images_sha256="0" * 64,
        labels=NAMES,
        results=results,
        notes=("something else",),
        versions={},
        created="now",
    )


def test_the_figures_are_those_of_scikit_learn() -> None:
    found, predicted = result(), LOGITS.argmax(axis=1)
    # the third class has the name of a line, which is why its line is not read here
    report = classification_report(
        LABELS, predicted, target_names=("0", "1", "2", "3"), output_dict=True
    )
    for at, scores in enumerate(found.classes):
        line = report[str(at)]
        figures = (scores.precision, scores.recall, scores.f1_score, scores.support)
        assert figures == (line["precision"], line["recall"], line["f1-score"], line["support"])
    for name, mean in (("macro avg", found.macro), ("weighted avg", found.weighted)):
        line = report[name]
        figures = (mean.precision, mean.recall, mean.f1_score)
        assert figures == (line["precision"], line["recall"], line["f1-score"])
    assert found.accuracy == report["accuracy"]
    assert found.confusion == tuple(map(tuple, confusion_of(LABELS, predicted).tolist()))
    assert (found.accuracy_low, found.accuracy_high) == wilson(found.correct, 500)


def test_a_class_called_accuracy_keeps_its_line() -> None:
    rows = scores_table(result()).rows
    assert [row[0] for row in rows] == [*NAMES, "accuracy", "macro avg", "weighted avg"]
    assert rows[2][4] == str((LABELS == 2).sum())
    assert rows[4][3] == f"{result().accuracy:.4f}"


def test_a_class_without_images_and_one_that_is_never_answered_count_as_0() -> None:
    labels = np.array([0, 0, 1], np.uint8)
    found = result(np.eye(3, dtype=np.float32)[[0, 0, 0]], labels)
    assert [each.support for each in found.classes] == [2, 1, 0]
    assert [each.recall for each in found.classes] == [1, 0, 0]
    assert [each.precision for each in found.classes] == [2 / 3, 0, 0]
    assert found.macro.recall == pytest.approx(1 / 3)


def test_the_most_confused_pairs_come_first_and_no_right_answer_is_among_them() -> None:
    labels = np.array([0] * 5 + [1] * 9 + [2], np.uint8)
    answered = [1, 1, 1, 0, 0, *[0] * 4, *[1] * 5, 2]
    pairs = result(np.eye(3, dtype=np.float32)[answered], labels).most_confused
    assert [(p.true, p.predicted, p.images) for p in pairs] == [
        ("bee", "ant", 4),
        ("ant", "bee", 3),
    ]


def test_the_calibration_error_is_as_by_hand() -> None:
    """Two bins: 3 answers of 0.9 with 2 right, and 1 of 0.6 that is right."""
    likely = np.array([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.4, 0.6]])
    labels = np.array([0, 0, 0, 1], np.uint8)
    found = calibration_of(likely, labels, 1.0)
    expected = (3 * abs(2 / 3 - 0.9) + 1 * abs(1 - 0.6)) / 4
    assert found.expected_calibration_error == pytest.approx(expected)
    assert found.cross_entropy == pytest.approx(-np.log([0.9, 0.9, 0.1, 0.6]).mean())


def test_bins_are_open_below_and_closed_above() -> None:
    """A confidence on a border belongs to the lower bin, as in eq. 2 of Guo et al."""
    border = 8 / BINS
    bins = bins_of(np.array([border, np.nextafter(border, 1), 1.0]), np.array([True, False, True]))
    assert [(b.images, b.accuracy) for b in bins if b.images] == [(1, 1), (1, 0), (1, 1)]
    assert bins[7].images == bins[8].images == bins[14].images == 1
    assert sum(b.images for b in bins) == 3


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_right_temperature_leaves_next_to_no_calibration_error(temperature: float) -> None:
    """Labels drawn from the probabilities: what is left is the noise of 15 shares of 20,000."""
    logits = RANDOM.normal(0, 2, (20_000, 10)).astype(np.float32)
    chance = predictions_of(logits, temperature).scaled
    labels = (chance.cumsum(axis=1) > RANDOM.random((20_000, 1))).argmax(axis=1).astype(np.uint8)
    found = calibration_of(chance, labels, temperature)
    # a share of k answers is off by about 0.4/√k; weighted over the bins at most 0.4·√(15/20,000)
    assert found.expected_calibration_error < 0.4 * (15 / 20_000) ** 0.5
    if temperature != 1:
        wrong = calibration_of(predictions_of(logits, 1.0).scaled, labels, 1.0)
        assert wrong.expected_calibration_error > 0.1


def test_the_cross_entropy_without_temperature_is_that_of_the_logits() -> None:
    by_hand = -log_softmax(LOGITS.astype(np.float64), axis=1)[np.arange(500), LABELS].mean()
    plain, scaled = result().calibration
    assert plain.cross_entropy == pytest.approx(by_hand, rel=1e-12)
    assert (plain.temperature, scaled.temperature) == (1.0, 1.5)


def test_an_ensemble_is_the_mean_of_probabilities_each_with_its_own_temperature() -> None:
    one, other = predictions_of(LOGITS, 0.5), predictions_of(LOGITS[::-1], 4.0)
    together = averaged([one, other])
    np.testing.assert_allclose(together.scaled, (one.scaled + other.scaled) / 2)
    np.testing.assert_allclose(together.plain, (one.plain + other.plain) / 2)
    assert together.temperature is None


def test_a_better_one_has_a_difference_above_0() -> None:
    perfect = 9 * np.eye(4, dtype=np.float32)[LABELS]
    better = result(perfect, first=predictions_of(LOGITS, 1.0))
    assert better.difference is not None
    assert better.difference.points == pytest.approx(100 * (1 - result().accuracy))
    worse = result(first=predictions_of(perfect, 1.0))
    assert worse.difference is not None
    assert worse.difference.points == -better.difference.points
    assert worse.difference.half_width == better.difference.half_width > 0


def test_the_document_can_be_read_again() -> None:
    document = to_document(evaluation(result()))
    assert (document["kind"], document["schema"]) == ("evaluation", 1)
    assert from_document(Evaluation, document, where="it") == evaluation(result())


def test_the_verdict_says_whether_a_difference_may_be_chance() -> None:
    first = result()
    flipped = LOGITS.copy()
    right = np.flatnonzero(LOGITS.argmax(axis=1) == LABELS)
    flipped[right[0]] = -LOGITS[right[0]]  # one answer becomes wrong
    perfect = 9 * np.eye(4, dtype=np.float32)[LABELS]
    answers = predictions_of(LOGITS, 1.0)
    near = replace(result(flipped, first=answers), origin=replace(ORIGIN, name="b"))
    best = replace(result(perfect, first=answers), origin=replace(ORIGIN, name="c"))
    assert verdict(evaluation(first, near)).startswith("best of 2: a: ")
    assert verdict(evaluation(first, near)).endswith("no other one is worse by more than chance")
    assert verdict(evaluation(first, best)).startswith("best of 2: c: 100.00 % of 500 test images")
    assert verdict(evaluation(first, best)).endswith(" points against a")
    backwards = replace(first, difference=replace(near.difference, points=0.2))  # type: ignore[type-var, arg-type]
    assert verdict(evaluation(near, backwards)).endswith("against b, which may be chance")


def test_the_text_begins_with_the_verdict_and_tells_the_notes() -> None:
    lines = as_report(evaluation(result())).splitlines()
    assert lines[0] == verdict(evaluation(result()))
    assert lines[1] == "note: something else"
    assert "confusion matrix" in lines


def test_a_confusion_matrix_that_no_terminal_holds_is_left_to_json_and_pictures() -> None:
    many = result_of(
        ORIGIN,
        predictions_of(np.eye(30, dtype=np.float32), 1.0),
        np.arange(30, dtype=np.uint8),
        tuple(map(str, range(30))),
        images=[""] * 30,
    )
    assert "confusion matrix" not in as_report(evaluation(many))
    assert len(confusion_table(many).rows) == 30


def test_a_sample_has_as_many_images_of_each_class() -> None:
    labels = np.array([0] * 90 + [1] * 5 + [2] * 5, np.uint8)
    assert np.bincount(labels[balanced_sample(labels, 12)]).tolist() == [4, 4, 4]
    assert np.bincount(labels[balanced_sample(labels, 30)]).tolist() == [20, 5, 5]
    assert len(balanced_sample(labels[:2], 12)) == 2
    assert np.array_equal(balanced_sample(labels, 12), balanced_sample(labels, 12))


def test_the_chart_of_classes_counts_predictions_and_names_no_factor() -> None:
    """Of 3 ants and 1 bee the model takes 1 for an ant and 3 for bees."""
    logits = np.eye(2, dtype=np.float32)[[0, 1, 1, 1]]
    found = result(logits, np.array([0, 0, 0, 1], np.uint8))
    text = _too_often(found, NAMES)
    assert text == "bee predicted 3 times for 1 image, ant predicted 1 time for 3 images"
    assert _too_often(result(logits, np.array([0, 1, 1, 1], np.uint8)), NAMES) == (
        "each class is predicted as often as it occurs"
    )


def test_the_worst_mistakes_are_of_many_pairs_and_the_surest_of_each_first() -> None:
    scaled = predictions_of(LOGITS, 1.0).scaled
    pixels = np.zeros((500, 2, 2, 1), np.uint8)
    gallery = Gallery(pixels=pixels, labels=LABELS, probabilities=scaled, names=NAMES, images=())
    places, found = gallery.worst(500), LOGITS.argmax(axis=1)
    assert np.array_equal(np.sort(places), np.flatnonzero(found != LABELS))
    pairs = [(int(LABELS[at]), int(found[at])) for at in places]
    for pair in set(pairs):
        own = [scaled[at].max() for at, each in zip(places, pairs, strict=True) if each == pair]
        assert own == sorted(own, reverse=True)
    frequent = [pairs.count(pair) for pair in dict.fromkeys(pairs)]
    assert frequent == sorted(frequent, reverse=True)
    few = gallery.worst(len(set(pairs)))
    assert {(int(LABELS[at]), int(found[at])) for at in few} == set(pairs)
    perfect = replace(gallery, probabilities=np.eye(4)[LABELS])
    assert len(perfect.worst(30)) == 0


def test_wrong_predictions_name_their_images_the_surest_first() -> None:
    """Of 4 images one is right; the scores are those with temperature 2: e / (e + 1 + 1)."""
    logits = 2 * np.array([[1, 0, 0], [0, 1, 0], [2, 0, 0], [0, 0, 1]], np.float32)
    labels = np.array([0, 2, 1, 0], np.uint8)
    found = result_of(
        ORIGIN,
        predictions_of(logits, 2.0),
        labels,
        ("cat", "dog", "ship"),
        images=["cat/1.jpg", "ship/2.jpg", "dog/3.jpg", "cat/4.jpg"],
    )
    once, twice = (np.exp(x) / (np.exp(x) + 2) for x in (1, 2))
    assert [(x.image, x.true, x.predicted) for x in found.wrong] == [
        ("dog/3.jpg", "dog", "cat"),
        ("ship/2.jpg", "ship", "dog"),
        ("cat/4.jpg", "cat", "ship"),
    ]
    assert [x.score for x in found.wrong] == pytest.approx([twice, once, once], abs=1e-6)
    lines = as_report(evaluation(found)).splitlines()
    at = lines.index("wrong predictions with the highest scores (3 of 3)")
    assert lines[at + 3].split() == ["dog/3.jpg", "dog", "cat", "0.7870"]
    rows = csv.reader(as_csv(wrong_table(found)).splitlines())
    assert list(rows)[:2] == [
        ["image", "true", "predicted", "score"],
        ["dog/3.jpg", "dog", "cat", "0.7870"],
    ]


def test_neighbouring_bins_of_few_images_are_one_bar() -> None:
    """9 at 0.95 stay, 3 at 0.85 and 2 at 0.70 are one bin of 5, and 4 at 0.30 join it."""
    confidence = np.repeat([0.95, 0.85, 0.70, 0.30], [9, 3, 2, 4])
    correct = np.arange(18) % 2 == 0
    first, second = merged_bins(bins_of(confidence, correct))
    assert (first.images, second.images) == (9, 9)
    assert (second.low, second.high) == (4 / BINS, 13 / BINS)
    assert second.confidence == pytest.approx((3 * 0.85 + 2 * 0.70 + 4 * 0.30) / 9)
    assert second.accuracy == pytest.approx(correct[9:].mean())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("classes", "images", "channels"), [(2, 30, 3), (30, 300, 1), (10, 1, 1), (60, 70, 1)]
)
def test_every_chart_can_be_drawn(tmp_path: Path, classes: int, images: int, channels: int) -> None:
    names = tuple(f"a class with a rather long name, {at}" for at in range(classes))
    labels = RANDOM.integers(0, classes, images).astype(np.uint8)
    logits = RANDOM.normal(0, 1, (images, classes)) + 2 * np.eye(classes)[labels]
    predictions = predictions_of(logits.astype(np.float32), 1.5)
    split = SplitImages(
        name="test",
        dataset="zoo",
        title="Zoo",
        source="here",
        pixels=np.zeros((images, 8, 8, channels), np.uint8),
        labels=labels,
        counts={"test": tuple(np.bincount(labels, minlength=classes).tolist())},
    )
    found = result_of(ORIGIN, predictions, labels, names, images=split.image_names)
    run = EvaluationRun(result=found, predictions=predictions, split=split)
    for picture in PICTURES[:3]:
        path = tmp_path / f"{picture.name}.png"
        picture.draw(run, path, Heading(title=picture.title, subtitle="s" * 300))
        assert path.read_bytes().startswith(b"\x89PNG")


def test_labels_that_begin_alike_are_numbered_in_pictures() -> None:
    assert short_labels(["cat", "dog"]) == ("cat", "dog")
    long = [f"the same beginning of a name, number {at}" for at in range(12)]
    short = short_labels(long, most=20)
    assert len(set(short)) == 12
    assert short[11] == "11 the same beginni…"
    assert short_labels(["a\nb"]) == ("a b",)


def test_a_text_is_cut_to_the_width_that_is_there() -> None:
    assert fitted("short", 7, 2) == "short"
    cut = fitted("W" * 100, 7, 1)
    assert cut.endswith("…")
    # a W of 7 points is about 0.1 inches wide
    assert 6 <= len(cut) <= 12


def test_a_score_behind_a_name_is_never_cut() -> None:
    cut = fitted("true: a rather long class name", 7, 1.3, end=" 12 %")
    assert cut.startswith("true: a r")
    assert cut.endswith("… 12 %")
    assert text_width(cut, 7) <= 1.3
    assert fitted("true: cat", 7, 1.3, end=" 12 %") == "true: cat 12 %"
    assert fitted("true: cat", 7, 0.1, end=" 12 %") == "12 %"


def test_a_heading_is_not_cut_at_the_width_it_asks_for() -> None:
    heading = Heading(title="Feature maps", subtitle="a long subtitle " * 6)
    assert fitted(heading.subtitle, 8, heading.width - 0.16) == heading.subtitle


@pytest.mark.parametrize("epochs", [1, 2, 9, 10, 11, 12, 24, 50, 51, 100, 300, 3000])
def test_the_numbered_epochs_are_real_ones(epochs: int) -> None:
    ticks = epoch_ticks(1, epochs)
    assert ticks[0] == 1
    assert ticks == sorted(set(ticks))
    assert epochs / 2 <= ticks[-1] <= epochs
    assert len(ticks) <= 11


def test_strangers_are_told_by_each_method_and_the_one_that_decides_is_named() -> None:
    score = Separation(
        strangers="digits",
        images=900,
        method="score",
        decides=False,
        auroc=0.9,
        false_positive_rate=0.25,
        unknown_strangers=0.6,
        unknown_images=0.02,
    )
    distance = replace(score, method="distance", decides=True, auroc=0.98, unknown_images=0.01)
    found = replace(result(), separations=(score, distance))
    assert separation_table(found).rows[1] == (
        *("digits", "900", "distance", "0.9800", "25.00 %", "60.00 %"),
    )
    assert separation_note(found).startswith(
        "by distance, a calls unknown: 60.00 % of digits, and 1.00 % (5 of 500) of the images that "
    )
    assert "strangers" not in as_report(evaluation(result()))
    assert "FPR at 95 % TPR" in as_report(evaluation(found))
