"""What a trial tries: drawn by Optuna from what is known so far, the same for the same seed."""

from __future__ import annotations

import warnings
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from hemline.files import fingerprint

_SEEDS = 2**32


class SeededSampler(BaseSampler):
    """Optuna's TPE with a seed of its own for each trial.

    Workers with one seed try different things, and a study that was interrupted goes on like one
    that was not.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._sampler = _sampler(seed)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Seed the sampler for a trial."""
        digest = fingerprint([self._seed, trial.number])
        self._sampler = _sampler(int(digest[:16], 16) % _SEEDS)
        self._sampler.before_trial(study, trial)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return the fields that are drawn together."""
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw those fields."""
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Draw one field: those of the first trials, at random."""
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)


def _sampler(seed: int) -> TPESampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # what versions 4 called these two
        # the liar has processes that work at the same time try different things
        return TPESampler(seed=seed, multivariate=True, constant_liar=True)
