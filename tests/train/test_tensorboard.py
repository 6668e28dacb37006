"""TensorBoard: event files hold the figures of the history; what cannot be written is told."""

from __future__ import annotations

import resource
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from hemline.cli import cli
from hemline.contract.card import Epoch
from hemline.contract.checkpoint import read_card
from hemline.errors import HemlineError
from hemline.train.tensorflow import quiet_keras

quiet_keras()

import tensorflow as tf  # noqa: E402 — after its noise was turned off

from hemline.train.tensorboard import EpochLog  # noqa: E402

EPOCH = Epoch(
    epoch=1,
    seconds=2.5,
    learning_rate=0.01,
    loss=1.5,
    accuracy=0.25,
    validation_loss=1.25,
    validation_accuracy=0.5,
)


def figures(folder: Path) -> dict[str, dict[int, float]]:
    """Return tag to step to number, of all event files in a folder."""
    found: dict[str, dict[int, float]] = {}
    for path in sorted(folder.glob("events.out.tfevents.*")):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                assert value.metadata.plugin_data.plugin_name in ("scalars", "")
                number = float(tf.make_ndarray(value.tensor))
                found.setdefault(value.tag, {})[event.step] = number
    return found


@pytest.mark.medium
def test_a_training_writes_its_history(
    data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = "train mlp -o here --validation 100 --epochs 3 --tensorboard logs/mine"
    result = CliRunner().invoke(cli, [*words.split(), "--data", str(data_folder)])
    assert result.exit_code == 0, result.output
    history = read_card(Path("here")).trained.history
    found = figures(Path("logs/mine"))
    fields = {
        "loss/training": "loss",
        "loss/validation": "validation_loss",
        "accuracy/training": "accuracy",
        "accuracy/validation": "validation_accuracy",
        "learning rate": "learning_rate",
        "seconds": "seconds",
    }
    assert found.keys() == fields.keys()
    for tag, field in fields.items():
        expected = {epoch.epoch: getattr(epoch, field) for epoch in history}
        assert found[tag] == pytest.approx(expected, rel=1e-6), "float32 in the file"


def test_a_resumed_run_adds_to_the_same_folder(tmp_path: Path) -> None:
    for numbers in ((1, 2), (3,)):
        log = EpochLog(tmp_path)
        for number in numbers:
            log(replace(EPOCH, epoch=number), 3)
        log.close()
    assert list(figures(tmp_path)["loss/training"]) == [1, 2, 3]


def test_a_figure_is_there_as_soon_as_its_epoch_has_ended(tmp_path: Path) -> None:
    log = EpochLog(tmp_path)
    log(EPOCH, 3)
    assert figures(tmp_path)["loss/validation"] == {1: 1.25}
    log.close()


@pytest.mark.parametrize("place", ["a-file", "a-file/below", "/proc/hemline"])
def test_a_folder_that_cannot_be_written_is_told_in_one_line(place: str, tmp_path: Path) -> None:
    (tmp_path / "a-file").write_text("x")
    with pytest.raises(HemlineError, match="cannot write TensorBoard files to .*: ") as told:
        EpochLog(tmp_path / place)
    assert len(str(told.value).splitlines()) == 1


def test_a_disk_that_fills_up_is_told_in_one_line(tmp_path: Path) -> None:
    """A file that must not grow any more stands in for it."""
    log = EpochLog(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
        with pytest.raises(
            HemlineError, match="cannot write TensorBoard .*: file too large"
        ) as told:
            log(EPOCH, 3)
        log.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(str(told.value).splitlines()) == 1
