"""Trainings side by side on workers: what a lost worker costs, and what is the same as here."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from hemline.cli import cli
from hemline.cluster import Cluster, Resources, connected
from hemline.contract.card import Card, Epoch
from hemline.data.datasets import Images
from hemline.data.fetch import FetchOptions, load_images
from hemline.data.splits import split_images
from hemline.errors import UsageError
from hemline.safe_path import code_command
from hemline.train.nets.models import MODELS
from hemline.train.recipes.recipe import RECIPES
from hemline.train.request import TrainRequest
from hemline.train.seeds import train_seeds, with_seeds
from hemline.train.tuning.preparing import prepare, space_of
from hemline.train.tuning.pruning import PRUNINGS
from hemline.train.tuning.results import Results, results_of
from hemline.train.tuning.study import opened_study
from hemline.train.workers import LocalWorkers, RayWorkers, Workers

pytestmark = pytest.mark.filterwarnings("default")  # of Ray's own modules
RECIPE = RECIPES["plain"].with_changes({"batch": 50, "validation": 160, "precision": "float32"})


def request_in(folder: Path, model: str = "mlp") -> TrainRequest:
    return TrainRequest(
        model=MODELS[model], recipe=RECIPE, recipe_name="plain, changed", folder=folder
    )


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with connected("", Resources()) as found:
        yield found


@pytest.fixture
def on_ray(cluster: Cluster) -> Workers:
    # a command has its own, which hears nothing of the trials that a failed one left
    return RayWorkers(cluster, Resources())


def descendants(of: int) -> Iterator[tuple[int, str]]:
    """Yield the processes below one, with what they are called."""
    for each in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((each / "stat").read_text().rpartition(")")[2].split()[1])
            name = (each / "cmdline").read_text()
        except OSError:
            continue
        if parent == of:
            yield int(each.name), name
            yield from descendants(int(each.name))


class Killer:
    """Kills the workers of trials once, after the first epoch that is reported."""

    def __init__(self) -> None:
        self.begun: list[tuple[int, int]] = []
        self.killed = 0

    def begin(self, number: int, values: dict[str, Any], epochs_done: int) -> None:
        del values
        self.begun.append((number, epochs_done))

    def epoch(self, number: int, epoch: Epoch, epochs: int) -> None:
        del number, epoch, epochs
        for worker, name in [] if self.killed else list(descendants(os.getpid())):
            if name.startswith("ray::_on_ray"):
                os.kill(worker, signal.SIGKILL)
                self.killed += 1

    def end(self, number: int) -> None:
        pass


def tuned(
    workers: Workers, images: Images, folder: Path, listener: Any, over: str, trials: int
) -> tuple[bool, Results]:
    from hemline.train.tensorflow import quiet_keras

    quiet_keras()
    from hemline.train.tuning.running import TrialSettings
    from hemline.train.tuning.side_by_side import run_trials_on

    request = request_in(folder)
    search = prepare(request, images, space_of(request, images, over=(over,)), {"epochs": 2})
    data = split_images(images, validation=search.validation)
    settings = TrialSettings(request=request, data=data, classes=10, trials=trials)
    with opened_study(folder, search, PRUNINGS["none"]) as study:
        try:
            enough = run_trials_on(workers, study, settings, listener)
        finally:
            results = results_of(search, study.trials())
    return enough, results


@pytest.mark.slow
def test_a_lost_worker_costs_the_epoch_that_it_was_in(
    on_ray: Workers, images: Images, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    killer = Killer()
    enough, results = tuned(on_ray, images, tmp_path, killer, "learning_rate", trials=3)
    assert enough
    assert [each.state for each in results.trials] == ["complete"] * 3
    assert [list(each.epochs) for each in results.trials] == [[1, 2]] * 3
    assert killer.killed
    again = [number for number, _ in killer.begun if "it is tried again" in caplog.text]
    assert len(again) == 3 + killer.killed
    assert max(done for _, done in killer.begun) == 1  # one goes on after its first epoch
    assert (tmp_path / "best.toml").exists()
    assert not list((tmp_path / "trials").iterdir())


@pytest.mark.slow
def test_a_search_that_the_model_cannot_follow_ends_at_once_on_workers_too(
    on_ray: Workers, images: Images, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="mlp does not support another batch_normalization"):
        tuned(on_ray, images, tmp_path, Killer(), "batch_normalization=true,false", trials=3)


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_another_command_joins_a_cluster_at_its_address(data_folder: Path, tmp_path: Path) -> None:
    import ray

    address = ray.get_runtime_context().gcs_address
    words = ["tune", "mlp", "--ray", address, "--trials", "2", "--epochs", "1", "--over", "cutout"]
    folders = ["--data", str(data_folder), "--output", str(tmp_path / "found")]
    done = subprocess.run(
        [*code_command("from hemline.cli import main; main()"), *words, "--limit", "400", *folders],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert f"the Ray cluster at {address}: " in done.stderr
    assert (tmp_path / "found" / "best.toml").exists()


# several seeds


def seeds_trained(
    images: Images, data_folder: Path, folder: Path, workers: Workers, *, ship: bool, **changes: Any
) -> list[Card]:
    recipe = RECIPE.with_changes({"epochs": 2, **changes})
    requests = with_seeds(replace(request_in(folder), recipe=recipe), (1, 2))
    load = partial(load_images, "fashion-mnist", FetchOptions(folder=data_folder))
    load = workers.shared(images) if ship else load
    return train_seeds(workers, requests, images, load, ship=ship, force=False)


@pytest.mark.medium
def test_seeds_are_trained_in_processes_of_one_thread_and_kept(
    images: Images, data_folder: Path, tmp_path: Path
) -> None:
    with LocalWorkers(2) as workers:
        cards = seeds_trained(images, data_folder, tmp_path / "net", workers, ship=False)
        assert [card.trained.seed for card in cards] == [1, 2]
        assert [len(card.trained.history) for card in cards] == [2, 2]
        assert cards[0].model.sha256 != cards[1].model.sha256
    found = sorted(each.name for each in tmp_path.glob("net-seed-*/[!.]*"))
    assert found == sorted(2 * ["card.json", "checkpoint.keras", "history.csv"])
    again = partial(seeds_trained, images, data_folder, tmp_path / "net", LocalWorkers(0))
    assert again(ship=False) == cards
    with pytest.raises(UsageError, match="holds a checkpoint of another recipe"):
        again(ship=False, learning_rate=0.5)


@pytest.mark.slow
def test_a_training_whose_worker_is_lost_goes_on_where_it_was(
    on_ray: Workers,
    images: Images,
    data_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    killer, answer = Killer(), on_ray.answer

    def answer_and_kill(key: int, *, stop: bool) -> None:
        killer.epoch(key, None, 0)  # type: ignore[arg-type]
        answer(key, stop=stop)

    monkeypatch.setattr(on_ray, "answer", answer_and_kill)
    cards = seeds_trained(images, data_folder, tmp_path / "net", on_ray, ship=True, epochs=3)
    assert killer.killed
    assert [[each.epoch for each in card.trained.history] for card in cards] == [[1, 2, 3]] * 2
    assert not list(tmp_path.glob("net-seed-*/progress"))
    with LocalWorkers(2) as workers:
        whole = seeds_trained(
            images, data_folder, tmp_path / "whole", workers, ship=False, epochs=3
        )
    for card, other in zip(cards, whole, strict=True):
        here, there = (each.trained.history[-1].validation_loss for each in (card, other))
        assert here == pytest.approx(there, rel=1e-3)  # the same sums by the same kernels


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seeds", "1,1"], "--seeds 1,1 is not a list of different numbers, as in 1,2,3"),
        (["--seeds", "1,x"], "--seeds 1,x is not a list of different numbers, as in 1,2,3"),
        (["--seeds", "1,2", "--seed", "3"], "--seed and --seeds both name seeds: use one of them"),
        (["--seeds", "1,2", "--folds", "3"], "--folds goes with one training: omit --seeds"),
        (["--ray"], "--ray trains several seeds side by side: name them with --seeds"),
    ],
)
def test_what_does_not_go_with_several_seeds_is_refused(words: list[str], message: str) -> None:
    done = CliRunner().invoke(cli, ["train", "mlp", *words])
    assert isinstance(done.exception, UsageError)
    assert str(done.exception) == message
