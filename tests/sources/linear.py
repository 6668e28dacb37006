"""A linear classifier in closed form, for nets whose other weights are random."""

from __future__ import annotations

import numpy as np


def fitted(features: np.ndarray, classes: np.ndarray, *, scale: float = 8.0) -> np.ndarray:
    """Return weights (features, classes) by ridge regression; `scale` widens the logits."""
    wanted = np.eye(int(classes.max()) + 1)[classes] - 0.1
    gram = features.T @ features
    ridge = np.eye(len(gram)) * 1e-2 * np.trace(gram) / len(gram)
    return (scale * np.linalg.solve(gram + ridge, features.T @ wanted)).astype(np.float32)
