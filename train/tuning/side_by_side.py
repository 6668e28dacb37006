"""Train trials of a study on workers; this process holds the study and the trials' progress."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import optuna

from hemline.contract.card import Epoch
from hemline.data.splits import TrainingData
from hemline.errors import JobError
from hemline.files import read_bytes
from hemline.folders import TemporaryFolder
from hemline.train.fitting.progress import packed_progress, unpack_progress
from hemline.train.tuning.running import (
    Listener,
    Outcome,
    Running,
    TimeUpError,
    TrialJob,
    TrialSettings,
    fit_trial,
)
from hemline.train.tuning.study import Study
from hemline.train.workers import Load, Report, Workers, follow

log = logging.getLogger(__name__)


def run_trials_on(
    workers: Workers, study: Study, settings: TrialSettings, listener: Listener
) -> bool:
    """Train trials until there are enough or the time is up; return whether there are enough.

    A worker that is lost costs the epoch that it was in. Raises UsageError as `run_trials`, and
    HemlineError for what fails on a worker.
    """
    return _SideBySide(workers, study, settings, listener).run()


class _StoppedError(Exception):
    """The study wants no more epochs of this trial."""


class _SideBySide:
    def __init__(
        self, workers: Workers, study: Study, settings: TrialSettings, listener: Listener
    ) -> None:
        self._workers, self._study = workers, study
        self._settings, self._listener = settings, listener
        self._data = workers.shared(settings.data)
        weights = settings.request.weights
        self._weights = workers.shared(read_bytes(weights)) if weights is not None else None
        self._running: dict[int, Running] = {}
        self._held: dict[int, contextlib.ExitStack] = {}
        self._stops: dict[int, Exception] = {}
        self._enough = False

    def run(self) -> bool:
        """Fill the workers, and follow what they report."""
        try:
            follow(self._workers, self._fill, self._report, self._end)
        finally:
            for key in list(self._running):  # no fault of these
                self._running[key].excuse()
                self._release(key)
        return self._enough

    def _fill(self) -> bool:
        """Start trials while there is room, and return whether any is running."""
        deadline = self._settings.deadline
        while len(self._running) < self._workers.places():
            if deadline is not None and time.monotonic() > deadline:
                break
            held = contextlib.ExitStack()
            trial = held.enter_context(self._study.next_trial(self._settings.trials))
            self._enough = trial is None
            if trial is None:
                break
            running = Running(self._study, self._settings, trial, self._listener)
            self._running[trial.number], self._held[trial.number] = running, held
            self._start(trial.number, running)
        return bool(self._running)

    def _start(self, key: int, running: Running) -> None:
        try:
            running.begin()
        except optuna.TrialPruned as stop:
            self._stops[key] = stop
            self._end(key, lambda: None)
            return
        shipped = self._data, self._weights, packed_progress(running.folder)
        self._workers.start(key, f"{__name__}:train_on_worker", running.job, *shipped)

    def _report(self, key: int, epoch: Epoch, epochs: int, packed: dict[str, bytes]) -> None:
        running = self._running[key]
        unpack_progress(running.folder, packed)
        try:
            running.on_epoch(epoch, epochs)
        except (optuna.TrialPruned, TimeUpError) as stop:
            self._stops[key] = stop
        self._workers.answer(key, stop=key in self._stops)

    def _end(self, key: int, result: Callable[[], Outcome | None]) -> None:
        try:
            self._running[key].end(partial(self._outcome, key, result))
        except TimeUpError:
            pass
        except JobError as error:
            log.warning("trial %d: %s; it is tried again", key, error)
        finally:
            self._release(key)

    def _outcome(self, key: int, result: Callable[[], Outcome | None]) -> Outcome:
        outcome = result()
        if outcome is None:
            raise self._stops.pop(key)
        return outcome

    def _release(self, key: int) -> None:
        """Let go of a trial, for this process or another one to go on with it if it must."""
        del self._running[key]
        self._stops.pop(key, None)
        self._held.pop(key).close()


def train_on_worker(
    job: TrialJob, data: Load, weights: Load | None, packed: dict[str, bytes], report: Report
) -> Outcome | None:
    """Train a trial in this worker; None when the answer to a report was to stop."""
    import keras

    training: TrainingData = data()
    with TemporaryFolder() as name:
        folder = Path(name)
        unpack_progress(folder, packed)
        request = job.request.with_weights(None if weights is None else weights(), folder)
        job = replace(job, request=request)

        def on_epoch(epoch: Epoch, epochs: int) -> None:
            if report((epoch, epochs, packed_progress(folder))):
                raise _StoppedError

        try:
            return fit_trial(job, training, folder, on_epoch)
        except _StoppedError:
            return None
        finally:
            keras.backend.clear_session()  # as `run_trials` does between trials
