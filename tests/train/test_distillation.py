"""Distillation: the loss is the formula's, students learn, teachers that do not fit are refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.special import log_softmax, softmax

from hemline.cli import cli
from hemline.contract.checkpoint import MODEL_NAME, read_card
from hemline.data.splits import TrainingData
from hemline.errors import FileFormatError, UsageError
from hemline.files import sha256_of
from hemline.remedies import described
from hemline.train.checkpoint import ZOO

Fit = Callable[..., Any]
TEMPERATURE, SHARE = 3.0, 0.6
KNOWING = ZOO / "hem-50k"


@pytest.fixture(scope="module")
def teachers(fit_small: Fit, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """Return the folders of two teachers: one that knows the small images, one that does not."""
    folders = tuple(tmp_path_factory.mktemp(name) for name in ("good", "bad"))
    for folder, epochs in zip(folders, (25, 1), strict=True):
        trained = fit_small(epochs=epochs, learning_rate=0.01, dropout=0.0)
        trained.model.save(folder / MODEL_NAME)
    return folders


def student_of(folders: tuple[Path, ...], model: Any, smoothing: float) -> Any:
    import keras

    from hemline.train.fitting.distillation import Student, open_teachers

    student = Student(
        inputs=model.input,
        outputs=model.output,
        teach=open_teachers(folders, TEMPERATURE),
        share=SHARE,
        temperature=TEMPERATURE,
    )
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing)
    student.compile("sgd", loss)
    return student


@pytest.mark.medium
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_loss_is_the_one_of_the_paper(
    count: int,
    weighted: bool,
    teachers: tuple[Path, ...],
    tiny_model: Any,
    small_data: TrainingData,
) -> None:
    """Hinton et al. (2015), section 2, less what the teachers' answers alone amount to.

    Several teachers are averaged (their section 5).
    """
    import keras

    images = small_data.train_images[:20].astype(np.float32)
    targets = np.eye(4, dtype=np.float32)[small_data.train_labels[:20]]
    weights = np.linspace(0.2, 2, 20, dtype=np.float32) if weighted else None
    student = student_of(teachers[:count], tiny_model, smoothing=0.1)
    logits = np.asarray(student(images))
    found = float(student.compute_loss(images, targets, logits, sample_weight=weights))

    models = [keras.models.load_model(folder / MODEL_NAME) for folder in teachers[:count]]
    soft = [softmax(np.asarray(model(images)) / TEMPERATURE, axis=1) for model in models]
    soft_mean = np.mean(soft, axis=0)
    theirs = (soft_mean * (np.log(soft_mean) - log_softmax(logits / TEMPERATURE, axis=1))).sum(1)
    own = -((0.9 * targets + 0.1 / 4) * log_softmax(logits, axis=1)).sum(axis=1)
    blended = (1 - SHARE) * own + SHARE * TEMPERATURE**2 * theirs
    expected = (blended * (1 if weights is None else weights)).mean()
    # the difference of two sums of about 1, times 16: 16 · 2^-23 · 10
    assert found == pytest.approx(expected, rel=1e-5, abs=2e-5)


@pytest.mark.medium
def test_a_student_that_answers_as_its_teacher_has_no_distance(
    teachers: tuple[Path, ...], tiny_model: Any, small_data: TrainingData
) -> None:
    import keras

    images = small_data.train_images[:20].astype(np.float32)
    targets = np.eye(4, dtype=np.float32)[small_data.train_labels[:20]]
    student = student_of(teachers[:1], tiny_model, smoothing=0.0)
    logits = np.asarray(keras.models.load_model(teachers[0] / MODEL_NAME)(images))
    own = -(targets * log_softmax(logits, axis=1)).sum(axis=1).mean()
    found = float(student.compute_loss(images, targets, logits))
    assert found == pytest.approx((1 - SHARE) * own, abs=2e-5)


@pytest.mark.medium
def test_a_teacher_is_neither_trained_nor_counted_nor_saved(
    teachers: tuple[Path, ...], tiny_model: Any, fit_small: Fit, tmp_path: Path
) -> None:
    student = student_of(teachers, tiny_model, smoothing=0.0)
    assert list(map(id, student.variables)) == list(map(id, tiny_model.variables))
    assert student.count_params() == tiny_model.count_params()
    before = [sha256_of(folder / MODEL_NAME) for folder in teachers]
    sizes = {}
    for name, given in (("with", teachers), ("without", ())):
        with pytest.raises(KeyboardInterrupt):
            fit_small(tmp_path / name, teachers=given, epochs=2, stop_after=1)
        with np.load(tmp_path / name / "progress" / "epoch-1.npz") as arrays:
            sizes[name] = [arrays[each].shape for each in arrays.files]
    assert sizes["with"] == sizes["without"]
    assert [sha256_of(folder / MODEL_NAME) for folder in teachers] == before


@pytest.mark.slow
def test_a_good_teacher_makes_up_for_bad_labels(
    teachers: tuple[Path, ...], fit_small: Fit, small_data: TrainingData
) -> None:
    """Of the student's labels three in four are drawn at random."""
    random = np.random.default_rng(6)
    labels = small_data.train_labels.copy()
    wrong = random.random(len(labels)) < 0.75
    labels[wrong] = random.integers(0, 4, wrong.sum())
    data = replace(small_data, train_labels=labels)
    fields = {"data": data, "epochs": 20, "learning_rate": 0.01, "distillation": 0.9}
    alone, taught = (fit_small(**fields, teachers=given) for given in ((), teachers[:1]))
    ended = [run.history[-1].validation_accuracy for run in (alone, taught)]
    assert ended[1] > ended[0] + 0.15


@pytest.mark.slow
def test_a_stopped_student_in_bfloat16_ends_like_one_that_was_not(
    teachers: tuple[Path, ...], require_alike: Fit
) -> None:
    whole = require_alike(
        teachers=teachers, epochs=2, precision="mixed_bfloat16", mixup=0.3, shift=1,
        class_weights="balanced", ema=0.5,
    )  # fmt: skip
    assert {variable.dtype for variable in whole.model.weights} == {"float32"}


def test_a_teacher_that_fits_is_taken() -> None:
    from hemline.train.fitting.distillation import read_teachers

    card = read_card(KNOWING)
    found = read_teachers(
        [KNOWING], labels=card.model.labels, shape=card.model.shape, split=card.trained.split
    )
    assert found == (card,)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"labels": ("cat", "dog")},
            r"has other classes \(T-shirt/top, .*\) than .*\(cat, dog\)",
        ),
        ({"labels": "reversed"}, "has other classes"),
        ({"shape": (32, 32, 3)}, "accepts 28 × 28 × 1 images, the data has 32 × 32 × 3"),
        (
            {"split": "another"},
            "trained on another split, so it may have seen the validation images",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_teacher_that_does_not_fit_is_refused(changes: dict[str, Any], message: str) -> None:
    from hemline.train.fitting.distillation import read_teachers

    card = read_card(KNOWING)
    fitting = {"labels": card.model.labels, "shape": card.model.shape, "split": card.trained.split}
    if changes.get("labels") == "reversed":
        changes = {"labels": card.model.labels[::-1]}
    if "split" in changes:
        changes = {"split": replace(card.trained.split, validation_sha256="0" * 64)}
    with pytest.raises(UsageError, match=message) as refused:
        read_teachers([KNOWING], **{**fitting, **changes})
    assert str(KNOWING) in str(refused.value)


@pytest.mark.slow
def test_a_recipe_of_a_taught_checkpoint_brings_its_model_and_its_teachers(
    checkpoint: Path, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(*words: str, output: str) -> str:
        small = ("--validation", "100", "--epochs", "1", "--data", str(data_folder), "-o", output)
        result = CliRunner().invoke(cli, ["train", *words, *small])
        if result.exception is not None:
            raise result.exception
        return result.stderr

    monkeypatch.chdir(tmp_path)
    shutil.copytree(checkpoint, "teachers/knowing")
    train("mlp", "--teacher", "teachers/knowing", output="teachers/student")
    first = read_card(Path("teachers/student"))
    told = train("--recipe", "teachers/student", output="again")
    assert f"teachers: {tmp_path}/teachers/knowing\n" in told
    again = read_card(Path("again"))
    assert (again.model.name, again.trained.teachers) == ("mlp", first.trained.teachers)
    assert again.trained.scores == first.trained.scores
    told = train("cnn", "--recipe", "teachers/student", output="other")
    assert "without the teachers of teachers/student: they are for mlp on its images" in told
    assert read_card(Path("other")).trained.teachers == ()
    with pytest.raises(UsageError, match="checkpoints that are neither beside it nor") as missing:
        train("--recipe", "again/card.json", output="none")
    assert first.trained.teachers[0][:12] in str(missing.value)
    assert "`hemline recipe again > mine.toml`" in described(missing.value)
    assert not Path("none").exists()


@pytest.mark.slow
def test_a_command_trains_with_a_teacher_and_tells_it_in_the_card(
    data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def train(*words: str) -> Any:
        common = ["--data", str(data_folder), "--validation", "100", "--epochs", "1"]
        result = CliRunner().invoke(cli, ["-q", "train", "mlp", *common, *words])
        if result.exception is not None:
            raise result.exception
        return result

    train("-o", "teacher")
    teacher = read_card(Path("teacher"))
    train("-o", "student", "--teacher", "teacher")
    assert read_card(Path("student")).trained.teachers == (teacher.model.sha256,)
    with pytest.raises(
        UsageError, match="teacher is a teacher: save the checkpoint in another folder"
    ):
        train("-o", "teacher", "--teacher", "./teacher", "--force")
    with pytest.raises(UsageError, match="trained on another split, so"):
        train("-o", "other", "--teacher", "teacher", "--limit", "700")
    with pytest.raises(FileFormatError, match="nowhere does not exist: name a folder"):
        train("-o", "other", "--teacher", "nowhere")
    assert read_card(Path("teacher")) == teacher
