"""Train trials of a study, one after the other; only validation images are ever used."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import keras
import optuna

from hemline import files
from hemline.contract.card import Epoch
from hemline.data.splits import TrainingData
from hemline.errors import DivergenceError, UsageError
from hemline.train.fitting.fitting import OnEpoch, Run, Trained, fit, within_memory
from hemline.train.fitting.progress import read_progress
from hemline.train.nets.models import seeded_model
from hemline.train.recipes.recipe import Recipe
from hemline.train.request import TrainRequest
from hemline.train.tuning.dimensions import Value
from hemline.train.tuning.results import best_recipe_toml, results_of
from hemline.train.tuning.search import Search
from hemline.train.tuning.study import ATTEMPTS, LOSS, PARAMETERS, SECONDS, Study

BEST_NAME = "best.toml"


class Listener(Protocol):
    """What is called as a search goes on."""

    def begin(self, number: int, values: dict[str, Value], epochs_done: int) -> None:
        """A trial begins, or continues after so many epochs."""

    def epoch(self, number: int, epoch: Epoch, epochs: int) -> None:
        """An epoch of a trial is finished."""

    def end(self, number: int) -> None:
        """The trial is finished."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialSettings:
    """What all trials of this process share.

    request: the model and the file of pretrained weights.
    data: training and validation images; no test images.
    classes: how many.
    trials: how many finished ones the study shall have.
    deadline: time.monotonic() at which to stop after an epoch; None for never.
    """

    request: TrainRequest
    data: TrainingData
    classes: int
    trials: int
    deadline: float | None = None


class TimeUpError(Exception):
    """The time for the search is over; the trial goes on another time."""


def run_trials(study: Study, settings: TrialSettings, listener: Listener) -> bool:
    """Train trials until there are enough or the time is up; return whether there are enough.

    Raises UsageError for a recipe that the model cannot follow.
    """
    while settings.deadline is None or time.monotonic() < settings.deadline:
        with study.next_trial(settings.trials) as trial:
            if trial is None:
                return True
            running = Running(study, settings, trial, listener)
            try:
                running.end(running.fit)
            except TimeUpError:
                return False
            finally:
                keras.backend.clear_session()  # the graphs of a trial are of no use to the next one
    return False


def write_best(study: Study) -> Path | None:
    """Write the best recipe so far into the study's folder; None before there is one."""
    path = study.folder / BEST_NAME
    with study.alone():
        text = best_recipe_toml(results_of(study.search, study.trials()))
        if text is None:
            return None
        if not path.exists() or path.read_text() != text:
            files.write_bytes(path, text.encode())
    return path


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialJob:
    """What a trial trains, in this process or in another one.

    number, values: of the study.
    """

    request: TrainRequest
    search: Search
    classes: int
    number: int
    values: dict[str, Value]

    @property
    def recipe(self) -> Recipe:
        """Return what is trained by."""
        return self.search.trial_recipe(self.values)

    def run_sha256(self) -> str:
        """Return what only the same run has; the data is the same in all of the study."""
        fields, search = self.recipe.as_fields(), self.search
        return files.fingerprint({"recipe": fields, "seed": search.seed, "model": search.model})


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a trial that was trained to its end is worth.

    epoch: whose weights would become the checkpoint; parameters: of the model.
    """

    epoch: Epoch
    parameters: int


def fit_trial(job: TrialJob, data: TrainingData, folder: Path, on_epoch: OnEpoch) -> Outcome:
    """Train a trial, from its progress in a folder on; raises as `fit`, and what on_epoch does."""
    request, recipe = job.request, job.recipe
    run = Run(
        recipe=recipe,
        seed=job.search.seed,
        precision=job.search.precision,
        folder=folder,
        run_sha256=job.run_sha256(),
    )
    with within_memory(job.search.model, recipe):
        model = seeded_model(
            request.model,
            recipe,
            data.shape,
            job.classes,
            seed=request.seed,
            weights=request.weights,
        )
        started = time.perf_counter()
        trained = fit(model, run, data, started=started, on_epoch=on_epoch)
    return Outcome(epoch=_kept(trained), parameters=int(trained.model.count_params()))


class Running:
    """A trial that this process holds, from its begin to its result in the study."""

    def __init__(
        self, study: Study, settings: TrialSettings, trial: optuna.trial.Trial, listener: Listener
    ) -> None:
        self._study, self._settings, self._trial = study, settings, trial
        self._listener = listener
        self.folder = study.folder_of(trial)
        self.job = TrialJob(
            request=settings.request,
            search=study.search,
            classes=settings.classes,
            number=trial.number,
            values=trial.params,
        )
        self._epochs = self.job.recipe.epochs
        self._reported: set[int] = set()
        self._started, self._before = time.perf_counter(), 0.0

    def fit(self) -> Outcome:
        """Train the trial here."""
        self.begin()
        return fit_trial(self.job, self._settings.data, self.folder, self.on_epoch)

    def end(self, train: Callable[[], Outcome]) -> None:
        """Record in the study what `train` returns, or why it returns nothing.

        Errors that the trial did not cause are raised; it then goes on another time.
        """
        study, trial = self._study, self._trial
        try:
            outcome = train()
        except optuna.TrialPruned as error:
            self._note()
            study.finish(trial, accuracy=None, reason=str(error))
        except DivergenceError as error:
            self._note()
            study.finish(trial, accuracy=None, reason=f"diverged in epoch {error.epoch}")
        except UsageError as error:  # of the search: no trial will do better
            study.give_up(trial, str(error))
            raise
        except (KeyboardInterrupt, TimeUpError):
            self.excuse()
            raise
        else:
            self._note(outcome)
            study.finish(trial, accuracy=outcome.epoch.validation_accuracy)
        write_best(study)
        self._listener.end(trial.number)

    def excuse(self) -> None:
        """Do not count this start as an attempt: the trial did not cause its end."""
        self._trial.set_user_attr(ATTEMPTS, 0)

    def begin(self) -> None:
        """Report what an ended process may have saved and not yet reported; raises TrialPruned."""
        state = read_progress(self.folder, run_sha256=self.job.run_sha256())
        history = state.history if state else ()
        values = self._study.search.rounded(self._trial.params)
        self._listener.begin(self._trial.number, values, len(history))
        known = {each.number: each for each in self._study.trials()}[self._trial.number]
        self._reported = set(known.intermediate_values)
        if state is None:
            return
        self._before = state.seconds
        for epoch in history:
            self._report(epoch)
        self._prune(history[-1])

    def on_epoch(self, epoch: Epoch, epochs: int) -> None:
        """Report an epoch to the study; raises TrialPruned or TimeUpError when it is the last."""
        self._report(epoch)
        if self._trial.user_attrs.get(ATTEMPTS):
            self.excuse()
        self._listener.epoch(self._trial.number, epoch, epochs)
        self._prune(epoch)
        if self._settings.deadline is not None and time.monotonic() > self._settings.deadline:
            raise TimeUpError

    def _report(self, epoch: Epoch) -> None:
        if epoch.epoch not in self._reported:
            self._trial.report(epoch.validation_accuracy, epoch.epoch)
            self._reported.add(epoch.epoch)

    def _prune(self, epoch: Epoch) -> None:
        # one that is trained to its end anyway is worth its real figure
        if epoch.epoch < self._epochs and self._trial.should_prune():
            raise optuna.TrialPruned(f"pruned after epoch {epoch.epoch}")

    def _note(self, outcome: Outcome | None = None) -> None:
        """Record what a trial cost, and what ranks equal accuracies."""
        seconds = self._before + time.perf_counter() - self._started
        self._trial.set_user_attr(SECONDS, round(seconds, 1))
        if outcome is not None:
            self._trial.set_user_attr(PARAMETERS, outcome.parameters)
            self._trial.set_user_attr(LOSS, outcome.epoch.validation_loss)


def _kept(trained: Trained) -> Epoch:
    """Return the epoch whose weights would become the checkpoint."""
    return trained.history[trained.kept_epoch - 1]  # 0 for the last one
