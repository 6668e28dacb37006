"""Make the classifiers of the BASELINES table."""

from __future__ import annotations

import inspect
import pkgutil
from typing import Any

from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier

from hemline.train.baselines.table import Baseline


def make_estimator(baseline: Baseline, *, seed: int, threads: int) -> Any:
    """Return the unfitted classifier of a row, which prints its rounds where it can."""
    estimator = pkgutil.resolve_name(baseline.estimator)(**baseline.parameters)
    wanted = {
        "random_state": seed,
        "estimator__random_state": seed,
        "n_jobs": threads,
        # 2, because a forest prints each tree only then; never where compiled code would print
        "verbose": 2 if baseline.rounds else 0,
    }
    known = estimator.get_params()
    return estimator.set_params(**{key: wanted[key] for key in wanted if key in known})


def one_vs_rest_logistic(*, penalty: str, **parameters: Any) -> OneVsRestClassifier:
    """Return a logistic regression for each class against the rest; `penalty` is l1 or l2.

    The same model as multi_class="ovr", which scikit-learn has given up.
    """
    signature = inspect.signature(LogisticRegression).parameters
    # scikit-learn 1.8 renamed it: l1_ratio is then 1 for L1 and 0 for L2
    renamed = "penalty" not in signature or signature["penalty"].default == "deprecated"
    named = {"l1_ratio": float(penalty == "l1")} if renamed else {"penalty": penalty}
    return OneVsRestClassifier(LogisticRegression(**named, **parameters))
