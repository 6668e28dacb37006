"""What a new user meets: paths that may be left out, the next command, errors that fit the help."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from hemline import cli as command_line
from hemline.arguments import only_checkpoint
from hemline.bars import show_progress
from hemline.bench.commands import devices_option
from hemline.bench.devices.table import DEVICES
from hemline.cli import COMMANDS, SECTIONS, cli
from hemline.console import data_option, data_words, next_step, repeated
from hemline.contract import schema
from hemline.contract.card import Card
from hemline.contract.checkpoint import CARD_NAME
from hemline.contract.evaluation_set import SPLITS
from hemline.contract.manifest import MANIFEST_NAME
from hemline.data.datasets import DATASETS
from hemline.data.fetch import FetchOptions
from hemline.errors import UsageError
from hemline.export.commands import _usual
from hemline.export.quantization.calibrators.table import CALIBRATORS
from hemline.export.schemes import SCHEMES
from hemline.remedies import described
from hemline.runtime.backends import BACKENDS
from hemline.runtime.command_line import main as on_device
from hemline.train.baselines.table import BASELINES
from hemline.train.checkpoint import ZOO
from hemline.train.nets.models import MODELS
from hemline.train.recipes.recipe import RECIPES
from hemline.train.tuning.pruning import PRUNINGS
from hemline.working_folder import only_bundle

SCHEMED = ("export", "choose")
RUNTIMES = [row.name for row in BACKENDS.values() if not row.development_only]


def invoke(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words])


def ended(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Return the error that a command line ends with."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["hemline", *words])
        with pytest.raises(SystemExit) as exit_code:
            command_line.main()
    assert exit_code.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True)
    path.touch()
    return path.parent


def test_the_only_bundle_and_checkpoint_need_no_name(here: Path) -> None:
    touch(here / "artifacts" / "hem-50k" / MANIFEST_NAME)
    touch(here / "artifacts" / "one.tflite.bench" / MANIFEST_NAME)  # the figures of a single file
    (here / "artifacts" / "unfinished").mkdir()
    touch(here / "checkpoints" / "mlp" / CARD_NAME)
    touch(here / "checkpoints" / "begun" / "progress" / "state.json")
    assert only_bundle() == Path("artifacts/hem-50k")
    assert only_checkpoint() == Path("checkpoints/mlp")


def test_of_several_bundles_the_error_lists_them(here: Path) -> None:
    for name in ("two", "one"):
        touch(here / "artifacts" / name / MANIFEST_NAME)
    with pytest.raises(UsageError, match=r"name one of: artifacts/one, artifacts/two$"):
        only_bundle()


def test_without_a_bundle_or_checkpoint_the_error_says_what_makes_one(here: Path) -> None:
    del here
    for find, command in ((only_bundle, "export"), (only_checkpoint, "train")):
        with pytest.raises(UsageError) as error:
            find()
        assert described(error.value).endswith(f"name one, or make one with `hemline {command}`")


@pytest.mark.parametrize(
    "name",
    ["bench", "table", "compare", "choose", "report", "history", "gate", "verify", "plan",
     "diagnose", "advise", "evaluate"],
)  # fmt: skip
def test_a_command_says_which_bundle_or_checkpoint_it_uses(here: Path, name: str) -> None:
    for folder, file in (("artifacts", MANIFEST_NAME), ("checkpoints", CARD_NAME)):
        touch(here / folder / "mine" / file).joinpath(file).write_text("{}")
    result = invoke(name, *(["--baseline", "."] if name == "gate" else []))
    kind = "checkpoint" if name == "evaluate" else "bundle"
    folder = "checkpoints" if name == "evaluate" else "artifacts"
    assert f"{kind}: {folder}/mine\n" in result.stderr
    assert result.exit_code != 0  # it is empty


def test_export_uses_the_only_checkpoint_and_lists_several(here: Path) -> None:
    touch(here / "checkpoints" / "photos" / CARD_NAME)
    assert "checkpoint: checkpoints/photos\n" in invoke("export").stderr
    touch(here / "checkpoints" / "shoes" / CARD_NAME)
    error = invoke("export").exception
    assert str(error).endswith("name one of: checkpoints/photos, checkpoints/shoes")
    touch(here / "checkpoints" / "hem-50k" / CARD_NAME)
    assert "checkpoint: checkpoints/hem-50k\n" in invoke("export").stderr


def test_export_of_custom_images_uses_a_checkpoint_that_was_trained_on_them(here: Path) -> None:
    card = schema.load(Card, ZOO / "hem-50k" / CARD_NAME)
    (here / "photos" / "cat").mkdir(parents=True)
    data = FetchOptions(folder=here / "photos")
    for name, dataset in (("hem-50k", "fashion-mnist"), ("mine", "photos"), ("two", "photos")):
        assert _usual(data) == (None if name != "two" else Path("checkpoints/mine"))
        trained = replace(card, training=replace(card.trained, dataset=dataset))
        (here / "checkpoints" / name).mkdir(parents=True)
        schema.save(here / "checkpoints" / name / CARD_NAME, trained)
    with pytest.raises(UsageError, match=r"name one of: checkpoints/mine, checkpoints/two$"):
        _usual(data)
    assert _usual(FetchOptions()) == Path("checkpoints/hem-50k")


def help_of(command: str, option: str) -> str:
    """Return the help of an option, or of a command where the option is empty."""
    found = cli.get_command(click.Context(cli), command)
    assert found is not None
    if not option:
        return f"{found.help} {found.epilog}"
    (record,) = [
        each.get_help_record(click.Context(found)) for each in found.params if option in each.opts
    ]
    assert record is not None
    return " ".join(record)


@pytest.mark.parametrize(
    ("command", "option", "names"),
    [
        *((name, "", MODELS) for name in ("train", "tune", "export")),
        *((name, "--recipe", RECIPES) for name in ("train", "tune", "compare-datasets")),
        *((name, "--dataset", DATASETS) for name in ("train", "tune", "baseline")),
        *((name, "--scheme", {row.name for row in SCHEMES.values()}) for name in SCHEMED),
        *((name, "--runtime", RUNTIMES) for name in ("bench", "verify", "evaluate", "advise")),
        *((name, "--device", set(DEVICES) - {"local"}) for name in ("bench", "choose", "table")),
        ("compare-datasets", "--model", MODELS),
        ("recipe", "", RECIPES),
        ("export", "--calibrator", CALIBRATORS),
        ("tune", "", PRUNINGS),
        ("baseline", "", BASELINES),
        ("evaluate", "--split", SPLITS),
    ],
)
def test_the_help_lists_the_values_where_they_are_given(
    command: str, option: str, names: Iterable[str]
) -> None:
    text = help_of(command, option)
    for name in names:
        assert re.search(rf"\b{name}\b", text), name


@click.command()
@click.option("--json", "as_json", is_flag=True)
def stage(as_json: bool) -> None:
    del as_json
    show_progress(click.get_current_context())
    next_step("export", Path("my photos"), "--data", "IMAGES")


def test_the_next_command_can_be_pasted_and_is_not_a_result() -> None:
    result = CliRunner().invoke(stage)
    assert result.stdout == ""
    assert result.stderr == "next: hemline export 'my photos' --data IMAGES\n"
    assert CliRunner().invoke(stage, ["--json"]).output == ""
    assert CliRunner().invoke(stage, obj={"quiet": True}).output == ""


@click.command()
@devices_option("Where to measure")
@data_option
def measure(devices: tuple[str, ...], data: FetchOptions) -> None:
    show_progress(click.get_current_context())
    next_step("train", *repeated("devices"), *data_words(data, to_train=True))
    next_step("export", *data_words(data))


@pytest.mark.parametrize(
    ("given", "reading"),
    [
        ((), ""),
        (("--image-size", "64"), " --image-size 64"),
        (("--image-size", "64×64", "--skip-broken"), " --image-size 64 --skip-broken"),
        (("--channels", "1", "--image-size", "48x64"), " --image-size 48x64 --channels 1"),
        (("--labels", "a cat,dog"), " --labels 'a cat,dog'"),
        (("--device", "local,emulated:pi4"), " --device local,emulated:pi4"),
    ],
)
def test_the_next_command_repeats_what_this_one_was_given(
    given: tuple[str, ...], reading: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    ended = CliRunner().invoke(measure, ["--data", "photos", *given])
    first, second = ended.stderr.splitlines()
    device = reading if "device" in reading else ""
    assert first == f"next: hemline train{device} --data photos{reading.removeprefix(device)}"
    assert second == "next: hemline export --data photos", "a checkpoint knows the rest"


def test_every_next_command_exists() -> None:
    root = Path(command_line.__file__).parents[1]
    calls = [
        name
        for path in root.rglob("commands.py")
        if ".venv" not in path.parts
        for name in re.findall(r'next_step\(\s*"([a-z-]+)"', path.read_text())
    ]
    assert len(calls) > 10
    assert set(calls) <= set(COMMANDS)


def test_an_error_of_usage_names_the_command_whose_help_says_more(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert ended(capsys, "inspect", "--grph").endswith("(see hemline inspect --help)\n")
    assert ended(capsys, "data", "checkk").endswith("'check'? (see hemline data --help)\n")
    assert ended(capsys, "benhc") == (
        "error: unknown command 'benhc': did you mean 'bench'? (see hemline --help)\n"
    )
    assert ended(capsys, "classify", "--jsn").endswith("(see hemline classify --help)\n")
    assert "'80x' is not a whole number. (see" in ended(capsys, "serve", "a", "--port", "80x")


@pytest.mark.parametrize(
    ("words", "hidden", "offered"),
    [
        (("export", "--calibratio"), "--calibration'", "--calibrator"),
        (("compare", "--max-drop-point"), "--max-drop-points", "--max-drop"),
    ],
)
def test_what_the_help_does_not_show_is_not_suggested(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], hidden: str, offered: str
) -> None:
    error = ended(capsys, *words)
    assert hidden not in error
    assert offered in error


def test_each_command_has_one_line_in_the_list_on_a_terminal_of_80_columns() -> None:
    text = CliRunner(env={"COLUMNS": "80"}).invoke(cli).output
    lines = text[text.index(next(iter(SECTIONS))) :].splitlines()
    assert len([line for line in lines if line]) == len(SECTIONS) + len(COMMANDS)


def test_what_only_a_workstation_starts_is_neither_shown_nor_suggested(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert on_device(["job"]) == 2
    assert on_device([]) == 0
    told = capsys.readouterr()
    assert "unknown command 'job'" in told.err
    assert "jobs" not in told.err + told.out
