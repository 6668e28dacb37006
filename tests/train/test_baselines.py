"""Baselines: rows that make what they say, results that are kept, children that end in time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from baseline_results import read_results
from click.testing import CliRunner
from patience import HANG_SECONDS, eventually

from hemline.cli import cli
from hemline.data.datasets import Images
from hemline.data.splits import split_images
from hemline.errors import DataError, HemlineError, UnknownNameError
from hemline.safe_path import code_command
from hemline.statistics import wilson
from hemline.train.baselines import running
from hemline.train.baselines.child import fit_and_score
from hemline.train.baselines.estimators import make_estimator, one_vs_rest_logistic
from hemline.train.baselines.result import BaselineResult, as_json, conditions_lines
from hemline.train.baselines.result import results_table as table_of
from hemline.train.baselines.running import (
    BaselineRequest,
    cached_path,
    job_of,
    run_baseline,
    split_for,
)
from hemline.train.baselines.table import BASELINES, find_baseline
from hemline.train.custom_data import suited
from hemline.train.recipes.recipe import Recipe

# 1,000 trees for ten classes take most of a minute whatever the images
NAMES = [
    pytest.param(name, marks=[pytest.mark.slow] if name == "gradient-boosting" else [])
    for name in BASELINES
]
KNN = BaselineRequest(baseline=BASELINES["knn"])


def ignore(phase: str, share: float | None, seconds: float) -> None:
    """Take progress and print nothing."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def result(images: Images, cache: Path) -> BaselineResult:
    """Return the result of knn on the small data set, made in a child and kept in `cache`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))
        return run_baseline(KNN, images, on_progress=ignore)


def fit_here(request: BaselineRequest, images: Images, data: Any, _: object) -> dict[str, Any]:
    """Do what the child does in this process, which has loaded scikit-learn already."""
    return fit_and_score(job_of(request, images, data), lambda _: None)


def forbid_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(*_: object, **__: object) -> None:
        raise AssertionError("it was fitted again")

    monkeypatch.setattr(running, "fit_in_child", work)


@pytest.mark.parametrize("name", BASELINES)
def test_a_row_makes_its_classifier_with_its_parameters_and_the_seed(name: str) -> None:
    row = find_baseline(name)
    estimator = make_estimator(row, seed=7, threads=2)
    known = {key.rpartition("__")[2]: value for key, value in estimator.get_params().items()}
    for key, value in row.parameters.items():
        if (name, key) != ("logistic", "penalty"):  # whose name depends on the version
            assert known[key] == value
    assert known.get("random_state", 7) == 7
    assert known.get("n_jobs", 2) == 2


def test_the_published_figures_of_svm_are_the_best_of_all_rows() -> None:
    best = max(BASELINES.values(), key=lambda row: row.published["fashion-mnist"])
    assert best.name == "svm"
    assert all(0.8 < share < 1 for row in BASELINES.values() for share in row.published.values())


def test_the_logistic_penalty_is_l1_whatever_its_name_in_this_version() -> None:
    random = np.random.default_rng(1)
    images = random.random((300, 20), np.float32)
    labels = (images[:, 0] > 0.6).astype(int) + (images[:, 0] > 0.3)
    common = {"C": 1.0, "solver": "liblinear", "random_state": 1}
    zeros = {
        penalty: sum(
            int((each.coef_ == 0).sum())
            for each in one_vs_rest_logistic(penalty=penalty, **common)
            .fit(images, labels)
            .estimators_
        )
        for penalty in ("l1", "l2")
    }
    assert zeros["l2"] == 0  # only L1 makes coefficients exactly zero
    assert zeros["l1"] > 20


@pytest.mark.parametrize("name", NAMES)
def test_a_baseline_learns_the_small_data_set_and_tells_its_way(name: str, images: Images) -> None:
    told: list[dict[str, Any]] = []
    data = split_for(images, None)
    request = BaselineRequest(baseline=BASELINES[name], threads=2)
    fit = fit_and_score(job_of(request, images, data), told.append)
    # ten classes, one in ten by chance; the bars are seen by all of them
    assert fit["correct"]["test"] > 0.5 * len(images.test_labels)
    assert told[-1] == {"phase": "predicting test", "share": 1.0}
    rounds = [event["share"] for event in told if event["phase"] == "fitting"]
    assert bool(rounds) == (BASELINES[name].rounds is not None)
    assert all(0 < share <= 1 for share in rounds)


def test_a_result_says_what_was_measured(result: BaselineResult, images: Images) -> None:
    test, validation = result.score("test"), result.score("validation")
    assert test.images == len(images.test_labels)
    assert result.train_images + validation.images == len(images.train_labels)
    assert result.data_sha256 == images.sha256
    assert result.published == 0.854
    assert result.peak_memory_bytes > 20e6  # numpy alone needs that
    assert result.cpu_seconds > 0 < result.predict_seconds


def test_a_second_call_answers_from_the_cache(
    images: Images, result: BaselineResult, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    forbid_work(monkeypatch)
    assert run_baseline(KNN, images, on_progress=ignore) == result
    assert run_baseline(replace(KNN, threads=2), images, on_progress=ignore) == result
    with pytest.raises(AssertionError):
        run_baseline(replace(KNN, again=True), images, on_progress=ignore)


def test_whatever_the_figures_depend_on_is_in_the_name_of_the_cached_file(
    images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    def path(request: BaselineRequest, of: Images) -> Path:
        return cached_path(request, of, split_for(of, None))

    other_row = replace(KNN.baseline, parameters={**KNN.baseline.parameters, "p": 2})
    paths = {
        path(KNN, images),
        path(replace(KNN, seed=2), images),
        path(replace(KNN, baseline=other_row), images),
        path(KNN, replace(images, sha256={**images.sha256, "t10k-images-idx3-ubyte": "0" * 64})),
    }
    monkeypatch.setattr(running.importlib.metadata, "version", lambda _: "0.1")
    assert len(paths | {path(KNN, images)}) == 5


def test_a_part_of_the_images_is_never_kept_and_always_marked(
    images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "fit_in_child", fit_here)
    part = run_baseline(replace(KNN, limit=300), images, on_progress=ignore)
    assert (part.limit, part.train_images) == (300, 240)
    assert any("SUBSET" in line for line in conditions_lines([part]))
    forbid_work(monkeypatch)
    with pytest.raises(AssertionError):
        run_baseline(replace(KNN, limit=300), images, on_progress=ignore)


def test_a_damaged_result_in_the_cache_is_measured_anew(
    images: Images, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(running, "fit_in_child", fit_here)
    path = cached_path(KNN, images, split_for(images, None))
    path.parent.mkdir(parents=True)
    path.write_text('{"kind": "baseline result", ')
    run_baseline(KNN, images, on_progress=ignore)
    assert "measured again" in caplog.text
    assert json.loads(path.read_text())["baseline"] == "knn"


def test_an_unknown_name_gets_the_nearest_one() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'svm'"):
        find_baseline("smv")
    with pytest.raises(UnknownNameError, match="did you mean 'all'"):
        find_baseline("al")


def test_too_few_images_are_refused(images: Images) -> None:
    with pytest.raises(
        DataError, match="9 validation images cannot be held out of 49: there are 10"
    ):
        split_for(images, 49)
    assert len(split_for(images, 50).validation_labels) == 10


def test_the_images_held_out_are_those_that_train_holds_out(images: Images) -> None:
    for limit in (None, 300):
        recipe = suited(Recipe(limit=limit or 0), images)
        trained = split_images(images, validation=recipe.validation, limit=limit)
        assert split_for(images, limit).split == trained.split


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import os; os.kill(os.getpid(), 9)", r"knn ended without a result \(signal 9\)"),
        ("import sys; sys.exit('no room')", r"\(exit code 1\): no room"),
        ('print(\'{"error": "no room"}\')', "knn failed: no room"),
    ],
)
def test_a_child_that_fails_gives_one_line(
    code: str, message: str, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "module_command", lambda _: code_command(code))
    with pytest.raises(HemlineError, match=message) as caught:
        run_baseline(KNN, images, on_progress=ignore)
    assert "\n" not in str(caught.value)


@pytest.mark.medium
def test_a_classifier_that_cannot_be_made_gives_one_line(images: Images) -> None:
    renamed = replace(KNN, baseline=replace(KNN.baseline, name="nearest", parameters={"k": 1}))
    with pytest.raises(HemlineError, match="nearest failed: .*unexpected keyword argument 'k'"):
        run_baseline(renamed, images, on_progress=ignore)


@pytest.fixture
def fitting(data_folder: Path) -> subprocess.Popen[str]:
    """Return `hemline baseline gradient-boosting` in a process group of its own, in its fit."""
    command = code_command("from hemline.cli import main; main()")
    started = subprocess.Popen(
        [*command, "baseline", "gradient-boosting", "--data", str(data_folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert started.stderr is not None
    while "fitting" not in (line := started.stderr.readline()):
        assert line, "it ended before the fit"
    return started


def require_nobody(group: int) -> None:
    """Wait until the last process of a group has ended."""
    assert eventually(lambda: not is_there(group)), "the child goes on"


def is_there(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.medium
def test_an_interrupt_ends_a_fit_at_once_with_one_line(fitting: subprocess.Popen[str]) -> None:
    time.sleep(1)
    os.killpg(fitting.pid, signal.SIGINT)  # as a terminal does
    output, errors = fitting.communicate(timeout=HANG_SECONDS)
    assert fitting.returncode == 130
    assert output == ""
    (line,) = [line for line in errors.splitlines() if not line.startswith("gradient-boosting: ")]
    assert line.startswith("error: interrupted: ")
    require_nobody(fitting.pid)


@pytest.mark.slow
def test_a_fit_ends_with_a_parent_that_was_killed(fitting: subprocess.Popen[str]) -> None:
    time.sleep(1)
    fitting.kill()
    fitting.communicate(timeout=HANG_SECONDS)
    require_nobody(fitting.pid)


@pytest.mark.medium
def test_the_command_needs_no_tensorflow(data_folder: Path) -> None:
    code = (
        "import json, sys; from hemline.cli import cli; before = set(sys.modules)\n"
        "cli(sys.argv[1:], standalone_mode=False)\n"
        "print(json.dumps(sorted(sys.modules)))"
    )

    def loaded(*words: str) -> set[str]:
        command = [*code_command(code), "baseline", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return set(json.loads(done.stdout.splitlines()[-1]))

    heavy = {"tensorflow", "keras", "matplotlib"}
    assert not loaded() & (heavy | {"sklearn", "scipy"})
    run = loaded("knn", "--limit", "300", "--data", str(data_folder))
    assert "sklearn" in run
    assert not run & heavy


def test_json_lines_are_read_again_as_results(result: BaselineResult, tmp_path: Path) -> None:
    document = as_json(result)
    test = result.score("test")
    assert document["test_accuracy"] == test.correct / test.images
    assert document["test_interval"] == pytest.approx(wilson(test.correct, test.images), abs=1e-6)
    path = tmp_path / "baselines.jsonl"
    path.write_text(f"{json.dumps(document)}\n{json.dumps(document)}\n")
    assert read_results(path) == (result, result)


@pytest.mark.medium
def test_the_command_prints_a_table(data_folder: Path) -> None:
    words = ["baseline", "knn", "knn", "--limit", "300", "--data", str(data_folder)]
    run = CliRunner().invoke(cli, words)
    assert run.exit_code == 0, run.output
    assert run.stdout.count("knn") == 1  # named twice, run once
    assert "85.4 %" in run.stdout
    assert "unverified files" in run.stdout
    assert "knn: predicting test 100 %" in run.stderr.splitlines()[-1]


def test_json_holds_every_field(
    data_folder: Path, result: BaselineResult, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    words = ["baseline", "knn", "--json", "--data", str(data_folder)]
    (line,) = CliRunner().invoke(cli, words).stdout.splitlines()
    assert json.loads(line) == as_json(result)
    assert {field.name for field in fields(BaselineResult)} <= json.loads(line).keys()


def test_without_a_name_the_command_lists_the_table() -> None:
    text = CliRunner().invoke(cli, ["baseline"]).stdout
    assert all(f"\n{name} " in text for name in BASELINES)
    lines = CliRunner().invoke(cli, ["baseline", "--json"]).stdout.splitlines()
    assert [json.loads(line)["name"] for line in lines] == list(BASELINES)


def test_an_unknown_name_is_refused_before_anything_is_loaded() -> None:
    run = CliRunner().invoke(cli, ["baseline", "knn", "knm"])
    assert isinstance(run.exception, UnknownNameError)
    assert run.output == ""


def test_a_table_row_shows_measured_and_published(result: BaselineResult) -> None:
    (row,) = table_of([result]).rows
    test = result.score("test")
    assert row[0] == "knn"
    assert row[1] == f"{100 * test.accuracy:.2f} %"
    assert row[3] == "85.4 %"
    unpublished = table_of([replace(result, published=None)])
    assert unpublished.rows[0][3] == ""
