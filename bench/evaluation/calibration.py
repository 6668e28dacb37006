"""Calibration of probabilities: bins of confidence and the expected calibration error.

Naeini, Cooper, Hauskrecht, Obtaining Well Calibrated Probabilities Using Bayesian Binning (2015),
in the form of Guo et al., On Calibration of Modern Neural Networks (2017), eq. 2 to 5: the
confidence of a prediction is its probability, predictions are put into bins (low, high] of equal
width, and the error is the mean of |accuracy − confidence| over the bins, weighted by their images.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hemline.bench.evaluation.result import Bin, Calibration

BINS = 15  # as in both papers' tables
_LEAST_IMAGES = 5  # of a bar in a picture: fewer say nothing of their accuracy
_LEAST = 1e-12  # in place of a probability of 0 under the logarithm


def calibration_of(
    probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.uint8], temperature: float | None
) -> Calibration:
    """Compare probabilities (n, classes) with labels (n,); `temperature` divided their logits."""
    confidence = probabilities.max(axis=1)
    bins = bins_of(confidence, probabilities.argmax(axis=1) == labels)
    apart = sum(each.images * abs(each.accuracy - each.confidence) for each in bins)
    of_truth = probabilities[np.arange(len(labels)), labels]
    return Calibration(
        temperature=temperature,
        expected_calibration_error=apart / len(labels),
        cross_entropy=float(-np.log(np.maximum(of_truth, _LEAST)).mean()),
        bins=bins,
    )


def bins_of(confidence: npt.NDArray[np.float64], correct: npt.NDArray[np.bool_]) -> tuple[Bin, ...]:
    """Return the bins of predictions, given by confidence 0 … 1 and whether they are correct."""
    place = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    counts = np.bincount(place, minlength=BINS)
    sure = np.bincount(place, weights=confidence, minlength=BINS)
    hits = np.bincount(place, weights=correct, minlength=BINS)
    share = np.maximum(counts, 1)
    return tuple(
        Bin(
            low=at / BINS,
            high=(at + 1) / BINS,
            images=int(counts[at]),
            confidence=float(sure[at] / share[at]),
            accuracy=float(hits[at] / share[at]),
        )
        for at in range(BINS)
    )


def merged_bins(bins: Sequence[Bin]) -> list[Bin]:
    """Return the bins with images, most confident first; neighbours of few images are one bin."""
    merged: list[Bin] = []
    for each in reversed([each for each in bins if each.images]):
        joins = merged and merged[-1].images < _LEAST_IMAGES
        merged.append(_merged(merged.pop(), each) if joins else each)
    if len(merged) > 1 and merged[-1].images < _LEAST_IMAGES:
        merged[-2:] = [_merged(*merged[-2:])]
    return merged


def mean_confidence(calibration: Calibration) -> float:
    """Return the mean confidence of all predictions, 0 … 1."""
    return _merged(*calibration.bins).confidence


def _merged(*bins: Bin) -> Bin:
    images = [each.images for each in bins]
    return Bin(
        low=min(each.low for each in bins),
        high=max(each.high for each in bins),
        images=sum(images),
        confidence=float(np.average([each.confidence for each in bins], weights=images)),
        accuracy=float(np.average([each.accuracy for each in bins], weights=images)),
    )
