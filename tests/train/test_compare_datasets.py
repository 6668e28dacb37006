"""Comparing data sets: both trained alike, what is there is kept, figures that are as by hand."""

from __future__ import annotations

import json
import logging
import shutil
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from hemline.cli import cli
from hemline.contract.card import Card
from hemline.contract.checkpoint import read_card
from hemline.contract.evaluation_set import load_split
from hemline.contract.manifest import read_manifest
from hemline.contract.schema import from_document, load
from hemline.data import fetch
from hemline.data.datasets import DATASETS, Images
from hemline.errors import (
    DataError,
    FetchError,
    HemlineError,
    SchemaError,
    UsageError,
)
from hemline.progress import Progress
from hemline.remedies import described
from hemline.statistics import ratio_of_shares, wilson
from hemline.tables import as_text
from hemline.train.comparison import commands as comparison_commands
from hemline.train.comparison.comparison import (
    DatasetComparison,
    DatasetRun,
    as_json,
    error_ratios,
    outcomes,
)
from hemline.train.comparison.picture import draw, ticks_around
from hemline.train.comparison.running import for_all
from hemline.train.comparison.table import comparison_table, conditions_lines, finding_lines
from hemline.train.nets.models import MODELS
from hemline.train.recipes.recipe import RECIPES, Recipe
from hemline.train.request import TrainRequest
from hemline.train.tensorflow import quiet_keras

quiet_keras()

from hemline.train import training  # noqa: E402 — after the noise of TensorFlow was turned off

RECIPE = ("--recipe", "plateau", "--epochs", "2", "--batch", "50", "--validation", "100")
COMMAND = ["compare-datasets", "--model", "mlp", "--precision", "float32", *RECIPE]


@pytest.fixture(scope="module")
def mnist_folder(tmp_path_factory: pytest.TempPathFactory, images: Images) -> Path:
    """Return IDX files in the form of MNIST: the small data set upside down."""
    folder = tmp_path_factory.mktemp("mnist")
    for file in DATASETS["mnist"].files:
        array = getattr(images, file.role)
        array = array[:, ::-1, :, 0] if array.ndim == 4 else array
        head = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
        (folder / file.name).write_bytes(head + array.tobytes())
    return folder


@pytest.fixture(scope="module")
def command(data_folder: Path, mnist_folder: Path) -> list[str]:
    """Return the command line that compares both folders."""
    return [*COMMAND, "--data", f"mnist={mnist_folder}", "--data", f"fashion-mnist={data_folder}"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compared")


@pytest.fixture(scope="module")
def result(command: list[str], folder: Path) -> Result:
    """Return what the command printed; its output lies in `folder`."""
    return run(command, folder)


def run(command: list[str], folder: Path, *more: str) -> Result:
    done = CliRunner().invoke(cli, [*command, "-o", str(folder), *more])
    if done.exception is not None:
        raise done.exception
    return done


def comparison_of(
    tables: dict[str, list[np.ndarray]], *, without_flips: bool = True, host: str = "a processor"
) -> DatasetComparison:
    """Return a comparison with these confusion matrices, one for each seed."""
    runs = [
        DatasetRun(
            dataset=name,
            labels=DATASETS[name].labels,
            data_sha256={},
            verified=name != "mnist",
            seed=seed,
            train_images=55_000,
            validation_images=5000,
            validation_correct=4900,
            confusion=tuple(tuple(int(count) for count in row) for row in table),
            epochs=20 + seed,
            training_seconds=600.0,
            precision="float32",
            checkpoint_sha256="0" * 64,
            host=host,
        )
        for name, each in tables.items()
        for seed, table in enumerate(each, start=1)
    ]
    return DatasetComparison(
        model="cnn",
        parameters=257_162,
        macs=5_846_144,
        recipe="plateau",
        recipe_fields=RECIPES["plateau"].as_fields(),
        without_flips=without_flips,
        runs=tuple(runs),
        versions={},
        commit=None,
        created="2026-11-20T12:00:00Z",
    )


def confusion(*mistakes: tuple[int, int, int], images: int = 1000) -> np.ndarray:
    """Return a confusion matrix of so many images a class, with (true, predicted, count)."""
    table = np.diag([images] * 10)
    for true, predicted, count in mistakes:
        table[true, predicted] += count
        table[true, true] -= count
    return table


SHIRTS = confusion((6, 0, 120), (6, 2, 80), (0, 6, 100), (2, 4, 60), (4, 2, 40))  # 400 of 10,000
DIGITS = confusion((4, 9, 25), (9, 4, 15))  # 40 of 10,000


@pytest.mark.medium
def test_both_data_sets_are_trained_alike_and_evaluated(result: Result, folder: Path) -> None:
    found = load(DatasetComparison, folder / "datasets.json")
    assert found.names == ("mnist", "fashion-mnist")
    cards = [read_card(folder / f"{name}-seed-1") for name in found.names]
    assert [card.trained.dataset for card in cards] == list(found.names)
    assert cards[0].trained.recipe_fields == cards[1].trained.recipe_fields == found.recipe_fields
    assert cards[0].model.parameters == cards[1].model.parameters == found.parameters
    for card, each in zip(cards, found.runs, strict=True):
        table = np.array(each.confusion)
        assert table.sum(axis=1).tolist() == [20] * 10
        assert np.trace(table) == card.trained.score("test").correct
        assert (each.epochs, each.train_images, each.verified) == (2, 700, False)
        assert each.checkpoint_sha256 == card.model.sha256
    assert cards[0].trained.data_sha256 != cards[1].trained.data_sha256


@pytest.mark.medium
def test_the_text_is_one_table_with_its_findings_and_conditions(
    result: Result, folder: Path
) -> None:
    found = load(DatasetComparison, folder / "datasets.json")
    expected = [*finding_lines(found), *conditions_lines(found)]
    assert result.stdout == "\n".join([as_text(comparison_table(found)), *expected, ""])
    assert "epoch   2/2" in result.stderr
    assert f"written: {folder / 'datasets.json'}, {folder / 'datasets.png'}" in result.stderr


@pytest.mark.medium
def test_no_data_set_is_flipped_because_digits_must_not_be(result: Result, folder: Path) -> None:
    found = load(DatasetComparison, folder / "datasets.json")
    assert RECIPES["plateau"].flip
    assert found.recipe_fields["flip"] is False
    assert found.without_flips
    assert (
        read_card(folder / "fashion-mnist-seed-1").trained.recipe
        == "plateau, changed, without flips"
    )
    for text in (result.stdout, result.stderr):
        assert "an image of MNIST flipped left to right is a different one" in text


@pytest.mark.medium
def test_a_second_call_trains_nothing_and_says_the_same(
    result: Result, command: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train_again(*_: object) -> Card:
        raise AssertionError("it was trained again")

    monkeypatch.setattr(comparison_commands, "run_training", train_again)
    again = run(command, folder)
    assert again.stdout == result.stdout
    assert again.stderr.count("already trained") == 2
    with pytest.raises(AssertionError, match="trained again"):
        run(command, folder, "--seeds", "2")


@pytest.mark.medium
def test_json_has_what_was_counted_and_what_follows_from_it(
    result: Result, command: list[str], folder: Path
) -> None:
    document = json.loads(run(command, folder, "--json").stdout)
    derived = {key: document.pop(key) for key in ("outcomes", "error_ratios")}
    comparison = from_document(DatasetComparison, document, where="stdout")
    assert json.loads(json.dumps(as_json(comparison))) == {**document, **derived}
    assert derived["outcomes"][0]["title"] == "MNIST"


@pytest.mark.slow
def test_an_interrupted_comparison_goes_on_and_ends_like_a_whole_one(
    result: Result,
    command: list[str],
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown = []

    def interrupt(_: object, *figures: object, **epoch: object) -> None:
        shown.append((figures, epoch))
        if len(shown) == 3:  # the first epoch of the second data set
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "show", interrupt)
        with pytest.raises(HemlineError, match="interrupted: run the same command to continue"):
            run(command, tmp_path)
    assert not (tmp_path / "datasets.json").exists()
    again = run(command, tmp_path)
    assert again.stderr.count("already trained") == 1
    assert again.stderr.count("epoch   1/2") == 0
    assert again.stderr.count("epoch   2/2") == 1
    whole, resumed = (
        load(DatasetComparison, each / "datasets.json") for each in (folder, tmp_path)
    )
    assert [each.confusion for each in resumed.runs] == [each.confusion for each in whole.runs]


@pytest.mark.medium
@pytest.mark.parametrize(
    ("changes", "what"),
    [
        (["--epochs", "1"], r"another recipe \(epochs 2 instead of 1\)"),
        (["--dropout", "0.1", "--l2", "1e-5"], r"another recipe \(dropout None .* and 1 more\)"),
        (["--model", "cnn"], r"another model \(mlp\)"),
    ],
)
def test_a_checkpoint_of_something_else_is_refused(
    result: Result, command: list[str], folder: Path, changes: list[str], what: str
) -> None:
    with pytest.raises(UsageError, match=f"mnist-seed-1 holds a checkpoint of {what}$") as caught:
        run(command, folder, *changes)
    assert "; replace it with --force, or name another folder" in described(caught.value)


@pytest.mark.medium
def test_a_checkpoint_of_other_data_is_refused(
    result: Result, folder: Path, data_folder: Path
) -> None:
    names = [f"--data={name}={data_folder}" for name in ("mnist", "fashion-mnist")]
    with pytest.raises(
        UsageError, match="mnist-seed-1 holds a checkpoint of different data than in"
    ):
        run([*COMMAND, *names], folder)


@pytest.mark.slow
def test_force_replaces_only_what_is_something_else(
    result: Result, command: list[str], folder: Path, data_folder: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    other_digits = ["--data", f"mnist={data_folder}", *command[-2:]]
    done = run([*COMMAND, *other_digits], copy, "--force")
    assert done.stderr.count("already trained") == 1
    assert done.stderr.count("epoch   1/2") == 1
    before, after = (read_card(each / "mnist-seed-1") for each in (folder, copy))
    assert before.trained.data_sha256 != after.trained.data_sha256


def test_data_that_is_nowhere_gets_one_line_that_names_the_option(
    data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(url: str) -> None:
        raise DataError(f"{url} cannot be reached")

    monkeypatch.setattr(fetch, "_download", lambda _, url: unreachable(url))
    with pytest.raises(FetchError, match="MNIST was not found") as caught:
        run([*COMMAND, "--data", f"fashion-mnist={data_folder}"], tmp_path)
    assert described(caught.value).endswith("into a folder and name it with --data mnist=FOLDER")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("*mnist*")), "nothing is trained before all data is there"


def test_images_of_the_users_own_are_not_taken_for_mnist(tmp_path: Path) -> None:
    for label in "ab":
        (tmp_path / "own" / label).mkdir(parents=True)
        for shade in range(8):
            gray = Image.new("L", (28, 28), 10 * shade + ord(label))
            gray.save(tmp_path / "own" / label / f"{shade}.png")
    with pytest.raises(UsageError, match="own is a custom data set, not MNIST"):
        run([*COMMAND, "--data", f"mnist={tmp_path / 'own'}"], tmp_path / "out")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["mnist"], "--data mnist is not NAME=FOLDER, as in --data mnist=folder"),
        (["mnist=nowhere"], "nowhere is not a folder"),
        (["mnits=."], "unknown data set 'mnits': did you mean 'mnist'"),
        (["mnist=.", "mnist=."], "gives two folders for mnist"),
    ],
)
def test_a_folder_that_is_named_wrongly_is_told(
    values: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        run([*COMMAND, *(f"--data={value}" for value in values)], tmp_path)


def test_flips_that_are_asked_for_are_refused(command: list[str], tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match="a flipped image of MNIST is a different one: omit --flip"
    ):
        run(command, tmp_path, "--flip")


def asked(recipe: Recipe) -> TrainRequest:
    return TrainRequest(model=MODELS["mlp"], recipe=recipe, recipe_name="", folder=Path("mlp"))


def test_flips_stay_where_every_data_set_bears_them(images: Images) -> None:
    digits = replace(images, dataset=DATASETS["mnist"])
    recipe = Recipe(validation=100)
    plain, flips = asked(replace(recipe, flip=False)), asked(recipe)
    kept = frozenset[str]()
    assert for_all(flips, [images], given=kept) == (flips, False)
    assert for_all(flips, [images, digits], given=kept) == (plain, True)
    assert for_all(plain, [images, digits], given=kept) == (plain, False)


def test_small_data_sets_give_a_fifth_for_validation_unless_it_is_said(images: Images) -> None:
    few = replace(images, train_images=images.train_images[:500])
    request, _ = for_all(asked(Recipe()), [images, few], given=frozenset())
    assert request.recipe.validation == 100
    kept, _ = for_all(asked(Recipe()), [images, few], given=frozenset({"validation"}))
    assert kept.recipe.validation == 5000


@pytest.mark.parametrize(("flip", "warned"), [("--flip", True), ("--no-flip", False)])
def test_a_training_that_flips_digits_is_warned_of(
    flip: str,
    warned: bool,
    mnist_folder: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise HemlineError("far enough")

    monkeypatch.setattr(training, "train", stop)
    line = ["train", "mlp", "--dataset", "mnist", "--data", str(mnist_folder), flip]
    with pytest.raises(HemlineError, match="far enough"), caplog.at_level(logging.WARNING):
        run(line, tmp_path)
    advice = "an image of MNIST flipped left to right is a different one: use --no-flip"
    assert (advice in caplog.text) is warned


@pytest.mark.slow
def test_a_checkpoint_of_mnist_is_exported_and_judged_on_mnist(
    result: Result, folder: Path, mnist_folder: Path, images: Images, tmp_path: Path
) -> None:
    line = ["export", "--checkpoint", str(folder / "mnist-seed-1"), "--scheme", "int8.tflite"]
    run([*line, "--data", str(mnist_folder)], tmp_path)
    manifest = read_manifest(tmp_path)
    assert manifest.dataset == "mnist"
    assert manifest.labels == DATASETS["mnist"].labels
    split = load_split(tmp_path, "test", manifest.evaluation_sha256)
    assert np.array_equal(split.images, images.test_images[:, ::-1])


def test_figures_are_as_by_hand() -> None:
    digits, clothes = outcomes(comparison_of({"mnist": [DIGITS], "fashion-mnist": [SHIRTS]}))
    assert (clothes.accuracy, clothes.wrong, clothes.images) == (0.96, 400, 10_000)
    assert (clothes.low, clothes.high) == wilson(9600, 10_000)
    assert (clothes.worst.label, clothes.worst.accuracy) == ("Shirt", 0.8)
    assert (clothes.best.label, clothes.best.accuracy) == ("Trouser", 1.0)
    shares = [0.9, 1, 0.94, 1, 0.96, 1, 0.8, 1, 1, 1]
    assert clothes.spread_points == pytest.approx(100 * np.std(shares))
    first, second, *_ = clothes.most_confused
    assert (first.true, first.predicted, first.images) == ("Shirt", "T-shirt/top", 120)
    assert (second.true, second.predicted, second.images) == ("T-shirt/top", "Shirt", 100)
    assert [each.images for each in digits.most_confused] == [25, 15]


def test_several_seeds_are_averaged_and_each_is_told() -> None:
    more, less = confusion((4, 9, 30)), confusion((4, 9, 10), (9, 4, 10))
    found = comparison_of({"mnist": [more, less], "fashion-mnist": [SHIRTS, SHIRTS]})
    digits, _ = outcomes(found)
    assert (digits.accuracy, digits.wrong) == (0.9975, 25)
    assert digits.seeds == (0.997, 0.998)
    assert (digits.low, digits.high) == wilson(9975, 10_000), "the seeds answer the same images"
    assert (digits.worst.label, digits.worst.accuracy) == ("4", 0.98)
    assert digits.worst.seeds == (0.97, 0.99)
    assert [each.images for each in digits.most_confused] == [20, 5]
    row = as_text(comparison_table(found)).splitlines()[2]
    assert "99.70 … 99.80 %" in row
    assert "21 … 22" in row


def test_the_error_ratio_holds_the_second_data_set_to_the_first() -> None:
    found = comparison_of({"mnist": [DIGITS], "fashion-mnist": [SHIRTS]})
    (ratio,) = error_ratios(found)
    assert (ratio.name, ratio.reference) == ("fashion-mnist", "mnist")
    assert ratio.ratio == pytest.approx(10)
    # by hand: exp(1.96 × √(1/400 − 1/10000 + 1/40 − 1/10000)) = 1.382
    assert (ratio.low, ratio.high) == pytest.approx((10 / 1.382, 10 * 1.382), rel=1e-3)
    assert finding_lines(found)[0].startswith("10.0 × as many errors on Fashion-MNIST as on MNIST")


def test_without_mistakes_there_is_no_ratio_and_it_is_said() -> None:
    found = comparison_of({"mnist": [confusion()], "fashion-mnist": [SHIRTS]})
    assert error_ratios(found) == ()
    assert finding_lines(found)[0] == "MNIST: no mistakes, so there is no error ratio"
    assert finding_lines(found)[1].startswith("Fashion-MNIST, most confused: Shirt → T-shirt/top")


def test_the_interval_of_a_ratio_holds_the_true_one_in_95_of_100_draws() -> None:
    random = np.random.default_rng(1)
    draws, images, shares = 4000, 10_000, (0.07, 0.006)
    pairs = zip(*(random.binomial(images, share, draws) for share in shares), strict=True)
    bounds = np.array([ratio_of_shares(one, images, other, images)[1:] for one, other in pairs])
    inside = (bounds[:, 0] < shares[0] / shares[1]) & (shares[0] / shares[1] < bounds[:, 1])
    # four standard errors of a share of 0.95 in 4,000 draws are 0.014
    assert abs(inside.mean() - 0.95) < 0.014


@pytest.mark.parametrize("counts", [(0, 100, 5, 100), (5, 100, 0, 100), (101, 100, 5, 100)])
def test_a_ratio_of_nothing_is_refused(counts: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="have no ratio"):
        ratio_of_shares(*counts)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda runs: runs[0].update(confusion=[[1, 2]] * 10), "a row and a column for each label"),
        (lambda runs: runs[0].update(confusion=[[0] * 10] * 10), "count images of every class"),
        (lambda runs: runs[0].update(seed=7), "the same seeds of each"),
        (lambda runs: runs.pop(), "two data sets or more"),
    ],
)
def test_a_damaged_document_is_refused(change, message: str) -> None:
    document = as_json(comparison_of({"mnist": [DIGITS], "fashion-mnist": [SHIRTS]}))
    document = {key: document[key] for key in document if key not in ("outcomes", "error_ratios")}
    change(document["runs"])
    with pytest.raises(SchemaError, match=message):
        from_document(DatasetComparison, document, where="datasets.json")


@pytest.mark.parametrize("seeds", [1, 3])
def test_nothing_of_the_picture_is_cut_off(seeds: int, tmp_path: Path) -> None:
    host = "Some Maker(R) With A Long Name(R) Platinum 8375C Processor @ 2.90 GHz, 128 cores"
    found = comparison_of({"mnist": [DIGITS] * seeds, "fashion-mnist": [SHIRTS] * seeds}, host=host)
    draw(found, tmp_path / "datasets.png")
    with Image.open(tmp_path / "datasets.png") as picture:
        pixels = np.asarray(picture.convert("L"))
    border = np.concatenate([pixels[:3].ravel(), pixels[-3:].ravel(), pixels[:, :3].ravel()])
    assert border.min() == 255
    assert pixels[:, -3:].min() == 255
    assert (pixels < 128).mean() > 0.005, "something is drawn"


def test_the_axis_ends_at_ticks_around_the_classes() -> None:
    assert ticks_around(0.31, 0.94) == [30, 50, 70, 80, 90, 95]
    assert ticks_around(0.995, 0.9955) == [99.5, 99.8]
    assert ticks_around(0, 0.2) == [0, 30]
    assert ticks_around(0.9995, 1)[-1] == 99.9  # the scale has no tick for none wrong
