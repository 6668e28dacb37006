"""What an artifact predicts, as counts: on validation images (its reference), and in use."""

import dataclasses
import math
from typing import ClassVar

from hemline.contract.frozen import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Counts of values in bins.

    edges: between the bins, ascending; a value on an edge belongs to the bin above it.
    counts: values in each bin, one more than there are edges.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.counts) != len(self.edges) + 1 or min(self.counts) < 0:
            raise ValueError("a histogram must have one count more than edges, none below 0")
        ascending = all(low < high for low, high in zip(self.edges, self.edges[1:], strict=False))
        if not ascending or not all(map(math.isfinite, self.edges)):
            raise ValueError("the edges of a histogram must be finite and ascending")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What an artifact predicts for images like those that it was made for.

    labels: predictions of each class in the order of the labels, then those of "unknown".
    scores: of the probabilities of the best classes.
    distances: in embedding space, of a file that measures them; None of another.
    """

    labels: tuple[int, ...]
    scores: Histogram
    distances: Histogram | None = None

    def __post_init__(self) -> None:
        for each in (self.scores, self.distances):
            if each is not None and sum(each.counts) != self.images:
                raise ValueError("the histograms of a reference must count the same images")

    @property
    def images(self) -> int:
        """Return how many images were counted."""
        return sum(self.labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitoredArtifact:
    """The artifact that a folder of windows belongs to: what its stamp says."""

    KIND: ClassVar[str] = "monitored artifact"
    SCHEMA: ClassVar[int] = 1

    name: str
    sha256: str
    labels: tuple[str, ...]
    reference: Reference


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What was predicted in a period of time, in the bins of the reference.

    start: UTC, as in 2026-11-29T17.
    """

    KIND: ClassVar[str] = "monitored window"
    SCHEMA: ClassVar[int] = 1

    start: str
    labels: tuple[int, ...]
    scores: tuple[int, ...]
    distances: tuple[int, ...] = ()

    @property
    def images(self) -> int:
        """Return how many images were counted."""
        return sum(self.labels)

    def plus(self, other: "Window") -> "Window":
        """Return the sum of two windows, with the start of this one; raises ValueError."""

        def total(name: str) -> tuple[int, ...]:
            both = zip(getattr(self, name), getattr(other, name), strict=True)
            return tuple(a + b for a, b in both)

        return dataclasses.replace(
            self, labels=total("labels"), scores=total("scores"), distances=total("distances")
        )
