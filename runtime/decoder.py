"""From the output tensor to a Prediction."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from hemline.runtime.backends import Tensor

if TYPE_CHECKING:
    import numpy.typing as npt

    from hemline.contract.specs import OutputSpec
    from hemline.runtime.unknown import Distances

UNKNOWN = "unknown"
# of several predictions: their best classes and these scores, their second best ones, and so on
Ranks: TypeAlias = tuple[list[list[int]], list[list[float]]]
_LEAST_PROBABILITY = np.float32(1e-9)  # what stands for 0 under a logarithm
_FEW = 64  # up to so many classes plain numbers are faster than numpy's calls


class Prediction:
    """What a model predicts for one image.

    label: class name; "unknown" when the score does not exceed the file's threshold, or the
        distance of a file that has one does.
    index: of the best class.
    score: probability of the best class, 0 … 1.
    known: False for the label "unknown", unless that is the name of the best class.
    distance: of the embedding to the nearest class; None where the score decides.
    """

    __slots__ = ("_decoder", "_row", "distance", "index", "known", "label", "score")

    def __init__(
        self, index: int, score: float, row: Tensor, decoder: Decoder, distance: float | None = None
    ) -> None:
        self.index, self.score, self.distance = index, score, distance
        self._row, self._decoder = row, decoder
        self.known: bool = decoder.knows(score, distance)
        self.label = decoder.labels[index] if self.known else UNKNOWN

    @property
    def logits(self) -> npt.NDArray[np.float32]:
        """Return the logits, float32 (classes,), computed when asked for."""
        return self._decoder.logits(self._row)

    @property
    def why_unknown(self) -> str:
        """Return what makes it unknown, where it is."""
        if self.distance is None or self._decoder.distances is None:
            limit = self._decoder.unknown_threshold
            return f"score {100 * self.score:.1f} % is not over {100 * limit:.1f} %"
        return f"distance {self.distance:.2f} is over {self._decoder.distances.largest:.2f}"

    @property
    def stored(self) -> Tensor:
        """Return the logits, or probabilities, as the model stores them, (classes,)."""
        return self._row

    @property
    def scores(self) -> npt.NDArray[np.float32]:
        """Return the probability of every class, float32 (classes,), computed when asked for."""
        return self._decoder.softmax(self.logits)

    def top(self, count: int = 3) -> list[tuple[str, float]]:
        """Return the best `count` (label, score) pairs, best first."""
        return best_of([self], count)[0]

    def __repr__(self) -> str:
        return f"Prediction(label={self.label!r}, index={self.index}, score={self.score:.4f})"


class Decoder:
    """Turn one model's output into predictions: logits ÷ temperature, softmax, threshold.

    With `distances`, that of the embedding decides what is "unknown", not the score.
    """

    def __init__(
        self,
        spec: OutputSpec,
        labels: Sequence[str],
        *,
        temperature: float = 1.0,
        unknown_threshold: float = 0.0,
        distances: Distances | None = None,
    ) -> None:
        self.spec, self.labels = spec, tuple(labels)
        self.temperature, self.unknown_threshold = temperature, unknown_threshold
        self.distances = distances
        self.few = spec.size <= _FEW and spec.gives == "logits"
        self._best = _best_of(spec, temperature) if self.few else self._best_of_many
        # rows of the last batch, and their scores: who asks for these has just had it decoded
        self.recent: tuple[list[Tensor], npt.NDArray[np.float32]] = ([], np.empty(0, np.float32))

    def logits(self, output: Tensor) -> npt.NDArray[np.float32]:
        """Return float32 logits of a raw output, of the same shape."""
        return real_values(self.spec, output)

    def softmax(self, logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return probabilities along the last axis."""
        scaled = logits / np.float32(self.temperature)
        powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=-1, keepdims=True), np.float32)

    def knows(self, score: Any, distance: Any) -> Any:
        """Return whether the best class is the label of an image; of float64 (n,), bool (n,)."""
        if self.distances is None or distance is None:
            return score > self.unknown_threshold
        return distance <= self.distances.largest

    def decode(self, row: Tensor, embedding: Tensor | None = None) -> Prediction:
        """Return the prediction of a row of the raw output, (classes,), and embedding, (size,)."""
        index, score = self._best(row)
        if self.distances is None or embedding is None:
            return Prediction(index, score, row, self)
        real = real_values(self.distances.spec, embedding[None])
        return Prediction(index, score, row, self, float(self.distances(real)[0]))

    def decode_batch(self, rows: Tensor, embeddings: Tensor | None = None) -> list[Prediction]:
        """Return the prediction of each row of the raw output, (n, classes), and embedding."""
        if len(rows) == 0:
            return []
        scores = self.softmax(self.logits(rows))
        indices = scores.argmax(axis=1)
        best = scores[np.arange(len(rows)), indices].tolist()
        away: Sequence[float | None] = [None] * len(rows)
        if self.distances is not None and embeddings is not None:
            away = self.distances(real_values(self.distances.spec, embeddings)).tolist()
        each_row = [*rows]
        self.recent = each_row, scores
        found = zip(indices.tolist(), best, each_row, away, strict=True)
        return [Prediction(index, score, row, self, each) for index, score, row, each in found]

    def ranks_of_few(self, row: Tensor, count: int) -> Ranks:
        """Return the ranks of a row of few logits: plain numbers are faster than numpy's calls."""
        values, factor = row.tolist(), self.spec.scale / self.temperature
        best = max(values)
        powers = [math.exp((value - best) * factor) for value in values]
        total = sum(powers)
        order = sorted(range(len(values)), key=values.__getitem__, reverse=True)[:count]
        return [[index] for index in order], [[powers[index] / total] for index in order]

    def _best_of_many(self, row: Tensor) -> tuple[int, float]:
        scores = self.softmax(self.logits(row))
        index = int(scores.argmax())
        return index, float(scores[index])


def scores_of(predictions: Sequence[Prediction]) -> npt.NDArray[np.float32]:
    """Return the float32 scores (n, classes) of at least one prediction, all of one classifier."""
    decoder, rows = predictions[0]._decoder, [each._row for each in predictions]
    recent, scores = decoder.recent
    if len(rows) == len(recent) and all(map(operator.is_, rows, recent)):
        return scores
    return decoder.softmax(decoder.logits(np.stack(rows)))


def best_of(predictions: Sequence[Prediction], count: int) -> list[list[tuple[str, float]]]:
    """Return the best `count` (label, score) pairs of each prediction, best first."""
    labels, ranks = predictions[0]._decoder.labels, ranks_of(predictions, count)
    rows = zip(*(zip(*each, strict=True) for each in ranks), strict=True)
    return [[(labels[at], score) for at, score in zip(*row, strict=True)] for row in rows]


def ranks_of(predictions: Sequence[Prediction], count: int, *, quick: bool = False) -> Ranks:
    """Return the first `count` ranks of at least one prediction, all of one classifier.

    Scores that are `quick` to get can differ from those of a prediction by rounding in float32.
    """
    first = predictions[0]
    if quick and len(predictions) == 1 and first._decoder.few:
        return first._decoder.ranks_of_few(first._row, count)
    scores = scores_of(predictions)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    return best.T.tolist(), scores[np.arange(len(best))[:, None], best].T.tolist()


def real_values(spec: OutputSpec, stored: Tensor) -> npt.NDArray[np.float32]:
    """Return the float32 values of a raw output, of the same shape; of probabilities the logits."""
    if spec.dtype == "float32":
        real = np.asarray(stored, np.float32)
    else:
        steps = stored.astype(np.float32) - spec.zero_point
        real = np.asarray(steps * np.float32(spec.scale), np.float32)
    if spec.gives == "probabilities":
        return np.asarray(np.log(np.maximum(real, _LEAST_PROBABILITY)), np.float32)
    return real


def _best_of(spec: OutputSpec, temperature: float) -> Callable[[Tensor], tuple[int, float]]:
    """Return a function from a raw row to (best index, its probability), in plain numbers."""
    if spec.dtype in ("int8", "uint8"):
        # e^(−d · scale ÷ T) of every difference d between two 8-bit values
        powers = [math.exp(-step * spec.scale / temperature) for step in range(256)]

        def best_stored(row: Tensor) -> tuple[int, float]:
            values = row.tolist()
            best = max(values)
            return values.index(best), 1.0 / sum([powers[best - value] for value in values])

        return best_stored
    factor = spec.scale / temperature
    exp = math.exp

    def best_real(row: Tensor) -> tuple[int, float]:
        values = row.tolist()
        best = max(values)
        return values.index(best), 1.0 / sum([exp((value - best) * factor) for value in values])

    return best_real
