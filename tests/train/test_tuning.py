"""Tuning: spaces that say what they mean, studies that are shared, resumed and never mixed up."""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import sqlalchemy
from click.testing import CliRunner
from patience import HANG_SECONDS
from PIL import Image

from hemline.cli import cli
from hemline.contract.card import Epoch
from hemline.data.datasets import Images
from hemline.data.fetch import load_images
from hemline.errors import (
    BusyError,
    FileFormatError,
    HemlineError,
    UnknownNameError,
    UsageError,
)
from hemline.remedies import described
from hemline.safe_path import code_command
from hemline.train.nets.design import Design
from hemline.train.nets.models import MODELS, build_model
from hemline.train.recipes.recipe import RECIPES, Recipe
from hemline.train.recipes.recipe_file import read_recipe
from hemline.train.request import TrainRequest
from hemline.train.tuning import commands, storage
from hemline.train.tuning.dimensions import Choices, Range
from hemline.train.tuning.pictures import View, conditions_line, draw, title_of_search
from hemline.train.tuning.preparing import prepare, space_of
from hemline.train.tuning.pruning import PRUNINGS, find_pruning
from hemline.train.tuning.results import Results, TrialResult, results_of, table
from hemline.train.tuning.search import Search
from hemline.train.tuning.space import (
    SPACE,
    named_space,
    read_space,
    require_possible,
    space_toml,
    usual_space,
)
from hemline.train.tuning.study import Study, opened_study

BASE = RECIPES["plain"].with_changes({"batch": 50, "validation": 160, "precision": "float32"})
REQUEST = TrainRequest(
    model=MODELS["mlp"], recipe=BASE, recipe_name="plain, changed", folder=Path("tuning")
)
OVER = ("learning_rate", "shift", "width=0.25..1")


def searched(
    images: Images,
    *,
    over: tuple[str, ...] = OVER,
    request: TrainRequest = REQUEST,
    **changes: int,
) -> Search:
    space = space_of(request, images, over=over)
    return prepare(request, images, space, {"epochs": 2, **changes})


@pytest.fixture
def search(images: Images) -> Search:
    return searched(images)


@contextlib.contextmanager
def opened(folder: Path, search: Search, **options: Any) -> Iterator[Study]:
    with opened_study(folder, search, PRUNINGS["none"], **options) as study:
        yield study


def fields_of(space: tuple[Range | Choices, ...]) -> list[str]:
    return [each.field for each in space]


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    def configure(connection: sqlite3.Connection, _: object) -> None:
        connection.execute("PRAGMA synchronous=OFF")

    sqlalchemy.event.listen(sqlalchemy.Engine, "connect", configure)
    yield
    sqlalchemy.event.remove(sqlalchemy.Engine, "connect", configure)


# what is searched


def test_the_usual_space_fits_optimizer_model_and_images() -> None:
    hem = usual_space(MODELS["hem-50k"], Recipe(), side=28, pretrained=False)
    assert hem[0] == Range(field="learning_rate", low=0.003, high=0.3, scale="log")
    assert {"weight_decay", "width"} <= set(fields_of(hem))
    assert {each.field: each for each in hem}["shift"] == Range(field="shift", low=0, high=4)
    mlp = usual_space(MODELS["mlp"], BASE, side=96, pretrained=False)
    assert {"weight_decay", "l2"} & set(fields_of(mlp)) == {"l2"}  # Adam has no decay
    assert {each.field: each for each in mlp}["cutout"].ends == (0, 48)
    for model, pretrained in (("vgg16", False), ("mobilenetv2", True)):
        space = usual_space(MODELS[model], RECIPES["transfer"], side=28, pretrained=pretrained)
        assert "width" not in fields_of(space)


@pytest.mark.parametrize(
    "name", [name for name, row in MODELS.items() if "width" not in row.designs]
)
def test_a_model_that_cannot_be_widened_says_so(name: str) -> None:
    with pytest.raises(UsageError, match="another width"):
        build_model(MODELS[name], (28, 28, 1), 10, policy="float32", design=Design(width=0.9))


def test_every_row_of_the_space_table_is_a_field_with_a_range() -> None:
    for name in SPACE:
        (each,) = named_space([name], Recipe(learning_rate=0.1), side=28)
        assert each.field == name
        assert each.ends[0] < each.ends[1]  # type: ignore[operator]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("learning-rate", Range(field="learning_rate", low=1e-4, high=1e-2, scale="log")),
        ("learning_rate=1e-5..0.1", Range(field="learning_rate", low=1e-5, high=0.1, scale="log")),
        ("momentum", Range(field="momentum", low=0.8, high=0.99)),
        ("dropout=0..0.6", Range(field="dropout", low=0, high=0.6)),
        ("early_stopping=2..6", Range(field="early_stopping", low=2, high=6)),
        ("batch=32,64,128", Choices(field="batch", values=(32, 64, 128))),
        ("flip=true,false", Choices(field="flip", values=(True, False))),
        ("optimizer=adam,adamw", Choices(field="optimizer", values=("adam", "adamw"))),
        ("label_smoothing=0,0.1", Choices(field="label_smoothing", values=(0.0, 0.1))),
    ],
)
def test_a_word_names_what_is_searched(word: str, expected: Range | Choices) -> None:
    assert named_space([word], BASE, side=28) == (expected,)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("learning-rat", "did you mean 'learning_rate'"),
        ("batch", r"batch has no usual range: use batch=LOW\.\.HIGH or batch=A,B"),
        ("weight_decay=1..x", "must be a number, not 'x'"),
        ("batch=1.5..4", "must be a whole number, not '1.5'"),
        ("shift=3..3", "3 … 3 is not a range"),
        ("width=nan..2", "is not a range"),
        ("flip=yes,no", "flip must be true or false, not 'yes'"),
        ("optimizer=adam..sgd", "optimizer is not a number: list choices"),
        ("batch=64", "needs two or more different choices"),
        ("batch=64,64", "needs two or more different choices"),
        ("epochs=2..5", "epochs must be the same in all trials"),
    ],
)
def test_a_word_that_means_nothing_is_refused(word: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        named_space([word], BASE, side=28)


def test_a_field_is_named_once() -> None:
    with pytest.raises(UsageError, match="shift is named twice"):
        named_space(["shift", "shift=0..2"], BASE, side=28)


def test_a_space_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    words = ["learning_rate", "cutout", "optimizer=adam,sgd", "flip=true,false", "l2=0..0.1234567"]
    space = named_space(words, BASE, side=28)
    path = tmp_path / "space.toml"
    path.write_text(space_toml(space))
    assert read_space(path) == space


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("shift = ", "is not a search space, it is not TOML"),
        ("", "a search needs at least one field"),
        ("shift = 3", "shift must be a list of choices"),
        ("shft = [1, 2]", "did you mean 'shift'"),
        ("shift = { low = 1 }", "can have low, high, scale and step, nothing else"),
        ("shift = { low = 0, high = 4, top = 5 }", "step, nothing else"),
        ("shift = { low = 0, high = true }", "must have numbers, not True"),
        ("shift = { low = 0, high = 5, step = 2 }", "steps of 2 do not reach 5"),
        ("width = { low = 0, high = 1, scale = 'log' }", "a log scale must start above 0"),
        ("width = { low = 1, high = 2, scale = 'lin' }", "scale must be linear or log"),
        ("batch = [32, 6.5]", "must be a whole number"),
        ("limit = [100, 200]", "limit must be the same in all trials"),
    ],
)
def test_a_bad_space_file_is_refused_in_one_line(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "space.toml"
    path.write_text(text)
    with pytest.raises(FileFormatError, match=message) as caught:
        read_space(path)
    assert "space.toml" in str(caught.value)
    assert "\n" not in str(caught.value).partition("TOML")[0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["weight_decay=1e-4..1e-2"], "adam has no weight_decay"),
        (["optimizer=adam,adam-w"], "did you mean 'adamw'"),
        (["optimizer=sgd,adam", "weight_decay=1e-4..1e-2"], "adam has no weight_decay"),
        (["dropout=0.5..1.5"], "dropout must be from 0 to under 1"),
    ],
)
def test_a_space_that_a_recipe_cannot_take_is_refused(words: list[str], message: str) -> None:
    space = named_space(words, BASE, side=28)
    with pytest.raises(UsageError, match=f"the search would include invalid values .*{message}"):
        require_possible(space, BASE)


def test_tried_numbers_have_three_digits_and_stay_in_their_range() -> None:
    each = Range(field="label_smoothing", low=0.0, high=0.99996)
    assert each.rounded(0.123456) == 0.123
    assert each.rounded(0.99991) == 0.99996  # 1.00 would be no share
    assert Range(field="shift", low=0, high=4).rounded(3) == 3


def test_the_recipe_that_was_found_keeps_its_own_epochs_and_images(search: Search) -> None:
    values = {"learning_rate": 0.00123456, "shift": 1, "width": 0.5}
    trial, found = search.trial_recipe(values), search.found_recipe(values)
    assert (trial.epochs, trial.learning_rate, trial.shift) == (2, 0.00123, 1)
    assert found == BASE.with_changes({**values, "learning_rate": 0.00123})
    assert found.epochs == BASE.epochs != trial.epochs


def test_few_images_keep_enough_to_train_on(images: Images) -> None:
    limited = searched(images, limit=400)
    assert (limited.limit, limited.validation) == (400, 80)
    assert searched(images, limit=400, validation=100).validation == 100


# a study without any training


def test_the_first_trial_is_the_recipe_itself(search: Search, tmp_path: Path) -> None:
    with opened(tmp_path, search) as study, study.next_trial(3) as taken:
        assert taken is not None
        assert search.rounded(taken.params) == {
            "learning_rate": BASE.learning_rate,
            "shift": BASE.shift,
            "width": 1.0,
        }


def test_two_workers_never_have_the_same_trial(search: Search, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(opened(tmp_path, search)) for _ in range(2)]
        taken = [stack.enter_context(worker.next_trial(4)) for worker in workers * 2]
        numbers = [each.number for each in taken if each]
        assert numbers == [0, 1, 2, 3]
        tried = [str(each.params) for each in taken if each]
        assert len(set(tried)) == 4
        assert stack.enter_context(workers[0].next_trial(4)) is None
        assert stack.enter_context(workers[0].next_trial(5)) is not None


def draws(folder: Path, search: Search, count: int) -> list[dict[str, Any]]:
    """Finish trials with made-up accuracies and return what was tried."""
    values = []
    with opened(folder, search) as study:
        for number in range(count):
            with study.next_trial(count) as taken:
                assert taken is not None
                values.append(taken.params)
                accuracy = 0.5 - values[-1]["width"] / 10 + number / 1000
                study.finish(taken, accuracy=accuracy)
    return values


@pytest.mark.slow
def test_the_seed_decides_what_is_tried(search: Search, tmp_path: Path) -> None:
    one, two = (draws(tmp_path / name, search, 12) for name in "ab")
    assert one == two  # the last two are no longer drawn at random
    other = draws(tmp_path / "c", replace(search, seed=2), 3)
    assert other[0] == one[0]
    assert other[1:] != one[1:3]


def test_a_trial_whose_process_ended_goes_on(search: Search, tmp_path: Path) -> None:
    with opened(tmp_path, search) as study:
        with study.next_trial(5) as taken:
            assert taken is not None
            first = taken.params
        with study.next_trial(5) as again:
            assert again is not None
            assert (again.number, again.params) == (0, first)
            with study.next_trial(5) as other:
                assert other is not None
                assert other.number == 1


def test_a_trial_that_was_finished_in_between_is_not_taken(
    search: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path, search) as one, opened(tmp_path, search) as other:
        with one.next_trial(5) as taken:
            assert taken is not None
            seen = other.trials()
            one.finish(taken, accuracy=0.5)
        answers = [seen]  # what it saw before the other one had finished
        real = Study.trials
        monkeypatch.setattr(
            Study, "trials", lambda study: answers.pop() if answers else real(study)
        )
        with other.next_trial(5) as taken:
            assert taken is not None
            assert taken.number == 1
            assert other.folder_of(taken).is_dir()


def test_a_trial_that_ends_its_process_again_and_again_is_given_up(
    search: Search, tmp_path: Path
) -> None:
    with opened(tmp_path, search) as study:
        for _ in range(3):
            with study.next_trial(5) as taken:
                assert taken is not None
                assert taken.number == 0
        with study.next_trial(1) as taken:  # what failed does not count
            assert taken is not None
            assert taken.number == 1
        (failed, _) = results_of(search, study.trials()).trials
    assert (failed.state, failed.reason) == ("failed", "ended its process 3 times")


@pytest.mark.medium
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "cnn"}, "model mlp, not cnn"),
        ({"dataset": "mnist"}, "data set fashion-mnist, not mnist"),
        ({"data_sha256": {}}, "other images"),
        ({"weights_sha256": "0"}, "other pretrained weights"),
        ({"recipe": {**BASE.as_fields(), "batch": 60}}, "recipe with batch 50, not batch 60"),
        ({"epochs": 3}, "epochs 2, not 3"),
        ({"limit": 300}, "limit 0, not 300"),
        ({"validation": 150}, "160 validation images, not 150"),
        ({"seed": 2}, "seed 1, not 2"),
        ({"precision": "mixed_bfloat16"}, "precision float32, not mixed_bfloat16"),
        (
            {"space": (Range(field="learning_rate", low=0.1, high=1),)},
            r"learning_rate 0.0001 … 0.01 \(log\), not learning_rate 0.1 … 1\)",
        ),
        (
            {"space": (Choices(field="flip", values=(True, False)),)},
            "space with no flip, not flip true, false",
        ),
    ],
)
def test_a_study_of_another_search_is_refused(
    changes: dict[str, Any], message: str, search: Search, tmp_path: Path
) -> None:
    with opened(tmp_path, search):
        pass
    with (
        pytest.raises(UsageError, match=f"study.db is a study of another search .*{message}"),
        opened(tmp_path, replace(search, **changes)),
    ):
        pass


@pytest.mark.slow
def test_a_study_stays_in_the_precision_that_was_faster_where_it_began(
    search: Search, tmp_path: Path
) -> None:
    auto = replace(search, recipe={**search.recipe, "precision": "auto"})
    with opened(tmp_path, replace(auto, precision="mixed_bfloat16")):
        pass
    with opened(tmp_path, replace(auto, precision="float32")) as study:
        assert study.search.precision == "mixed_bfloat16"


def test_restart_forgets_trials_that_nobody_works_on(search: Search, tmp_path: Path) -> None:
    draws(tmp_path, search, 2)
    other = replace(search, seed=5)
    with opened(tmp_path, search) as study, study.next_trial(5):
        with pytest.raises(BusyError, match="trials/2"), opened(tmp_path, other, restart=True):
            pass
        assert len(study.trials()) == 3
    with opened(tmp_path, other, restart=True) as study:
        assert [trial.state.name for trial in study.trials()] == ["WAITING"]


@pytest.mark.medium
def test_a_file_that_another_program_holds_is_told(
    search: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "BUSY_SECONDS", 0.2)
    with opened(tmp_path, search):
        pass
    with contextlib.closing(sqlite3.connect(tmp_path / "study.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(
            BusyError, match="study.db is locked by another program: end it and run"
        ):
            draws(tmp_path, search, 1)
        other.rollback()
    assert len(draws(tmp_path, search, 1)) == 1


def test_a_file_that_is_no_study_is_refused(search: Search, tmp_path: Path) -> None:
    (tmp_path / "study.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(FileFormatError, match="study.db is not a study") as caught:
        draws(tmp_path, search, 1)
    assert described(caught.value).endswith("; use another --output")


def test_a_study_of_another_program_is_left_alone(search: Search, tmp_path: Path) -> None:
    import optuna

    with storage.opened(tmp_path / "study.db") as opened_storage:
        study = optuna.create_study(storage=opened_storage, study_name="hemline")
        study.tell(study.ask(), 1.0)
    with pytest.raises(FileFormatError, match="is a study of another program"):
        draws(tmp_path, search, 1)


def test_a_full_disk_gives_one_line(search: Search, tmp_path: Path) -> None:
    def limit_size(connection: sqlite3.Connection, _: object) -> None:
        connection.execute("PRAGMA max_page_count=20")  # the tables alone need more

    sqlalchemy.event.listen(sqlalchemy.Engine, "connect", limit_size)
    try:
        with pytest.raises(HemlineError, match="cannot use .*study.db: database or disk is full"):
            draws(tmp_path, search, 1)
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, "connect", limit_size)


def test_a_folder_may_have_any_name(search: Search, tmp_path: Path) -> None:
    folder = tmp_path / "100 % of {this}? #1 é"
    draws(folder, search, 1)
    assert (folder / "study.db").stat().st_size > 0


def pruned_after(name: str, folder: Path, search: Search) -> list[int | None]:
    """Return after which of 9 epochs each of ten trials is pruned, one worse than the other."""
    ends: list[int | None] = []
    with opened_study(folder, replace(search, epochs=9), find_pruning(name)) as study:
        for number in range(10):
            with study.next_trial(10) as taken:
                assert taken is not None
                end = None
                for epoch in range(1, 9):
                    taken.report(0.9 - 0.01 * number + 0.001 * epoch, epoch)
                    if taken.should_prune():
                        end = epoch
                        break
                study.finish(taken, accuracy=0.9 - 0.01 * number if end is None else None)
                ends.append(end)
    return ends


@pytest.mark.medium
def test_pruning_ends_what_is_behind(search: Search, tmp_path: Path) -> None:
    # five trials to compare with, then a quarter of the epochs before the median counts
    assert pruned_after("median", tmp_path / "m", search) == [None] * 5 + [3] * 5
    # the first of three at 1/9 and at 1/3 of the epochs
    assert pruned_after("halving", tmp_path / "h", search) == [None] + [1] * 9
    assert pruned_after("none", tmp_path / "n", search) == [None] * 10
    with pytest.raises(UnknownNameError, match="did you mean 'median'"):
        find_pruning("medain")


@pytest.mark.slow
def test_importances_need_ten_complete_trials(search: Search, tmp_path: Path) -> None:
    draws(tmp_path, search, 9)
    with opened(tmp_path, search) as study:
        assert study.importances() == {}
    draws(tmp_path / "more", search, 12)
    with opened(tmp_path / "more", search) as study:
        shares = study.importances()
    assert set(shares) == {"learning_rate", "shift", "width"}
    assert sum(shares.values()) == pytest.approx(1)
    assert next(iter(shares)) == "width"  # which the made-up accuracies depend on


# pictures and tables


def made_up(search: Search, *, state: str = "complete", worst: float = 0.1) -> Results:
    """Return twelve trials, of which four are pruned, one of them far below all others."""
    trials = tuple(
        TrialResult(
            number=number,
            state="pruned" if number % 3 == 2 else state,  # type: ignore[arg-type]
            accuracy=None if number % 3 == 2 or state == "pruned" else accuracy,
            loss=0.5,
            values={
                "learning_rate": 10 ** (-4 + number / 6),
                "shift": number % 5,
                "width": 0.25 + number / 16,
            },
            epochs={1: accuracy - 0.1, 2: accuracy},
            parameters=25_000 + number,
            seconds=1.5,
            reason="pruned after epoch 2" if number % 3 == 2 else "",
        )
        for number, accuracy in enumerate((*np.linspace(0.8, 0.86, 11).tolist(), worst))
    )
    return Results(search=search, trials=trials)


@pytest.mark.medium
def test_pictures_show_trials_fields_epochs_and_importances(search: Search, tmp_path: Path) -> None:
    shares = {"width": 0.7, "learning_rate": 0.2, "shift": 0.1}
    paths = draw(made_up(search), shares, tmp_path)
    assert [path.name for path in paths] == [
        "history.png",
        "fields.png",
        "epochs.png",
        "importances.png",
    ]
    for path in paths:
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        assert min(pixels.shape[:2]) > 200
        coloured = np.ptp(pixels.astype(int), axis=2) > 40  # dots, lines or bars
        assert coloured.mean() > 1e-3, path


def test_bad_trials_do_not_flatten_the_picture_of_the_good_ones() -> None:
    view = View.of([0.85, 0.86, 0.84, 0.5, 0.86, 0.85, 0.3])
    assert view.low > 83
    assert view.high > 86
    assert View.of([0.5, 0.5]).high - View.of([0.5, 0.5]).low > 0.5  # points


def test_the_title_says_what_the_search_found(search: Search) -> None:
    results = made_up(search)
    assert (
        title_of_search(results)
        == "trial 10 is best, 86.00 % on validation, +6.00 points against the recipe"
    )
    alone = replace(results, trials=results.trials[:1])
    assert title_of_search(alone) == "no trial is better than the recipe, 80.00 %"
    assert title_of_search(made_up(search, state="pruned")) == "accuracy of each trial"


def test_pictures_tell_the_data_and_how_little_of_it_was_used(search: Search) -> None:
    few = made_up(replace(search, dataset="fashion-mnist", limit=6000, validation=1200, epochs=1))
    told = "Fashion-MNIST, limit 6,000 images, 1,200 validation images, 1 epoch, seed"
    assert conditions_line(few).startswith(told)
    own = made_up(replace(search, dataset="mine", limit=0))
    assert conditions_line(own).startswith("mine, ")
    assert "limit" not in conditions_line(own)


@pytest.mark.slow
def test_pictures_need_trials_and_one_epoch_makes_no_curve(search: Search, tmp_path: Path) -> None:
    assert draw(Results(search=search, trials=()), {}, tmp_path) == []
    names = [path.name for path in draw(made_up(replace(search, epochs=1)), {}, tmp_path)]
    assert names == ["history.png", "fields.png"]
    pruned = made_up(search, state="pruned")
    assert len(draw(pruned, {}, tmp_path)) == 3
    assert pruned.best is None


@pytest.mark.medium
def test_choices_have_a_place_each_in_the_picture(search: Search, tmp_path: Path) -> None:
    space = (Choices(field="optimizer", values=("adam", "sgd")),)
    results = made_up(replace(search, space=space))
    trials = tuple(
        replace(each, values={"optimizer": ("adam", "sgd")[each.number % 2]})
        for each in results.trials
    )
    assert len(draw(replace(results, search=results.search, trials=trials), {}, tmp_path)) == 3
    rows = table(replace(results, trials=trials), most=3).rows
    assert [row[2] for row in rows] == ["adam", "sgd", "sgd"]


def test_the_loss_decides_between_equal_accuracies(search: Search) -> None:
    first, second, *_ = made_up(search).trials
    equal = (replace(first, accuracy=0.9), replace(second, accuracy=0.9, loss=0.4))
    results = Results(search=search, trials=equal)
    assert results.best is equal[1]
    # sqrt(0.9 × 0.1 / 160)
    assert results.standard_error == pytest.approx(0.0237, abs=1e-4)


# trials that are trained


class Silent:
    """Hears all and may raise when an epoch ends."""

    def __init__(self, on_epoch: Callable[[int], None] = lambda _: None) -> None:
        self.on_epoch, self.begun, self.epochs = on_epoch, [], 0  # type: ignore[var-annotated]

    def begin(self, number: int, values: dict[str, Any], epochs_done: int) -> None:
        del values
        self.begun.append((number, epochs_done))

    def epoch(self, number: int, epoch: Epoch, epochs: int) -> None:
        del number, epoch, epochs
        self.epochs += 1
        self.on_epoch(self.epochs)

    def end(self, number: int) -> None:
        pass


def run(
    folder: Path,
    search: Search,
    images: Images,
    *,
    trials: int,
    listener: Silent | None = None,
    deadline: float | None = None,
) -> tuple[bool, Results]:
    from hemline.train.tensorflow import quiet_keras

    quiet_keras()
    from hemline.data.splits import split_images
    from hemline.train.tuning.running import TrialSettings, run_trials

    settings = TrialSettings(
        request=REQUEST,
        data=split_images(images, validation=search.validation, limit=search.limit or None),
        classes=10,
        trials=trials,
        deadline=deadline,
    )
    with opened(folder, search) as study:
        enough = run_trials(study, settings, listener or Silent())
        return enough, results_of(search, study.trials())


def without_seconds(results: Results) -> list[TrialResult]:
    return [replace(each, seconds=None) for each in results.trials]


def interrupt_at(epoch: int) -> Callable[[int], None]:
    def on_epoch(finished: int) -> None:
        if finished == epoch:
            raise KeyboardInterrupt

    return on_epoch


@pytest.mark.slow
def test_a_study_that_was_interrupted_ends_like_one_that_was_not(
    search: Search, images: Images, tmp_path: Path
) -> None:
    enough, whole = run(tmp_path / "whole", search, images, trials=2)
    assert enough
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", search, images, trials=2, listener=Silent(interrupt_at(3)))
    listener = Silent()
    enough, resumed = run(tmp_path / "cut", search, images, trials=2, listener=listener)
    assert enough
    assert listener.begun == [(1, 1)]  # the second trial, after its first epoch
    assert without_seconds(resumed) == without_seconds(whole)
    assert [len(each.epochs) for each in whole.trials] == [2, 2]
    assert whole.best is not None
    recipe = read_recipe(tmp_path / "cut" / "best.toml")
    assert recipe == search.found_recipe(whole.best.values)
    assert not list((tmp_path / "cut" / "trials").iterdir())


@pytest.mark.slow
def test_a_trial_that_breaks_down_counts_as_pruned(images: Images, tmp_path: Path) -> None:
    recipe = BASE.with_changes({"optimizer": "sgd", "learning_rate": 1e20, "weight_decay": 0.0})
    words = ("learning_rate=1e18..1e30",)
    search = searched(images, over=words, request=replace(REQUEST, recipe=recipe), epochs=1)
    enough, results = run(tmp_path, search, images, trials=1)
    assert enough
    (trial,) = results.trials
    assert (trial.state, trial.accuracy) == ("pruned", None)
    assert trial.reason == "diverged in epoch 1"
    assert not (tmp_path / "best.toml").exists()


def test_a_search_that_the_model_cannot_follow_ends_at_once(images: Images, tmp_path: Path) -> None:
    words = ("batch_normalization=true,false",)
    search = searched(images, over=words)
    with pytest.raises(UsageError, match="mlp does not support another batch_normalization"):
        run(tmp_path, search, images, trials=3)
    with opened(tmp_path, search) as study:
        (trial,) = results_of(search, study.trials()).trials
    assert trial.state == "failed"


@pytest.mark.slow
def test_when_the_time_is_over_the_trial_waits_for_the_next_command(
    search: Search, images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hemline.train.tuning import running

    clock = [0.0]
    own_time = SimpleNamespace(monotonic=lambda: clock[0], perf_counter=time.perf_counter)
    monkeypatch.setattr(running, "time", own_time)
    listener = Silent(lambda _: clock.append(clock.pop() + 60))  # an epoch takes a minute
    enough, results = run(tmp_path, search, images, trials=1, listener=listener, deadline=50.0)
    assert not enough
    assert [(each.state, len(each.epochs)) for each in results.trials] == [("running", 1)]
    enough, results = run(tmp_path, search, images, trials=1, deadline=50.0)
    assert not enough  # the time was over before it began
    enough, results = run(tmp_path, search, images, trials=1)
    assert enough
    assert [each.state for each in results.trials] == ["complete"]


# the command


class Forbidden:
    """Stands where nobody may look."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the test split was looked at: {name}")

    def __len__(self) -> int:
        raise AssertionError("the test split was counted")


WORDS = [
    "tune",
    "mlp",
    "--epochs",
    "1",
    "--trials",
    "2",
    "--over",
    "learning_rate",
    "--limit",
    "400",
]


@pytest.mark.medium
def test_the_command_never_looks_at_the_test_split(
    data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_test(*arguments: Any) -> Images:
        images = load_images(*arguments)
        return replace(images, test_images=Forbidden(), test_labels=Forbidden())  # type: ignore[arg-type]

    monkeypatch.setattr(commands, "load_images", without_test)
    monkeypatch.chdir(tmp_path)
    words = [*WORDS, "--data", str(data_folder)]
    done = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert done.exit_code == 0
    assert "2 trials: 2 complete" in done.stdout
    assert "80 validation images" in done.stdout
    folder = next(Path("tuning").iterdir())
    assert f"hemline train mlp --recipe {folder}/best.toml" in done.stderr
    assert read_recipe(folder / "best.toml").epochs == RECIPES["plain"].epochs
    assert {path.name for path in folder.glob("*.png")} == {"history.png", "fields.png"}
    again = CliRunner().invoke(cli, [*words, "--json"], catch_exceptions=False)
    trials = [json.loads(line) for line in again.stdout.splitlines()]
    assert [trial["state"] for trial in trials] == ["complete", "complete"]
    assert all(trial["epochs"]["1"] == trial["accuracy"] for trial in trials)


def test_the_space_is_printed_as_a_file(data_folder: Path, tmp_path: Path) -> None:
    words = ["tune", "mlp", "--data", str(data_folder), "--show-space"]
    done = CliRunner().invoke(cli, words, catch_exceptions=False)
    path = tmp_path / "space.toml"
    path.write_text(done.stdout)
    assert read_space(path) == usual_space(
        MODELS["mlp"], RECIPES["plain"], side=28, pretrained=False
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tune", "mpl"], "did you mean 'mlp'"),
        (["tune", "mlp", "--pruning", "halvin"], "did you mean 'halving'"),
        (["tune", "mlp", "--weights", "imagenet"], "mlp has no pretrained weights"),
        (["tune", "mlp", "--recipe", "transfer"], "has no pretrained layers"),
        (["tune", "mlp", "--over", "shift", "--space", __file__], "use one of them"),
    ],
)
def test_a_wrong_command_is_refused(words: list[str], message: str, data_folder: Path) -> None:
    done = CliRunner().invoke(cli, [*words, "--data", str(data_folder)])
    assert isinstance(done.exception, UsageError)
    assert message in str(done.exception)


def test_without_optuna_the_extra_is_named(
    data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    done = CliRunner().invoke(cli, [*WORDS, "--data", str(data_folder)])
    assert isinstance(done.exception, HemlineError)
    assert str(done.exception) == "tuning needs Optuna: pip install optuna"


def test_help_loads_neither_optuna_nor_tensorflow() -> None:
    code = (
        "import json, sys; from hemline.cli import cli\n"
        "cli(['tune', '--help'], standalone_mode=False)\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run(code_command(code), capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert not loaded & {"optuna", "sqlalchemy", "tensorflow", "keras", "matplotlib", "sklearn"}


def start(data_folder: Path, folder: Path, *words: str) -> subprocess.Popen[str]:
    command = code_command("from hemline.cli import main; main()")
    given = [*WORDS[:2], "--epochs", "400", "--over", "learning_rate", *words]
    return subprocess.Popen(
        [*command, *given, "--data", str(data_folder), "--output", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_progress(folder: Path) -> None:
    for _ in range(600):
        if list(folder.glob("trials/*/progress/state.json")):
            return
        time.sleep(0.1)
    raise AssertionError("no epoch was finished")


@pytest.mark.slow
def test_a_killed_and_an_interrupted_command_go_on(data_folder: Path, tmp_path: Path) -> None:
    killed = start(data_folder, tmp_path, "--trials", "1", "--pruning", "none")
    wait_for_progress(tmp_path)
    killed.kill()
    killed.communicate(timeout=HANG_SECONDS)
    interrupted = start(data_folder, tmp_path, "--trials", "1", "--pruning", "none")
    assert interrupted.stderr is not None
    while "continues after epoch" not in (line := interrupted.stderr.readline()):
        assert line, "it ended before it went on"
    interrupted.send_signal(signal.SIGINT)
    _, errors = interrupted.communicate(timeout=HANG_SECONDS)
    assert interrupted.returncode == 130
    assert errors.splitlines()[-1].startswith("error: interrupted: ")
    assert "Traceback" not in errors


@pytest.mark.ray
@pytest.mark.slow
def test_a_killed_command_on_ray_goes_on_from_its_study(data_folder: Path, tmp_path: Path) -> None:
    words = ("--ray", "--trials", "4", "--epochs", "60", "--pruning", "none")
    killed = start(data_folder, tmp_path, *words)
    assert killed.stderr is not None
    while "(1 of 4)" not in (line := killed.stderr.readline()):
        assert line, "it ended before its first trial"
    finished = int(line.split()[1])
    wait_for_progress(tmp_path)
    killed.kill()
    killed.communicate(timeout=HANG_SECONDS)  # Ray's processes hold the pipes, and end too
    left = {int(each.parts[-3]) for each in tmp_path.glob("trials/*/progress/state.json")}
    again = start(data_folder, tmp_path, *words)
    _, errors = again.communicate(timeout=HANG_SECONDS)
    assert again.returncode == 0, errors
    told = [line.split()[1:4] for line in errors.splitlines() if line.startswith("trial ")]
    assert {int(number) for number, *what in told if what == ["continues", "after"]} == left
    ended = sorted(int(number) for number, what, _ in told if what != "continues")
    assert ended == sorted({0, 1, 2, 3} - {finished})


@pytest.mark.slow
def test_two_commands_at_once_share_the_trials(data_folder: Path, tmp_path: Path) -> None:
    words = ("--trials", "6", "--epochs", "3")
    both = [start(data_folder, tmp_path, *words) for _ in range(2)]
    told = [process.communicate(timeout=HANG_SECONDS) for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    lines = [line for _, errors in told for line in errors.splitlines()]
    numbers = sorted(int(line.split()[1]) for line in lines if line.startswith("trial "))
    assert numbers == list(range(6))
