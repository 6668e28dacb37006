"""What an artifact predicts, as counts: in use, and on validation images (its reference)."""

from typing import ClassVar

from hemline.contract.frozen import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Predictions of some images.

    labels: of each class, in the order of the labels, then of "unknown".
    scores: probabilities of the best class, in the bins of a reference.
    distances: to the nearest class, likewise; empty for a file that measures none.
    """

    KIND: ClassVar[str] = "prediction counts"
    SCHEMA: ClassVar[int] = 1

    labels: tuple[int, ...]
    scores: tuple[int, ...]
    distances: tuple[int, ...] = ()

    @property
    def images(self) -> int:
        """Return how many images were counted."""
        return sum(self.labels)

    def plus(self, other: "Counts") -> "Counts":
        """Return the sum; raises ValueError for counts in other bins."""
        pairs = zip(_parts(self), _parts(other), strict=True)
        sums = [tuple(map(sum, zip(*pair, strict=True))) for pair in pairs]
        return Counts(labels=sums[0], scores=sums[1], distances=sums[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What a file predicts for images like those that it was made for.

    counts: of its predictions on validation images.
    score_edges: between the bins of scores, ascending; a score on an edge is in the bin above it.
    distance_edges: between those of distances.
    """

    counts: Counts
    score_edges: tuple[float, ...]
    distance_edges: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        _, scores, distances = _parts(self.counts)
        for edges, counts in ((self.score_edges, scores), (self.distance_edges, distances or (0,))):
            if len(counts) != len(edges) + 1 or list(edges) != sorted(set(edges)):
                raise ValueError("a reference must have ascending edges, and a count for each bin")


def _parts(counts: Counts) -> tuple[tuple[int, ...], ...]:
    return counts.labels, counts.scores, counts.distances
