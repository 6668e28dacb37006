"""Fit the distance by which a file knows its classes: on training images, through the file itself.

An 8-bit file rounds its embedding, and a distance weighs directions in which embeddings hardly vary
the most: the covariance is that of what the file gives, not of what its source would give.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from hemline.contract.card import Split
from hemline.contract.class_distance import ClassDistance, Int8Rows
from hemline.contract.specs import LOGITS
from hemline.data.datasets import Images
from hemline.data.image_rows import ImageRows, blocks, selected
from hemline.errors import HemlineError
from hemline.export.quantization.calibration import training_indices
from hemline.runtime import Classifier
from hemline.runtime.unknown import Distances
from hemline.train.confidence import fit_distance_threshold

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.uint8]
Labelled = tuple[ImageRows, Labels]
_TRAINING = 10_000  # images: with twice as many, no AUROC was found to change by 0.003
# Directions with a variance of their own: as many as fit into 4 kB, at least 32. Of 40 values, 32
# directions lost up to 0.03 of AUROC, 8 up to 0.07 (results/unknown.jsonl).
DIRECTIONS_BYTES, LEAST_DIRECTIONS = 4096, 32


def fitted(classifier: Classifier, training: Labelled, validation: Labelled) -> ClassDistance:
    """Return the distance of a file's embeddings.

    The threshold comes from the validation images that the file classifies correctly. Raises
    HemlineError where there are none, and as fit_distance does.
    """
    spec, (images, labels) = classifier.stamp.embedding, validation
    if spec is None:
        raise AssertionError("a file that measures distances has an embedding")
    found = _outputs(classifier, images, (LOGITS, spec.name))
    known = found[spec.name][found[LOGITS].argmax(axis=1) == labels]
    if not len(known):
        raise HemlineError("a distance needs validation images that are classified correctly")
    distance = fit_distance(
        _outputs(classifier, training[0], (spec.name,))[spec.name],
        training[1],
        len(classifier.labels),
    )
    threshold = fit_distance_threshold(Distances(distance, spec)(known))
    return dataclasses.replace(distance, threshold=threshold)


def training_images(images: Images, split: Split) -> Labelled:
    """Return images that a model was trained on, of each class as many as of the others."""
    labels, random = np.asarray(images.train_labels), np.random.default_rng(16)
    order = random.permutation(training_indices(len(labels), split))
    by_class = np.argsort(labels[order], kind="stable")
    ordered, rank = labels[order][by_class], np.empty(len(order), np.intp)
    rank[by_class] = np.arange(len(order)) - np.searchsorted(ordered, ordered)
    chosen = np.sort(order[np.argsort(rank, kind="stable")[:_TRAINING]])
    return selected(images.train_images, chosen), labels[chosen]


def _outputs(
    classifier: Classifier, images: ImageRows, names: tuple[str, ...]
) -> dict[str, Floats]:
    parts = [classifier.outputs(some, names) for some in blocks(images)]
    return {name: np.concatenate([part[name] for part in parts]) for name in names}


def fit_distance(embeddings: Floats, labels: Labels, classes: int) -> ClassDistance:
    """Fit class centers and one covariance to embeddings (n, size); the threshold is 1.

    Raises HemlineError for a class without images, or embeddings that do not vary.
    """
    from sklearn.covariance import LedoitWolf

    exact = embeddings.astype(np.float64)
    if missing := sorted({*range(classes)} - {*labels.tolist()}):
        raise HemlineError(f"a distance needs training images of each class: class {missing[0]}")
    means = np.stack([exact[labels == each].mean(axis=0) for each in range(classes)])
    shrunk = LedoitWolf(assume_centered=True).fit(exact - means[labels])  # Ledoit and Wolf 2004
    covariance, mean = shrunk.covariance_, exact.mean(axis=0)
    whole = covariance + np.cov(means.T, bias=True)
    if not np.trace(whole) > 0:
        raise HemlineError("a distance needs an embedding that varies: this one is constant")
    inside, variances = _directions(whole, covariance)
    count, size = inside.shape
    rest = max(0.0, np.trace(whole) - np.trace(inside @ whole @ inside.T)) / max(1, size - count)
    rows, middle = Int8Rows.of(inside / np.sqrt(variances)[:, None]), Int8Rows.of(mean[None])
    return ClassDistance(
        threshold=1.0,
        mean=middle,
        directions=rows,
        variances=tuple(float(f"{each:.6g}") for each in variances),
        centers=Int8Rows.of(rows.array() @ (means - middle.array()).T),
        rest=float(f"{rest:.6g}") if count < size else 0.0,
    )


def _directions(
    whole: npt.NDArray[np.float64], within: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return orthonormal rows (rank, size) of the most variance, and their variance in a class.

    They are turned so that embeddings of a class vary along each on its own.
    """
    rank = max(LEAST_DIRECTIONS, DIRECTIONS_BYTES // len(whole))
    rows = np.linalg.eigh(whole)[1].T[::-1][:rank]
    variances, turns = np.linalg.eigh(rows @ within @ rows.T)
    least = 1e-9 * float(np.trace(whole))  # an embedding that a class never varies in
    return turns.T @ rows, np.maximum(variances, least)
