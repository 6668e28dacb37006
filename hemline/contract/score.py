"""Correct answers, counted."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Correct answers on one split: accuracy is correct ÷ images.

    split: validation or test.
    images: number of images.
    correct: number labelled right.
    """

    split: str
    images: int
    correct: int

    def __post_init__(self) -> None:
        if not 0 <= self.correct <= self.images or self.images < 1:
            raise ValueError(f"{self.correct} of {self.images} correct images is not a score")

    @property
    def accuracy(self) -> float:
        """Return the share of right answers, 0 … 1."""
        return self.correct / self.images
