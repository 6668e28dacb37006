"""Make scores mean what they say: a temperature and an "unknown" threshold, from validation only.

Temperature scaling: Guo et al., On Calibration of Modern Neural Networks (2017), sec. 4.2.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

Logits = npt.NDArray[np.float32]
Labels = npt.NDArray[np.uint8]

_REFUSED_SHARE = 0.01  # of the correct validation predictions may become "unknown"
_LOG_TEMPERATURE_DEVIATION = float(np.log(2))  # a factor of two is usual for trained networks
_SURE = 0.9  # a prediction this sure is never "unknown", however sure the model always is


def fit_temperature(logits: Logits, labels: Labels) -> float:
    """Return the temperature with the least cross-entropy; logits (n, classes), labels (n,).

    Few images keep it near 1: its logarithm has a Gaussian prior. Without one, six images that are
    all correct would make every score 100 %.
    """
    exact = logits.astype(np.float64)

    def loss(log_temperature: float) -> float:
        prior = (log_temperature / _LOG_TEMPERATURE_DEVIATION) ** 2 / 2
        return cross_entropy(exact / np.exp(log_temperature), labels) + prior / len(labels)

    best = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded")
    return round(float(np.exp(best.x)), 4)


def cross_entropy(logits: Logits | npt.NDArray[np.float64], labels: Labels) -> float:
    """Return the mean cross-entropy of logits (n, classes) for labels (n,)."""
    log_shares = log_softmax(logits.astype(np.float64), axis=1)
    return float(-log_shares[np.arange(len(labels)), labels].mean())


def fit_unknown_threshold(logits: Logits, labels: Labels, temperature: float) -> float:
    """Return the score under which predictions are "unknown": 1 % of the correct ones are below it.

    At most 0.9, and 0 when no prediction is correct.
    """
    scores = softmax(logits.astype(np.float64) / temperature, axis=1)
    right = scores.argmax(axis=1) == labels
    if not right.any():
        return 0.0
    quantile = float(np.quantile(scores.max(axis=1)[right], _REFUSED_SHARE))
    return round(min(quantile, _SURE), 4)


def fit_distance_threshold(distances: npt.NDArray[np.float32]) -> float:
    """Return the distance above which predictions are "unknown": 1 % of the correct ones are.

    distances: of the correct predictions, (n,), at least one.
    """
    return round(float(np.quantile(distances, 1 - _REFUSED_SHARE)), 4)
