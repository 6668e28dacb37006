"""Training: resumes exactly, refuses to mix runs, writes a checkpoint that describes itself."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from hemline.contract.card import Card
from hemline.contract.checkpoint import is_checkpoint, read_card
from hemline.data.datasets import Images, array_sha256
from hemline.errors import BusyError, FileFormatError, HemlineError, UnknownNameError, UsageError
from hemline.files import locked
from hemline.provenance import commit
from hemline.remedies import described
from hemline.train.checkpoint import ZOO
from hemline.train.nets.models import MODELS, build_model, count_macs, find_model
from hemline.train.recipes.recipe import RECIPES, Recipe
from hemline.train.recipes.recipe_file import named_recipe

Train = Callable[..., Card]


def figures(card: Card) -> list[tuple[float, float, float]]:
    return [(e.loss, e.validation_loss, e.validation_accuracy) for e in card.trained.history]


@pytest.mark.slow
def test_a_run_that_was_stopped_ends_like_one_that_was_not(
    train_checkpoint: Train, tmp_path: Path
) -> None:
    whole = train_checkpoint(tmp_path / "whole")
    assert whole.model.commit == commit()
    with pytest.raises(KeyboardInterrupt):
        train_checkpoint(tmp_path / "stopped", stop_after=2)
    assert not is_checkpoint(tmp_path / "stopped")
    resumed = train_checkpoint(tmp_path / "stopped")
    assert figures(resumed) == figures(whole)
    assert resumed.trained.scores == whole.trained.scores
    assert not (tmp_path / "stopped" / "progress").exists()


@pytest.mark.medium
def test_another_recipe_in_the_folder_of_an_unfinished_run_is_refused(
    train_checkpoint: Train, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_checkpoint(tmp_path, model="mlp", stop_after=1)
    with pytest.raises(HemlineError, match="unfinished run with another recipe") as caught:
        train_checkpoint(tmp_path, model="mlp", epochs=4)
    assert described(caught.value).endswith("finish that one, or start over with --restart")


@pytest.mark.medium
def test_a_loss_that_is_no_number_stops_with_advice(
    train_checkpoint: Train, tmp_path: Path
) -> None:
    with pytest.raises(HemlineError, match=r"diverged in epoch ") as caught:
        train_checkpoint(tmp_path, model="mlp", other_learning_rate=1e30)
    assert "; start over with --restart and a lower --learning-rate; " in described(caught.value)
    assert not is_checkpoint(tmp_path)


def test_two_runs_in_one_folder_do_not_mix(train_checkpoint: Train, tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(BusyError):
        train_checkpoint(tmp_path)


def test_the_card_describes_the_checkpoint(checkpoint: Path, images: Images) -> None:
    card = read_card(checkpoint)
    assert card.model.labels == images.dataset.labels
    assert card.trained.recipe_fields.keys() == {field.name for field in fields(Recipe)}
    kept = images.train_images[list(card.trained.split.validation_indices)]
    assert card.trained.split.validation_sha256 == array_sha256(kept)
    assert card.trained.data_sha256 == images.sha256
    assert card.trained.score("test").images == 200
    assert 0 < card.model.unknown_threshold < 1
    vector = card.model.test_vectors[0]
    np.testing.assert_array_equal(vector.image(card.model.shape), kept[0])
    with (checkpoint / "history.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["loss"]) for row in rows] == [epoch.loss for epoch in card.trained.history]


def test_a_swapped_model_is_noticed(checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(checkpoint, folder)
    with (folder / "checkpoint.keras").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(FileFormatError, match="does not match its card"):
        read_card(folder)


def test_a_folder_without_a_card_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"is not a checkpoint: it has no card\.json"):
        read_card(tmp_path)
    with pytest.raises(FileFormatError, match="none does not exist: name a folder that holds a"):
        read_card(tmp_path / "none")


QUICK = ("mlp", "hem-50k", "mobilenetv2")


@pytest.mark.medium
@pytest.mark.parametrize(
    "name",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in MODELS],
)
def test_a_model_takes_pixels_and_gives_logits(name: str) -> None:
    model = build_model(find_model(name), (28, 28, 1), 10, policy="float32")
    logits = model(np.zeros((2, 28, 28, 1), np.float32)).numpy()
    assert logits.shape == (2, 10)
    assert count_macs(model) > 0


def test_the_default_model_has_at_most_50000_parameters() -> None:
    model = build_model(MODELS["hem-50k"], (28, 28, 1), 10, policy="float32")
    assert model.count_params() <= 50_000


def test_macs_are_counted_as_by_hand() -> None:
    import keras

    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, strides=2, padding="same")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(5)(keras.layers.Flatten()(x)))
    assert count_macs(model) == 4 * 4 * (3 * 3 * 3 * 4) + 64 * 5


@pytest.mark.parametrize(
    "changes",
    [{"epochs": 0}, {"learning_rate": 0.0}, {"warmup": 1.0}, {"shift": -1}, {"batch": -5}],
)
def test_a_recipe_that_cannot_work_is_refused(changes: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(changes))):
        Recipe(**changes)  # type: ignore[arg-type]


def test_unknown_names_get_the_nearest_one() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'hem-50k'"):
        find_model("hem-5ok")
    with pytest.raises(UnknownNameError, match="did you mean 'fast'"):
        named_recipe("fats")


@pytest.mark.parametrize("folder", sorted(ZOO.glob("*")), ids=lambda path: path.name)
def test_a_shipped_checkpoint_is_the_one_of_its_card(folder: Path) -> None:
    card = read_card(folder)
    assert card.model.name == folder.name
    recipe = Recipe.of_fields(card.trained.recipe_fields)
    changed = card.trained.recipe.endswith(", changed")
    assert changed or recipe == RECIPES[card.trained.recipe], (
        "the shipped weights come from the recipe as it is now"
    )
