"""From the output tensor to a Prediction."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hemline.runtime.backends import Tensor
from hemline.specs import OutputSpec

UNKNOWN = "unknown"


class Prediction:
    """The answer for one image.

    label: class name; "unknown" when the score does not exceed the file's threshold.
    index: of the best class.
    score: probability of the best class, 0 … 1.
    logits: float32 (classes,).
    """

    __slots__ = ("_decoder", "index", "label", "logits", "score")

    def __init__(
        self,
        label: str,
        index: int,
        score: float,
        logits: npt.NDArray[np.float32],
        decoder: Decoder,
    ) -> None:
        self.label, self.index, self.score, self.logits = label, index, score, logits
        self._decoder = decoder

    @property
    def scores(self) -> npt.NDArray[np.float32]:
        """Return the probability of every class, float32 (classes,), computed when asked for."""
        return self._decoder.softmax(self.logits)

    def top(self, count: int = 3) -> list[tuple[str, float]]:
        """Return the best `count` (label, score) pairs, best first."""
        scores = self.scores
        best = np.argsort(-scores, kind="stable")[:count]
        return [(self._decoder.labels[at], float(scores[at])) for at in best]

    def __repr__(self) -> str:
        return f"Prediction(label={self.label!r}, index={self.index}, score={self.score:.4f})"


class Decoder:
    """Turn one model's output into predictions: logits ÷ temperature, softmax, threshold."""

    def __init__(
        self,
        spec: OutputSpec,
        labels: Sequence[str],
        *,
        temperature: float = 1.0,
        unknown_threshold: float = 0.0,
    ) -> None:
        self.spec, self.labels = spec, tuple(labels)
        self.temperature, self.unknown_threshold = temperature, unknown_threshold

    def logits(self, output: Tensor) -> npt.NDArray[np.float32]:
        """Return float32 logits (n, classes) of a raw output tensor."""
        if self.spec.dtype == "float32":
            return np.asarray(output, np.float32)
        real = (output.astype(np.float32) - self.spec.zero_point) * np.float32(self.spec.scale)
        return np.asarray(real, np.float32)

    def softmax(self, logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return probabilities along the last axis."""
        scaled = logits / np.float32(self.temperature)
        powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=-1, keepdims=True), np.float32)

    def decode_one(self, logits: npt.NDArray[np.float32]) -> Prediction:
        """Return the prediction of one row of logits, float32 (classes,)."""
        values = logits.tolist()
        best = max(values)
        index = values.index(best)
        # plain floats: for a few classes numpy's overhead is larger than the work
        total = sum(math.exp((value - best) / self.temperature) for value in values)
        score = 1.0 / total
        label = self.labels[index] if score > self.unknown_threshold else UNKNOWN
        return Prediction(label, index, score, logits, self)
