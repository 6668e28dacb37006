"""What a trial tries: sampled by Optuna from the trials so far, the same for the same seed."""

from __future__ import annotations

import warnings

from optuna.exceptions import ExperimentalWarning
from optuna.samplers import TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from hemline.files import fingerprint

_SEEDS = 2**32


class SeededSampler(TPESampler):
    """Optuna's TPE with a seed of its own for each trial.

    Workers with one seed try different things, and a study that was interrupted goes on like one
    that was not.
    """

    def __init__(self, seed: int) -> None:
        self._study_seed = seed
        self._begin(seed)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Seed the sampler for a trial."""
        digest = fingerprint([self._study_seed, trial.number])
        self._begin(int(digest[:16], 16) % _SEEDS)
        super().before_trial(study, trial)

    def _begin(self, seed: int) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # what versions 4 called these two
            # the liar has processes that work at the same time try different things
            super().__init__(seed=seed, multivariate=True, constant_liar=True)
