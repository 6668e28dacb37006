"""A real `hemline train` that is interrupted or killed loses one epoch at most and goes on."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from patience import HANG_SECONDS

from hemline.contract.card import Card
from hemline.contract.checkpoint import is_checkpoint, read_card
from hemline.data.datasets import Images
from hemline.errors import HemlineError
from hemline.train.nets.models import MODELS
from hemline.train.recipes.recipe import Recipe
from hemline.train.request import TrainRequest

pytestmark = pytest.mark.slow

EPOCHS = 6
RECIPE = f"--validation 100 --batch 50 --epochs {EPOCHS} --precision float32".split()


def arguments(data_folder: Path, *more: str) -> list[str]:
    return ["train", "-o", "new", "--data", str(data_folder), *RECIPE, *more]


def figures(card: Card) -> list[tuple[float, ...]]:
    return [
        (e.loss, e.accuracy, e.validation_loss, e.validation_accuracy) for e in card.trained.history
    ]


def wait_for(process: subprocess.Popen[str], text: str) -> list[str]:
    """Read standard error until a line holds `text`; return the lines."""
    assert process.stderr is not None
    lines: list[str] = []
    while line := process.stderr.readline():
        lines.append(line)
        if text in line:
            return lines
    raise AssertionError("".join(lines))


def kept_epochs(folder: Path) -> int:
    return len(json.loads((folder / "progress" / "state.json").read_text())["history"])


@pytest.fixture(scope="module")
def uninterrupted(
    data_folder: Path, tmp_path_factory: pytest.TempPathFactory, start_hemline
) -> Card:
    """Return the card of the same command when nothing happens to it."""
    hemline = start_hemline(folder=tmp_path_factory.mktemp("whole"))
    assert hemline.run(*arguments(data_folder)).code == 0
    return read_card(hemline.folder / "new")


def test_a_killed_training_ends_like_one_that_was_not(
    hemline, data_folder: Path, uninterrupted: Card
) -> None:
    """Killed four times, at random within an epoch or the writing of its weights."""
    chance, kept = random.Random(1), 0
    for epoch in (1, 3, 5, EPOCHS):  # the last time between the last epoch and the checkpoint
        if epoch <= kept:  # this process was slower to kill than the other one to train
            continue
        process = hemline.start(*arguments(data_folder))
        told = "".join(wait_for(process, f"epoch {epoch:>3}/"))
        assert f"epoch {kept + 1:>3}/" in told
        assert f"epoch {kept:>3}/" not in told, "no epoch is trained twice that was kept"
        time.sleep(0 if epoch == EPOCHS else chance.uniform(0, 0.15))
        process.kill()
        process.communicate()
        if is_checkpoint(hemline.folder / "new"):
            break
        kept = kept_epochs(hemline.folder / "new")
        assert kept >= epoch, "an epoch that was told is kept"
    if not is_checkpoint(hemline.folder / "new"):
        assert hemline.run(*arguments(data_folder)).code == 0
    card = read_card(hemline.folder / "new")
    assert figures(card) == figures(uninterrupted)
    assert card.trained.scores == uninterrupted.trained.scores
    names = {path.name for path in (hemline.folder / "new").iterdir()}
    assert names == {".lock", "card.json", "checkpoint.keras", "history.csv"}


@pytest.mark.parametrize("text", ["training hem-50k", "epoch   2/"])
def test_ctrl_c_says_in_one_line_how_to_go_on(
    hemline, data_folder: Path, uninterrupted: Card, text: str
) -> None:
    process = hemline.start(*arguments(data_folder))
    wait_for(process, text)
    time.sleep(0 if "epoch" in text else 1.0)  # in an epoch, or in the import of TensorFlow
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=HANG_SECONDS)
    last = [line for line in rest.splitlines() if not line.startswith("epoch ")]
    assert last == [
        "error: interrupted: run the same command to continue after the last complete epoch"
    ]
    assert process.returncode == 130
    assert hemline.run(*arguments(data_folder)).code == 0
    assert figures(read_card(hemline.folder / "new")) == figures(uninterrupted)


def test_a_changed_recipe_is_refused_until_the_run_is_forgotten(hemline, data_folder: Path) -> None:
    process = hemline.start(*arguments(data_folder))
    wait_for(process, "epoch   2/")
    process.kill()
    process.communicate()
    changed = arguments(data_folder, "--epochs", "3")
    ended = hemline.run("-q", *changed)
    assert "contains an unfinished run with another recipe, seed or data" in ended.error
    assert "--restart" in ended.error
    assert ended.code == 1
    assert hemline.run(*changed, "--restart").code == 0
    assert len(read_card(hemline.folder / "new").trained.history) == 3
    finished = hemline.run("-q", *changed)
    assert "holds a finished checkpoint; use --force" in finished.error
    assert finished.code == 2


def test_damaged_progress_says_how_to_go_on(hemline, data_folder: Path) -> None:
    process = hemline.start(*arguments(data_folder))
    wait_for(process, "epoch   2/")
    process.kill()
    process.communicate()
    state = hemline.folder / "new" / "progress" / "state.json"
    state.write_text(state.read_text()[:100])
    ended = hemline.run("-q", *arguments(data_folder))
    assert "cannot resume" in ended.error
    assert "--restart" in ended.error
    assert ended.code == 1


def test_two_trainings_in_one_folder_do_not_mix(
    hemline, data_folder: Path, uninterrupted: Card
) -> None:
    first = hemline.start(*arguments(data_folder))
    wait_for(first, "epoch   1/")
    first.send_signal(signal.SIGSTOP)  # so that it is there for as long as the other one needs
    second = hemline.run("-q", *arguments(data_folder))
    first.send_signal(signal.SIGCONT)
    assert "another hemline command is using new: wait for it" in second.error
    assert second.code == 1
    _, errors = first.communicate(timeout=HANG_SECONDS)
    assert first.returncode == 0, errors
    assert figures(read_card(hemline.folder / "new")) == figures(uninterrupted)


def test_a_full_disk_ends_a_training_with_one_line(
    hemline, data_folder: Path, small_disk, uninterrupted: Card
) -> None:
    disk = small_disk(700)  # an epoch has 570 kB, and two are there for a moment
    ended = hemline.run("-q", *arguments(data_folder), "-o", disk)
    assert "no space left on device" in ended.error
    assert "cannot write" in ended.error
    assert ended.code == 1
    assert kept_epochs(disk) == 1
    subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)
    assert hemline.run(*arguments(data_folder), "-o", disk).code == 0
    assert figures(read_card(disk)) == figures(uninterrupted)


def test_a_disk_that_is_full_at_the_end_leaves_no_half_checkpoint(
    images: Images, small_disk: Callable[[int], Path]
) -> None:
    from hemline.train.training import train

    disk = small_disk(2000)
    filling, folder = disk / "filling", disk / "new"
    request = TrainRequest(
        model=MODELS["hem-50k"],
        recipe=Recipe(epochs=1, batch=50, validation=100, precision="float32"),
        recipe_name="test",
        seed=1,
        folder=folder,
    )

    def fill(*_: object) -> None:
        with contextlib.suppress(OSError), filling.open("wb", buffering=0) as stream:
            while stream.write(bytes(4096)):
                pass

    with pytest.raises(HemlineError, match="cannot write .*checkpoint.keras: no space left"):
        train(request, images, on_epoch=fill)
    assert not is_checkpoint(folder)
    assert {path.name for path in folder.iterdir()} == {".lock", "progress"}
    filling.unlink()
    card = train(request, images, on_epoch=lambda *_: pytest.fail("the epoch was kept"))
    assert read_card(folder) == card
