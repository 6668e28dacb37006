"""Train trials of a study, one after the other; only validation images are ever used."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import keras
import optuna

from hemline import files
from hemline.contract.card import Epoch
from hemline.data.splits import TrainingData
from hemline.errors import DivergenceError, UsageError
from hemline.train.fitting.fitting import Run, Trained, fit, within_memory
from hemline.train.fitting.progress import Progress, read_progress
from hemline.train.nets.models import seeded_model
from hemline.train.request import TrainRequest
from hemline.train.tuning.dimensions import Value
from hemline.train.tuning.results import best_recipe_toml, results_of
from hemline.train.tuning.study import ATTEMPTS, LOSS, PARAMETERS, SECONDS, Study

BEST_NAME = "best.toml"


class Listener(Protocol):
    """What is called as a search goes on."""

    def begin(self, number: int, values: dict[str, Value], epochs_done: int) -> None:
        """A trial begins, or continues after so many epochs."""

    def epoch(self, epoch: Epoch, epochs: int) -> None:
        """An epoch of the trial is finished."""

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
            try:
                _Running(study, settings, trial, listener).run()
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


class _Running:
    def __init__(
        self, study: Study, settings: TrialSettings, trial: optuna.trial.Trial, listener: Listener
    ) -> None:
        self._study, self._settings, self._trial = study, settings, trial
        self._listener = listener
        self._recipe = study.search.trial_recipe(trial.params)
        self._run = self._describe()
        self._started, self._before = time.perf_counter(), 0.0

    def run(self) -> None:
        """Train the trial and record its result in the study."""
        study, trial = self._study, self._trial
        try:
            trained = self._fit()
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
            trial.set_user_attr(ATTEMPTS, 0)  # its end was no fault of the trial
            raise
        else:
            self._note(trained)
            study.finish(trial, accuracy=_kept(trained).validation_accuracy)
        write_best(study)
        self._listener.end(trial.number)

    def _fit(self) -> Trained:
        state = read_progress(self._run.folder, run_sha256=self._run.run_sha256)
        history = state.history if state else ()
        values = self._study.search.rounded(self._trial.params)
        self._listener.begin(self._trial.number, values, len(history))
        if state is not None:
            self._report_again(state)
        with within_memory(self._study.search.model, self._recipe):
            return fit(
                self._model(),
                self._run,
                self._settings.data,
                started=self._started,
                on_epoch=self._on_epoch,
            )

    def _model(self) -> keras.Model:
        request, shape = self._settings.request, self._settings.data.shape
        return seeded_model(
            request.model,
            self._recipe,
            shape,
            self._settings.classes,
            seed=request.seed,
            weights=request.weights,
        )

    def _report_again(self, state: Progress) -> None:
        """Report what an ended process may have saved and not yet reported."""
        self._before = state.seconds
        known = {each.number: each for each in self._study.trials()}[self._trial.number]
        for epoch in state.history:
            if epoch.epoch not in known.intermediate_values:
                self._trial.report(epoch.validation_accuracy, epoch.epoch)
        self._prune(state.history[-1])

    def _on_epoch(self, epoch: Epoch, epochs: int) -> None:
        self._trial.report(epoch.validation_accuracy, epoch.epoch)
        if self._trial.user_attrs.get(ATTEMPTS):
            self._trial.set_user_attr(ATTEMPTS, 0)
        self._listener.epoch(epoch, epochs)
        self._prune(epoch)
        if self._settings.deadline is not None and time.monotonic() > self._settings.deadline:
            raise TimeUpError

    def _prune(self, epoch: Epoch) -> None:
        # one that is trained to its end anyway is worth its real figure
        if epoch.epoch < self._recipe.epochs and self._trial.should_prune():
            raise optuna.TrialPruned(f"pruned after epoch {epoch.epoch}")

    def _note(self, trained: Trained | None = None) -> None:
        """Record what a trial cost, and what ranks equal accuracies."""
        seconds = self._before + time.perf_counter() - self._started
        self._trial.set_user_attr(SECONDS, round(seconds, 1))
        if trained is not None:
            self._trial.set_user_attr(PARAMETERS, int(trained.model.count_params()))
            self._trial.set_user_attr(LOSS, _kept(trained).validation_loss)

    def _describe(self) -> Run:
        search, recipe = self._study.search, self._recipe
        identity = {"recipe": recipe.as_fields(), "seed": search.seed, "model": search.model}
        return Run(
            recipe=recipe,
            seed=search.seed,
            precision=search.precision,
            folder=self._study.folder_of(self._trial),
            run_sha256=files.fingerprint(identity),  # the data is the same in all of the study
        )


def _kept(trained: Trained) -> Epoch:
    """Return the epoch whose weights would become the checkpoint."""
    return trained.history[trained.kept_epoch - 1]  # 0 for the last one
