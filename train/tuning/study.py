"""A study: the trials of one search in a folder that several processes share.

A trial belongs to the process that holds the lock of its folder, in which its progress lies. A
process that is killed lets go of the lock; the next one that looks for work goes on with the trial.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from hemline.contract.schema import from_document, to_document
from hemline.errors import BusyError, FileFormatError, UsageError, remedy
from hemline.files import locked
from hemline.train.tuning.pruning import Pruning
from hemline.train.tuning.sampling import SeededSampler
from hemline.train.tuning.search import Search
from hemline.train.tuning.storage import opened

log = logging.getLogger(__name__)

FILE_NAME = "study.db"
# attributes of a trial
ATTEMPTS = "attempts"  # starts since its last whole epoch
REASON = "reason"  # why it has no accuracy
PARAMETERS = "parameters"  # of the model
SECONDS = "seconds"  # of training
LOSS = "loss"  # of validation, which ranks equal accuracies
_NAME = "hemline"  # of the one study in the file
_SEARCH = "search"  # attribute of the study
_MOST_ATTEMPTS = 3  # a trial that ends its process so often does so by itself
_LEAST_FOR_IMPORTANCES = 10  # trials: of fewer, the forest sees chance
_LOCK_SECONDS = 60.0  # nobody holds the folder for longer than its pictures take
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


class Study:
    """The trials of a search; made by `opened_study`."""

    def __init__(self, folder: Path, search: Search, study: optuna.Study) -> None:
        self.folder, self.search = folder, search
        self._study = study

    def trials(self) -> list[FrozenTrial]:
        """Return all trials so far, by number."""
        return self._study.get_trials(deepcopy=False)

    def importances(self) -> dict[str, float]:
        """Return the share of each field in how accuracies differ (fANOVA), the largest first.

        Empty where too few trials are complete to say.
        """
        complete = [each for each in self.trials() if each.state == TrialState.COMPLETE]
        if len(complete) < _LEAST_FOR_IMPORTANCES or len({each.value for each in complete}) < 2:
            return {}
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=self.search.seed)
        return optuna.importance.get_param_importances(self._study, evaluator=evaluator)

    @contextlib.contextmanager
    def next_trial(self, wanted: int) -> Iterator[Trial | None]:
        """Yield a trial to work on, held by this process in the block.

        None when `wanted` trials are finished or in other processes' hands.
        """
        with contextlib.ExitStack() as held:
            with self.alone():
                claimed = self._abandoned(held) or self._new(held, wanted)
            yield claimed

    def finish(self, trial: Trial, *, accuracy: float | None, reason: str = "") -> None:
        """Record the result of a trial: an accuracy, or the reason why there is none."""
        state = TrialState.PRUNED if accuracy is None else TrialState.COMPLETE
        self._end(trial, state, accuracy, reason)

    def give_up(self, trial: Trial, reason: str) -> None:
        """Say that a trial failed, which counts as if it had not been."""
        self._end(trial, TrialState.FAIL, None, reason)

    def _end(self, trial: Trial, state: TrialState, accuracy: float | None, reason: str) -> None:
        if reason:
            trial.set_user_attr(REASON, reason)
        self._study.tell(trial, accuracy, state)
        shutil.rmtree(self.folder_of(trial), ignore_errors=True)

    def alone(self) -> contextlib.AbstractContextManager[None]:
        """Hold the folder in the block; the others wait for it."""
        return locked(self.folder, wait_seconds=_LOCK_SECONDS)

    def _abandoned(self, held: contextlib.ExitStack) -> Trial | None:
        """Return a trial whose process has ended; one that ended several of them is given up."""
        for each in self._running():
            with contextlib.ExitStack() as claim:
                try:
                    claim.enter_context(locked(self.folder_of(each)))
                except BusyError:
                    continue
                if each.number not in {other.number for other in self._running()}:
                    continue  # it was finished and let go in between
                # Optuna has no other way back to a trial that runs
                trial = Trial(self._study, each._trial_id)
                if trial.user_attrs.get(ATTEMPTS, 0) >= _MOST_ATTEMPTS:
                    reason = f"ended its process {_MOST_ATTEMPTS} times"
                    log.warning("trial %d %s: given up", trial.number, reason)
                    self.give_up(trial, reason)
                    continue
                held.push(claim.pop_all())
                return self._started(trial)
        return None

    def _running(self) -> list[FrozenTrial]:
        return [each for each in self.trials() if each.state == TrialState.RUNNING]

    def _new(self, held: contextlib.ExitStack, wanted: int) -> Trial | None:
        begun = sum(each.state in (*FINISHED, TrialState.RUNNING) for each in self.trials())
        if begun >= wanted:
            return None
        trial = self._study.ask()
        held.enter_context(locked(self.folder_of(trial)))
        return self._started(trial)

    def _started(self, trial: Trial) -> Trial:
        for each in self.search.space:
            each.suggest(trial)
        trial.set_user_attr(ATTEMPTS, trial.user_attrs.get(ATTEMPTS, 0) + 1)
        return trial

    def folder_of(self, trial: Trial | FrozenTrial) -> Path:
        """Return the folder of a trial's progress."""
        return self.folder / "trials" / str(trial.number)


@contextlib.contextmanager
def opened_study(
    folder: Path, search: Search, pruning: Pruning, *, restart: bool = False
) -> Iterator[Study]:
    """Yield the study in a folder, made where there is none.

    restart: forget the trials that are there. Raises UsageError for a study of another search,
    BusyError while its file is locked by others, FileFormatError for a file that is not a study.
    """
    path = folder / FILE_NAME
    with contextlib.ExitStack() as stack:
        with locked(folder, wait_seconds=_LOCK_SECONDS):
            if restart:
                _forget(folder)
            storage = stack.enter_context(opened(path))
            study = optuna.create_study(
                storage=storage,
                study_name=_NAME,
                direction="maximize",
                load_if_exists=True,
                sampler=SeededSampler(search.seed),
                pruner=pruning.pruner(search.epochs),
            )
            search = _same(study, search, path)
        yield Study(folder, search, study)


def _same(study: optuna.Study, search: Search, path: Path) -> Search:
    """Return the search of a study, after it was found to be the same one."""
    document = study.user_attrs.get(_SEARCH)
    if document is None:
        if study.get_trials(deepcopy=False):
            raise FileFormatError(
                f"{path} is a study of another program", remedy=remedy("another study")
            )
        study.enqueue_trial(search.own_values())  # the recipe itself: what is to be improved
        study.set_user_attr(_SEARCH, to_document(search))
        return search
    known = from_document(Search, document, where=str(path))
    if search.recipe["precision"] == "auto":  # what was faster here when the study began
        search = replace(search, precision=known.precision)
    if (difference := known.difference(search)) is not None:
        raise UsageError(
            f"{path} is a study of another search ({difference})", remedy=remedy("same search")
        )
    return search


def _forget(folder: Path) -> None:
    """Remove the trials of a study; raises BusyError while a process works on one of them."""
    trials = folder / "trials"
    for each in sorted(trials.glob("*")):
        with locked(each):
            pass
    shutil.rmtree(trials, ignore_errors=True)
    for suffix in ("", "-journal"):
        (folder / f"{FILE_NAME}{suffix}").unlink(missing_ok=True)
