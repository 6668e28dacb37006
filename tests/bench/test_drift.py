"""Drift raises an alarm, and images like those of validation do not, whatever their number."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from hemline.bench.drift.judging import Judged, Measure, Period, grouped, measured
from hemline.cli import cli
from hemline.contract import schema
from hemline.contract.monitoring import Counts, Reference
from hemline.contract.specs import InputSpec, OutputSpec
from hemline.contract.stamp import Stamp
from hemline.data.datasets import Images
from hemline.errors import EvidenceError, GateError, UsageError
from hemline.remedies import described
from hemline.runtime import Classifier
from hemline.runtime.monitoring import Monitor

BINS = 20
EDGES = tuple(np.linspace(0.5, 0.99, BINS - 1).tolist())


def reference(counts: Counts) -> Reference:
    edges = EDGES if counts.distances else ()
    return Reference(counts=counts, score_edges=EDGES, distance_edges=edges)


def even(classes: int = 10) -> Reference:
    bins = (2000 // BINS,) * BINS
    labels = (2000 // classes,) * classes
    labels = (labels[0] + 2000 - sum(labels), *labels[1:], 0)
    return reference(Counts(labels=labels, scores=bins, distances=bins))


def drawn(random: np.random.Generator, images: int, labels: object, scores: object) -> Counts:
    def counts(shares: object) -> tuple[int, ...]:
        shares = np.asarray(shares, float)
        return tuple(random.multinomial(images, shares / shares.sum()).tolist())

    return Counts(labels=counts(labels), scores=counts(scores), distances=counts(scores))


def alarms(measures: tuple[Measure, ...]) -> list[str]:
    return [each.name for each in measures if each.alarm]


@pytest.mark.parametrize("classes", [2, 10, 30])
@pytest.mark.parametrize("images", [30, 60, 200, 500, 5000, 1_000_000])
def test_windows_without_drift_raise_no_alarm(images: int, classes: int) -> None:
    """The reference is itself a sample; 20 windows raise an alarm in 2 of 1,000 such tests."""
    random = np.random.default_rng(classes)
    shares = random.dirichlet(np.full(classes + 1, 3.0))
    expected = reference(drawn(random, 2000, shares, np.ones(BINS)))
    windows = [drawn(random, images, shares, np.ones(BINS)) for _ in range(20)]
    found = [measured(each, expected) for each in windows]
    assert all(found)
    assert not any(map(alarms, found))


@pytest.mark.medium
@pytest.mark.parametrize("images", [50, pytest.param(500, marks=pytest.mark.slow)])
def test_false_alarms_are_as_rare_as_the_threshold_says(images: int) -> None:
    """Of 4,000 windows 0.4 are expected to raise one, and 5 or more in one test of 15,000."""
    random, shares = np.random.default_rng(images), ([*np.ones(10), 0], np.ones(BINS))
    found = 0
    for _ in range(4000):
        expected = reference(drawn(random, 2000, *shares))
        found += bool(alarms(measured(drawn(random, images, *shares), expected)))
    assert found < 5


@pytest.mark.parametrize("images", [150, 500, 5000])
def test_drift_of_labels_and_of_scores_raises_an_alarm(images: int) -> None:
    random, classes = np.random.default_rng(0), [*np.ones(10), 0]
    labels = drawn(random, images, [*range(1, 6), 0, 0, 0, 0, 0, 0], np.ones(BINS))
    assert alarms(measured(labels, even())) == ["label share", "label PSI"]
    scores = drawn(random, images, classes, np.arange(BINS, 0, -1) ** 2)
    assert set(alarms(measured(scores, even()))) >= {"score KS", "distance KS"}
    strangers = drawn(random, images, [*np.ones(10), 10], np.ones(BINS))
    assert alarms(measured(strangers, even())) == ["label share", "label PSI"]


@pytest.mark.parametrize("validation", [(15, 15), (10, 10, 10), (3,) * 10, (667, 667, 666)])
def test_images_of_one_class_raise_an_alarm_with_any_number_of_images(
    validation: tuple[int, ...],
) -> None:
    scores = (sum(validation), *[0] * (BINS - 1))
    expected = reference(Counts(labels=(*validation, 0), scores=scores))
    for images in (30, 240, 500):
        labels = (images, *[0] * len(validation))
        found = measured(Counts(labels=labels, scores=(images, *scores[1:])), expected)
        assert "label share" in alarms(found), images


def test_the_change_of_a_share_is_judged_by_the_exact_test_of_fisher() -> None:
    """Of one class more than by chance, and of another one less: both tails, for 3 classes."""

    def chance(possible: range, total: int) -> float:
        ways = sum(math.comb(total, each) * math.comb(135 - total, 60 - each) for each in possible)
        return ways / math.comb(135, 60)

    expected = Counts(labels=(20, 20, 20), scores=(60, 0))
    for labels in ((25, 25, 25), (34, 10, 31), (47, 14, 14), (55, 10, 10), (40, 0, 35)):
        counts = Counts(labels=labels, scores=(75, 0))
        share, *_ = measured(counts, Reference(counts=expected, score_edges=(0.5,)))
        ways = [(x, 20 + each) for each in labels for x in (range(21), range(20, 61))]
        chances = [chance(possible, total) for possible, total in ways]
        assert share.alarm == (min(chances) < 1e-4 / 4 / 3 / 2), labels


def test_a_single_class_has_no_share_that_could_change() -> None:
    counts = Counts(labels=(50, 0), scores=(25, 25))
    share, *_ = measured(counts, Reference(counts=counts, score_edges=(0.5,)))
    assert (share.name, share.value, share.alarm) == ("label share", 0, False)


def test_the_measures_are_those_of_their_formulas() -> None:
    expected = Counts(labels=(500, 500, 0), scores=(400, 600))
    counts = Counts(labels=(300, 700, 0), scores=(500, 500))
    found = {m.name: m for m in measured(counts, Reference(counts=expected, score_edges=(0.5,)))}
    assert list(found) == ["label share", "label PSI", "score PSI", "score KS"]
    assert found["label share"].value == pytest.approx(0.2)
    p, q = 300.5 / 1001, 500.5 / 1001
    psi = (p - q) * np.log(p / q) + (q - p) * np.log((1 - p) / (1 - q))
    assert found["label PSI"].value == pytest.approx(psi)
    # chi-squared with one degree of freedom exceeds 17.7645 with probability 1e-4 / 4
    assert found["label PSI"].threshold == pytest.approx(17.7645 * 2 / 1000, rel=1e-4)
    assert found["score KS"].value == pytest.approx(0.1)
    threshold = np.sqrt(-np.log(1e-4 / 4 / 2) / 2) * np.sqrt(2 / 1000)
    assert found["score KS"].threshold == pytest.approx(threshold)


@pytest.mark.medium
@given(
    counts=st.lists(st.integers(0, 300), min_size=2, max_size=40).filter(any),
    expected=st.lists(st.integers(0, 900), min_size=40, max_size=40),
)
def test_groups_have_enough_images_and_none_is_lost(counts: list[int], expected: list[int]) -> None:
    expected = [1, *expected[1 : len(counts)]]
    sums, found = np.array([sum(counts), sum(expected)]), grouped(np.array((counts, expected)).T)
    if len(found):
        assert found.sum(axis=0).tolist() == sums.tolist()
        assert (found.sum(axis=1) * sums.min() / sums.sum() >= 20).all()


def write(folder: Path, *shares: object, classes: int = 10, images: int = 600) -> Path:
    """Write what a monitor would: an artifact, and a window for each of these shares of classes."""
    counts = replace(even(classes).counts, distances=())
    about = Stamp(
        name="int8.tflite",
        scheme="int8",
        format="tflite",
        model="m",
        labels=tuple(f"class {at}" for at in range(classes)),
        input=InputSpec(height=2, width=2, channels=1, dtype="int8"),
        outputs=(OutputSpec(size=classes, dtype="float32"),),
        supported_runtimes=(),
        parent_sha256="p",
        reference=reference(counts),
    )
    schema.save(folder / "a" / "artifact.json", about)
    random = np.random.default_rng(0)
    for hour, each in enumerate(shares):
        window = replace(drawn(random, images, each, np.ones(BINS)), distances=())
        schema.save(folder / "a" / "windows" / f"2026-01-01T{hour:02}.json", window)
    return folder


EVEN, SKEWED = [*np.ones(10), 0], [*range(10), 5]


@pytest.mark.parametrize("classes", [2, 30])
def test_the_command_shows_a_calm_folder(tmp_path: Path, classes: int) -> None:
    folder = write(tmp_path, *[[*np.ones(classes), 0]] * 3, classes=classes)
    result = CliRunner().invoke(cli, ["drift", str(folder)])
    assert result.exit_code == 0, result.output
    assert result.stdout.count("no drift") == 3
    assert "int8.tflite: value / threshold" in result.stdout
    assert (folder / "drift-a.png").read_bytes().startswith(b"\x89PNG")
    same = CliRunner().invoke(cli, ["drift", str(folder / "a"), "--json"])
    assert len(same.stdout.splitlines()) == 3


def test_an_alarm_ends_with_exit_code_3_unless_later_periods_are_asked_for(tmp_path: Path) -> None:
    folder = write(tmp_path, EVEN, SKEWED, EVEN)
    result = CliRunner().invoke(cli, ["drift", str(folder), "--json"])
    assert isinstance(result.exception, GateError)
    assert str(result.exception).endswith("those on validation images in 1 of 3 periods")
    documents = [json.loads(line) for line in result.stdout.splitlines()]
    assert [each["alarm"] for each in documents] == [False, True, False]
    above = [m["name"] for m in documents[1]["measures"] if m["value"] > m["threshold"]]
    assert above == ["label share", "label PSI"]
    assert (documents[1]["artifact"], documents[1]["start"]) == ("int8.tflite", "2026-01-01T01")
    counts, validation = documents[1]["counts"], documents[1]["validation"]
    assert list(counts["labels"]) == [f"class {at}" for at in range(10)]
    assert sum(counts["labels"].values()) + counts["unknown"] == counts["images"] == 600
    assert (validation["images"], validation["unknown"]) == (2000, 0)
    assert documents[1]["edges"] == {"scores": list(EDGES), "distances": []}
    assert (documents[1]["judged"], documents[1]["not_judged"]) == (True, [])
    assert not list(folder.glob("*.png"))
    calm = CliRunner().invoke(cli, ["drift", str(folder), "--last", "1", "--json"])
    assert (calm.exit_code, len(calm.stdout.splitlines())) == (0, 1)
    merged = CliRunner().invoke(cli, ["drift", str(folder), "--images", "1800", "--json"])
    document = json.loads(merged.stdout)
    assert document["counts"]["images"] == 1800
    assert (document["start"], document["end"]) == ("2026-01-01T00", "2026-01-01T02")


def test_too_few_images_are_no_evidence(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["drift", str(write(tmp_path, EVEN, images=20))])
    assert isinstance(result.exception, EvidenceError)
    assert "there are 20 (a running service saves once a minute)" in str(result.exception)
    assert "20 of 500" in result.stdout
    assert "too few images\n" in result.stdout
    result = CliRunner().invoke(cli, ["drift", str(tmp_path), "--json"])
    document = json.loads(result.stdout)
    assert (document["judged"], document["alarm"]) == (False, False)
    assert document["not_judged"] == ["label share", "label PSI", "score PSI", "score KS"]
    assert CliRunner().invoke(cli, ["drift", str(tmp_path), "--images", "29"]).exit_code == 2


def test_measures_that_need_more_images_are_shown_as_not_judged(tmp_path: Path) -> None:
    folder = write(tmp_path, EVEN, images=35)
    result = CliRunner().invoke(cli, ["drift", str(folder)])
    assert result.exit_code == 0
    assert result.stdout.count("–") == 3  # two cells, and the line that explains them
    assert result.stdout.startswith(
        "int8.tflite: value / threshold, against 2,000 validation images\n"
    )
    assert result.stdout.endswith(
        "\n–: too few images for two groups with 20 expected images each\n"
    )
    (line,) = CliRunner().invoke(cli, ["drift", str(folder), "--json"]).stdout.splitlines()
    assert json.loads(line)["not_judged"] == ["label PSI", "score PSI"]


@pytest.mark.parametrize("labels", [("a", "b"), ("a", "unknown")])
def test_a_class_called_unknown_is_told_apart_in_json(labels: tuple[str, ...]) -> None:
    period = Period(
        artifact="x", start="", end="", counts=Counts(labels=(1, 2, 3), scores=(6, 0)), measures=(),
        alarm=False,
    )  # fmt: skip
    found = Judged(labels, Reference(counts=period.counts, score_edges=(0.5,)), [period], 0)
    counts = found.document(period)["counts"]
    assert (counts["labels"], counts["unknown"]) == ({"a": 1, labels[1]: 2}, 3)


def test_a_damaged_window_is_no_evidence_and_the_others_are_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write(tmp_path, EVEN, EVEN, EVEN)
    (folder / "a" / "windows" / "2026-01-01T00.json").write_text("{")
    other = Counts(labels=(99,), scores=(99,))
    schema.save(folder / "a" / "windows" / "2026-01-01T01.json", other)
    result = CliRunner().invoke(cli, ["drift", str(folder), "--json"])
    assert isinstance(result.exception, EvidenceError)
    assert str(result.exception) == "counts are lost: whether there was drift is not known"
    assert len(result.stdout.splitlines()) == 1
    for hour in ("00", "01"):
        path = folder / "a" / "windows" / f"2026-01-01T{hour}.json"
        assert f"counts are lost: cannot read {path}: if it is damaged, delete it" in caplog.text
        path.unlink()
    assert CliRunner().invoke(cli, ["drift", str(folder), "--json"]).exit_code == 0


@pytest.mark.parametrize("content", [None, "", "{}"])
def test_an_artifact_without_readable_counts_is_named(tmp_path: Path, content: str | None) -> None:
    folder = write(tmp_path, EVEN)
    shutil.copytree(folder / "a", folder / "b")
    (folder / "c").mkdir()
    shutil.copy(folder / "a" / "artifact.json", folder / "c")
    place = folder / "b" / "artifact.json"
    place.unlink() if content is None else place.write_text(content)
    result = CliRunner().invoke(cli, ["drift", str(folder), "--json"])
    assert isinstance(result.exception, EvidenceError)
    assert "warning: counts are lost, unless that file is monitored there again: " in result.stderr
    assert str(place) in result.stderr
    assert "c: no readable counts\n" in result.stderr
    assert len(result.stdout.splitlines()) == 1


def test_few_validation_images_show_large_drift_of_labels_and_no_other() -> None:
    """Of three classes, with 30 validation images: asymptotic thresholds need 20 of each class."""
    expected = Counts(labels=(10, 10, 10, 0), scores=(15, 15))
    reference = Reference(counts=expected, score_edges=(0.5,))
    boots = Counts(labels=(240, 0, 0, 0), scores=(120, 120))
    measures = measured(boots, reference)
    assert [each.name for each in measures] == ["label share", "score KS"]
    assert alarms(measures) == ["label share"]
    random, shares = np.random.default_rng(0), np.array((1, 1, 1, 0)) / 3
    for _ in range(20):
        labels = tuple(random.multinomial(240, shares).tolist())
        assert not alarms(measured(replace(boots, labels=labels), reference))


def test_another_folder_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["drift", str(tmp_path)])
    assert isinstance(result.exception, UsageError)
    assert described(result.exception).endswith(
        "is not the folder of a monitor; name the folder of --monitor, of `hemline classify` or "
        "`hemline serve`"
    )


def test_planted_drift_of_an_exported_file_raises_an_alarm(
    bundle: Path, images: Images, tmp_path: Path
) -> None:
    """The model of the tests knows its classes by a bright bar in one of ten places."""
    pixels, labels = images.test_images[..., None], images.test_labels
    pixels = pixels.reshape(-1, 28, 28, 1)
    few = pixels[labels < 4]
    with Classifier.load(bundle / "int8.tflite") as classifier:
        planted = {"calm": pixels, "inverted": 255 - pixels, "classes": np.concatenate([few] * 2)}
        for name, batch in planted.items():
            with Monitor(tmp_path / name, classifier.stamp) as monitor:
                monitor.add(classifier.classify_batch(batch), batch)
    codes = {
        name: CliRunner().invoke(cli, ["drift", str(tmp_path / name), "--json"]).exception
        for name in planted
    }
    assert codes["calm"] is None
    assert isinstance(codes["inverted"], GateError)
    assert isinstance(codes["classes"], GateError)
