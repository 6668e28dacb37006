"""Teachers' predictions that are kept are those that the teachers give to the same batches."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hemline.contract.checkpoint import MODEL_NAME
from hemline.data.splits import TrainingData
from hemline.train.recipes.recipe import Recipe

RECIPE = Recipe(shift=1, flip=True, batch=24, epochs=18)
VARIANTS = 18  # 3 × 3 shifts, each mirrored or not
HALF = 2.0**-11  # relative rounding of float16


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    """Return a folder with the file that names the teacher; `Teacher` stands for its model."""
    (tmp_path / MODEL_NAME).write_bytes(b"some weights")
    return tmp_path


class Teacher:
    """Four probabilities that depend on every pixel, and how often they were asked for."""

    def __init__(self) -> None:
        self.images = 0

    def __call__(self, images: Any) -> Any:
        import tensorflow as tf

        def counted(pixels: Any) -> Any:
            self.images += len(pixels)
            return pixels

        images = tf.ensure_shape(tf.numpy_function(counted, [images], tf.float32), images.shape)
        kernel = tf.sin(tf.reshape(tf.range(144 * 4, dtype=tf.float32), (144, 4)))
        return tf.nn.softmax(tf.reshape(images, (-1, 144)) @ kernel / 900)


def targets(teach: Any, data: TrainingData, teacher: Path, **changes: Any) -> Any:
    from hemline.train.fitting.soft_targets import soft_targets

    given = {"precision": "float32", "epochs": 18, "recipe": RECIPE, **changes}
    return soft_targets(teach, data.train_images, teachers=[teacher], **given)


@pytest.mark.parametrize(
    "changes", [{"flip": False}, {"shift": 0}, {}, {"shift": 3}], ids=lambda c: str(c)
)
def test_each_variant_is_what_augmentation_makes(
    changes: dict[str, Any], small_data: TrainingData
) -> None:
    import tensorflow as tf

    from hemline.train.fitting.augmentation import augment, variant_numbers, variants

    recipe, images = replace(RECIPE, **changes), small_data.train_images[:, :, :-2]
    seed = tf.constant([3, 4], tf.int64)
    changed = augment(tf.constant(images), recipe, seed=seed).numpy()
    numbers = variant_numbers(len(images), recipe, seed=seed).numpy()
    for number, before, after in zip(numbers, images, changed, strict=True):
        np.testing.assert_array_equal(variants(recipe)[number].of(before[None])[0], after)


@pytest.mark.parametrize("field", ["cutout", "erasing", "rotation", "zoom", "mixup"])
def test_what_is_not_only_shifted_and_flipped_has_no_variants(field: str) -> None:
    from hemline.train.fitting.augmentation import variants

    value = 2 if field in ("cutout", "rotation") else 0.5
    assert variants(replace(RECIPE, **{field: value})) is None


@pytest.mark.medium
@pytest.mark.parametrize("weights", ["none", "balanced"])
def test_batches_carry_what_the_teacher_predicts_for_them(
    weights: str, small_data: TrainingData, teacher: Path
) -> None:
    from hemline.train.fitting.pipeline import training_batches

    recipe = replace(RECIPE, class_weights=weights)
    soft, teach = targets(Teacher(), small_data, teacher), Teacher()
    arrays = small_data.train_images, small_data.train_labels
    given = {"seed": 1, "epochs": range(1, 3), "classes": 4}
    plain = training_batches(*arrays, recipe, **given)
    taught = training_batches(*arrays, recipe, **given, soft=soft)
    for one, other in zip(plain, taught, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1][:, :4])
        np.testing.assert_allclose(other[1][:, 4:], teach(one[0]), rtol=2 * HALF)
        assert len(one) == len(other) == (2 if weights == "none" else 3)


def test_predictions_are_kept_for_other_runs(small_data: TrainingData, teacher: Path) -> None:
    first, second = Teacher(), Teacher()
    made = targets(first, small_data, teacher)
    assert first.images == VARIANTS * len(small_data.train_images)
    found = targets(second, small_data, teacher, epochs=1, recipe=replace(RECIPE, epochs=1))
    assert second.images == 0
    for one, other in zip(made.tables, found.tables, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_recipe_that_shifts_less_needs_no_others(small_data: TrainingData, teacher: Path) -> None:
    made, second = targets(Teacher(), small_data, teacher), Teacher()
    still = replace(RECIPE, shift=0, flip=False)
    found = targets(second, small_data, teacher, epochs=0, recipe=still)
    assert second.images == 0
    np.testing.assert_array_equal(found.tables[0], made.tables[VARIANTS // 2 - 1])


def test_other_teachers_images_and_temperatures_have_their_own(
    small_data: TrainingData, teacher: Path
) -> None:
    def asked(data: TrainingData = small_data, **changes: Any) -> bool:
        teach = Teacher()
        targets(teach, data, teacher, **changes)
        return teach.images > 0

    assert (asked(), asked()) == (True, False)
    assert asked(recipe=replace(RECIPE, distillation_temperature=7.0))
    assert asked(precision="mixed_bfloat16")
    assert asked(replace(small_data, train_images=small_data.train_images[::-1]))
    (teacher / MODEL_NAME).write_bytes(b"other weights")
    assert (asked(), asked()) == (True, False)


def test_teachers_are_asked_in_each_step_where_that_is_less_work(
    small_data: TrainingData, teacher: Path
) -> None:
    assert targets(Teacher(), small_data, teacher, epochs=VARIANTS - 1) is None
    assert targets(Teacher(), small_data, teacher, recipe=replace(RECIPE, cutout=4)) is None


def test_stopped_work_goes_on_and_a_damaged_file_is_made_again(
    small_data: TrainingData, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hemline.train.fitting.augmentation import Variant

    made: list[Variant] = []
    each, variant = len(small_data.train_images), Variant.of

    def stopped(self: Variant, images: Any) -> Any:
        if len(made) == 5:
            raise KeyboardInterrupt
        made.append(self)
        return variant(self, images)

    monkeypatch.setattr(Variant, "of", stopped)
    with pytest.raises(KeyboardInterrupt):
        targets(Teacher(), small_data, teacher)
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rest = Teacher()
    whole = targets(rest, small_data, teacher)
    assert rest.images == (VARIANTS - 5) * each
    files = sorted((tmp_path / "cache").rglob("predictions.npy"))
    before = np.array(whole.tables[3])
    files[2].write_bytes(files[2].read_bytes()[:-100])
    damaged = bytearray(files[3].read_bytes())
    damaged[-400:] = bytes(400)
    files[3].write_bytes(damaged)
    again = Teacher()
    np.testing.assert_array_equal(targets(again, small_data, teacher).tables[3], before)
    assert again.images == 2 * each


def test_two_processes_share_the_work(small_data: TrainingData, teacher: Path) -> None:
    """Locks are of open files, so two threads exclude each other as processes do."""
    teachers, found = [Teacher(), Teacher()], {}

    def work(at: int) -> None:
        found[at] = targets(teachers[at], small_data, teacher)

    threads = [threading.Thread(target=work, args=(at,)) for at in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(each.images for each in teachers) == VARIANTS * len(small_data.train_images)
    for one, other in zip(found[0].tables, found[1].tables, strict=True):
        np.testing.assert_array_equal(one, other)


def test_predictions_of_few_teachers_are_kept(
    small_data: TrainingData, teacher: Path, tmp_path: Path
) -> None:
    recipe = replace(RECIPE, shift=0, flip=False)
    for at in range(6):
        (teacher / MODEL_NAME).write_bytes(bytes([at]))
        targets(Teacher(), small_data, teacher, recipe=recipe)
    assert len(list((tmp_path / "cache").rglob("predictions.npy"))) == 4
    last = Teacher()
    targets(last, small_data, teacher, recipe=recipe)
    assert last.images == 0


def test_a_cache_that_is_not_writable_is_done_without(
    small_data: TrainingData,
    teacher: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "taken").write_text("a file")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "taken"))
    with caplog.at_level(logging.WARNING, logger="hemline"):
        assert targets(Teacher(), small_data, teacher) is None
    assert "the teachers predict again in each epoch" in caplog.text
    assert "taken" in caplog.text


@pytest.mark.slow
def test_a_student_learns_the_same_from_kept_predictions(
    fit_small: Callable[..., Any],
    tiny_model: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tiny_model.save(tmp_path / MODEL_NAME)
    fields = {"teachers": (tmp_path,), "shift": 0, "flip": True, "class_weights": "balanced"}
    kept = fit_small(**fields)
    assert len(list((tmp_path / "cache").rglob("predictions.npy"))) == 2
    (tmp_path / "taken").write_text("a file")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "taken"))
    asked = fit_small(**fields)
    for one, other in zip(kept.history, asked.history, strict=True):
        # targets differ by 2^-11 of themselves at most, and so do eight steps that follow them
        assert one.loss == pytest.approx(other.loss, rel=1e-3)
        assert one.validation_loss == pytest.approx(other.validation_loss, rel=2e-3)
    assert kept.history[0].accuracy == pytest.approx(asked.history[0].accuracy, abs=0.02)
