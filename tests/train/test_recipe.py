"""Recipes: as files, cards and options; what cannot be one is told in one line."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from hemline.cli import cli
from hemline.contract import schema
from hemline.contract.card import Card
from hemline.contract.checkpoint import CARD_NAME
from hemline.errors import FileFormatError, HemlineError, UnknownNameError, UsageError
from hemline.tables import Table, as_markdown
from hemline.train.checkpoint import ZOO
from hemline.train.nets.models import MODELS
from hemline.train.options import RecipeCommand, recipe_options
from hemline.train.recipes.optimizers import OPTIMIZERS
from hemline.train.recipes.recipe import RECIPES, Recipe
from hemline.train.recipes.recipe_file import named_recipe, read_recipe, recipe_toml
from hemline.train.recipes.schedules import SCHEDULES


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "mine.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_the_same_after_it_was_a_file(name: str, tmp_path: Path) -> None:
    path = written(tmp_path, recipe_toml(RECIPES[name]))
    assert named_recipe(str(path)) == ("mine", RECIPES[name])
    assert named_recipe(name) == (name, RECIPES[name])


def test_every_value_is_the_same_after_it_was_a_file(tmp_path: Path) -> None:
    recipe = Recipe(
        optimizer="adamw", learning_rate=1.25e-7, dropout=0.0, batch_normalization=False, l2=1e-05,
        monitor="accuracy", class_weights="balanced", width=3, precision="float32", flip=False,
    )  # fmt: skip
    assert read_recipe(written(tmp_path, recipe_toml(recipe))) == recipe


def test_a_file_changes_what_it_names_of_its_base(tmp_path: Path) -> None:
    assert read_recipe(written(tmp_path, "")) == RECIPES["fast"]
    path = written(tmp_path, 'base = "plateau"\nepochs = 7  # a few\ndropout = 0.1\n')
    assert read_recipe(path) == RECIPES["plateau"].with_changes({"epochs": 7, "dropout": 0.1})


def test_a_file_without_the_ending_and_one_called_like_a_recipe_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slow").write_text("epochs = 100")
    (tmp_path / "fast").write_text("epochs = 100")
    monkeypatch.chdir(tmp_path)
    assert named_recipe("slow")[1].epochs == 100
    assert named_recipe("fast")[1] == RECIPES["fast"], "names go first"
    assert named_recipe("./fast")[1].epochs == 100


@pytest.mark.parametrize(
    "given", [ZOO / "hem-50k", ZOO / "hem-50k" / CARD_NAME], ids=lambda p: p.name
)
def test_a_checkpoint_is_a_recipe(given: Path) -> None:
    trained = schema.load(Card, ZOO / "hem-50k" / CARD_NAME).trained
    assert named_recipe(str(given)) == (trained.recipe, Recipe.of_fields(trained.recipe_fields))


def card_with(folder: Path, fields: dict[str, Any]) -> None:
    card = schema.load(Card, ZOO / "hem-50k" / CARD_NAME)
    trained = replace(card.trained, recipe_fields=fields)
    schema.save(folder / CARD_NAME, replace(card, training=trained))


def test_a_card_from_before_a_field_was_there_is_a_recipe(tmp_path: Path) -> None:
    card_with(tmp_path, {"epochs": 3, "learning_rate": 0.02})
    assert named_recipe(str(tmp_path))[1] == Recipe(epochs=3, learning_rate=0.02)


def test_a_card_with_a_field_of_a_newer_hemline_is_refused(tmp_path: Path) -> None:
    card_with(tmp_path, {**RECIPES["fast"].as_fields(), "lookahead": 5})
    with pytest.raises(FileFormatError, match=r"card\.json: unknown recipe field 'lookahead'"):
        named_recipe(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch = 3", "unknown recipe field 'epoch': did you mean 'epochs'?"),
        ("'' = 3", "unknown recipe field '': choose one of: batch"),
        ("[schedule]\nname = 'cosine'", "schedule must be a text, not dict"),
        ("optimizer = 'adma'", "unknown optimizer 'adma': did you mean 'adam'?"),
        ("optimizer = 'adma'\nweight_decay = 0", "unknown optimizer 'adma'"),
        ("schedule = 'cosin'", "unknown schedule 'cosin': did you mean 'cosine'?"),
        ("precision = 'float16'", "unknown precision 'float16': did you mean 'float32'?"),
        ("monitor = 'acuracy'", "unknown monitor 'acuracy': did you mean 'accuracy'?"),
        ("class_weights = 'balance'", "unknown class_weights 'balance'"),
        ("strategy = 'tpu'", "unknown strategy 'tpu'"),
        ("optimizer = 5", "optimizer must be a text, not 5"),
        ("optimizer = ['adam']", "optimizer must be a text, not list"),
        ("schedule = ['x', 'x']", "schedule must be a text"),
        ("epochs = 'three'", "epochs must be a whole number, not 'three'"),
        ("epochs = 2.5", "epochs must be a whole number, not 2.5"),
        ("epochs = true", "epochs must be a whole number, not True"),
        ("epochs = 0", "epochs must be at least 1"),
        ("epochs = 99999999999", "epochs must be at most 2147483647"),
        ("l2 = 1" + 400 * "0", "l2 must be at most 2147483647"),
        ("epochs = 1" + 5000 * "0", "is not a recipe, it is not TOML"),
        ("flip = 0x1" + 5000 * "0", "flip must be at most 2147483647"),
        ("shift = [0x1" + 5000 * "0" + "]", "shift must be a whole number, not list"),
        ("optimizer = '" + 5000 * "a" + "'", "unknown optimizer 'aaaa"),
        ("optimizer = 1e999", "optimizer must be a text, not inf"),
        ("learning_rate = nan", "learning_rate must be finite"),
        ("learning_rate = inf", "learning_rate must be finite"),
        ("learning_rate = -inf", "learning_rate must be finite"),
        ("learning_rate = true", "learning_rate must be a number, not True"),
        ("learning_rate = 1979-05-27", "learning_rate must be a number, not date"),
        ("learning_rate = 0", "learning_rate must be positive"),
        ("plateau_factor = 1.0", "plateau_factor must be from 0 to under 1"),
        ("plateau_factor = 0.0", "plateau_factor must be positive"),
        ("flip = 1", "flip must be true or false, not 1"),
        ("dropout = 1.0", "dropout must be from 0 to under 1"),
        ("dropout = 'none'", "dropout must be a number, not 'none'"),
        ("ema = 1.0", "ema must be from 0 to under 1"),
        ("mixup = -0.1", "mixup must not be negative"),
        ("distillation = 1.5", "distillation is a share: at most 1"),
        ("epochs = 3\nfrozen_epochs = 3", "frozen_epochs is 3 and epochs 3: no epoch is left"),
        ("base = 'plain'\nweight_decay = 0.1", "adam has no weight_decay: use adamw, or l2"),
        ("shift = [" + "1," * 9000 + "]", "shift must be a whole number, not list"),
        ("base = 'fats'", "unknown recipe 'fats': did you mean 'fast'?"),
        ("base = 3", "base must be the name of a recipe"),
        ("base = 'other.toml'", "unknown recipe 'other.toml'"),
        ("epochs = [", "is not a recipe, it is not TOML"),
        ("epochs = 3\nepochs = 4", "is not a recipe, it is not TOML"),
        ("x = " + "[" * 30_000, "is not a recipe, it is not TOML"),
        (b"\x00\xff\xfe\x80", "is not a recipe, it is not TOML"),
        (b"# " + b"x" * 70_000, "is not a recipe: it has over 65536 bytes"),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else "bytes",
)  # fmt: skip
def test_a_file_that_is_no_recipe_is_refused_in_one_line(
    text: str | bytes, message: str, tmp_path: Path
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(FileFormatError) as refused:
        named_recipe(str(path))
    line = str(refused.value)
    assert str(path) in line
    assert message in line
    assert len(line.splitlines()) == 1
    assert len(line) < 500 + len(str(path))


def test_a_recipe_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="unknown recipe 'fats': did you mean 'fast'"):
        named_recipe("fats")
    with pytest.raises(FileFormatError, match="cannot read the recipe .*no such file"):
        named_recipe(str(tmp_path / "none.toml"))
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(FileFormatError, match="cannot read the recipe .*is a directory"):
        named_recipe(str(tmp_path / "folder.toml"))


@pytest.mark.parametrize("changes", [{"optimizer": "adma", "weight_decay": 0.0}, {"schedule": "x"}])
def test_a_recipe_made_in_python_is_checked_alike(changes: dict[str, Any]) -> None:
    with pytest.raises(UnknownNameError):
        Recipe(**changes)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_another_optimizer_brings_its_usual_rates_unless_others_are_given(name: str) -> None:
    row = OPTIMIZERS[name]
    base = RECIPES["plain"] if name == "sphere-muon" else RECIPES["fast"]
    changed = base.with_changes({"optimizer": name})
    assert (changed.learning_rate, changed.weight_decay) == (row.learning_rate, row.weight_decay)
    given = base.with_changes({"learning_rate": 0.5, "optimizer": name})
    assert given.learning_rate == 0.5
    assert changed.with_changes({"optimizer": name}) == changed, "the same one changes nothing"


@pytest.mark.parametrize("name", SCHEDULES)
def test_another_schedule_brings_its_usual_warmup_unless_another_is_given(name: str) -> None:
    base = RECIPES["plain"] if name == "one-cycle" else RECIPES["fast"]
    assert base.with_changes({"schedule": name}).warmup == SCHEDULES[name].warmup
    assert base.with_changes({"schedule": name, "warmup": 0.5}).warmup == 0.5


def test_every_model_trains_by_recipes_of_the_table() -> None:
    for row in MODELS.values():
        assert row.recipe in RECIPES
        assert row.transfer_recipe is None or RECIPES[row.transfer_recipe].frozen_epochs


def test_every_field_has_its_help_and_its_section() -> None:
    names = [field.name for field in fields(Recipe)]
    assert [name for section in Recipe.sections().values() for name in section] == names
    assert all(Recipe.sections())
    for kind, default, text in Recipe.options().values():
        assert text
        assert default is None or isinstance(default, kind)


def test_every_field_is_an_option_that_tells_zero_from_nothing() -> None:
    seen: dict[str, Any] = {}

    @click.command(cls=RecipeCommand)
    @recipe_options
    def command(**given: Any) -> None:
        seen.update({name: value for name, value in given.items() if value is not None})

    runner = CliRunner()
    assert runner.invoke(command, []).exit_code == 0
    assert seen == {}
    runner.invoke(command, ["--dropout", "0", "--no-flip", "--no-batch-normalization", "--shift=0"])
    assert seen == {"dropout": 0.0, "flip": False, "batch_normalization": False, "shift": 0}
    assert Recipe().with_changes(seen).dropout == 0.0


@pytest.mark.parametrize("command", ["train", "compare-datasets"])
def test_the_fields_of_a_recipe_have_a_help_of_their_own(command: str) -> None:
    own = CliRunner().invoke(cli, [command, "--help"]).output
    assert f"the {len(Recipe.options())} options of the recipe" in " ".join(own.split())
    shown = set(re.findall(r"^  --([a-z0-9-]+)", own, re.MULTILINE))
    assert "help-recipe" in shown
    assert not shown & {name.replace("_", "-") for name in Recipe.options()}


def test_the_help_has_the_fields_of_a_recipe_under_headings() -> None:
    text = CliRunner().invoke(cli, ["train", "--help-recipe"]).output
    assert max(map(len, text.splitlines())) <= 100
    places = {heading: text.index(f"\nRecipe: {heading}:\n") for heading in Recipe.sections()}
    assert list(places.values()) == sorted(places.values())
    ends = [*list(places.values())[1:], len(text)]
    for (heading, begin), end in zip(places.items(), ends, strict=True):
        shown = set(re.findall(r"^  --([a-z0-9-]+)", text[begin:end], re.MULTILINE))
        assert shown == {name.replace("_", "-") for name in Recipe.sections()[heading]}
    for name in MODELS:
        assert re.search(rf"^ +{name} ", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--optimizer adma", "unknown optimizer 'adma': did you mean 'adam'"),
        ("--schedule cosin", "unknown schedule 'cosin': did you mean 'cosine'"),
        ("--recipe plaen", "unknown recipe 'plaen': did you mean 'plain'"),
        ("mpl", "unknown model 'mpl': did you mean 'mlp'"),
        ("--learning-rate nan", "learning_rate must be finite"),
        ("--optimizer adam --weight-decay 0.1", "adam has no weight_decay"),
        ("mlp --frozen-epochs 1", "mlp has no pretrained layers"),
        ("mlp --weights random", "mlp has no pretrained weights"),
    ],
)
def test_a_mistake_on_the_command_line_is_told_before_anything_is_done(
    words: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data_folder: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["train", "--data", str(data_folder), "--validation", "100", *words.split()]
    result = CliRunner().invoke(cli, arguments)
    assert isinstance(result.exception, UsageError), result.output
    assert message in str(result.exception)
    assert not list(tmp_path.glob("checkpoints/*/*"))


def test_a_recipe_is_printed_as_the_file_that_it_is(tmp_path: Path) -> None:
    printed = CliRunner().invoke(cli, ["recipe", "plateau"]).output
    assert read_recipe(written(tmp_path, printed)) == RECIPES["plateau"]
    for heading in Recipe.sections():
        assert f"# {heading}\n" in printed
    result = CliRunner().invoke(cli, ["recipe", "platoe"])
    assert isinstance(result.exception, HemlineError)


def test_the_lines_that_are_commented_out_are_valid_without_the_sign(tmp_path: Path) -> None:
    printed = recipe_toml(RECIPES["fast"])
    assert read_recipe(written(tmp_path, printed)) == RECIPES["fast"]
    uncommented, count = re.subn(r"^# (?=\w+ = )", "", printed, flags=re.MULTILINE)
    unset = [name for name, value in RECIPES["fast"].as_fields().items() if value is None]
    assert count == len(unset)
    changed = read_recipe(written(tmp_path, uncommented)).as_fields()
    assert {name for name in unset if changed[name] is None} == set()
    given = {name: changed[name] for name in unset}
    assert RECIPES["fast"].with_changes(given).as_fields() == changed


def shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "the model's own" if value is None else str(value)


def fields_table() -> str:
    """Return every field with its value in the recipe fast and its help, section by section."""
    options, rows = Recipe.options(), []
    for section, names in Recipe.sections().items():
        rows.append((f"**{section}**", " ", " "))
        rows += [(f"`{name}`", shown(options[name][1]), options[name][2]) for name in names]
    columns = ("field", "`fast`", "what it is")
    return as_markdown(Table(columns=columns, numeric=(False,) * 3, rows=tuple(rows)))


def test_the_table_of_the_page_is_that_of_the_code() -> None:
    page = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text()
    assert fields_table() in page, f"put this into it:\n{fields_table()}"
