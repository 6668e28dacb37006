"""What scoring has done."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoringResult:
    """What is in a finished file.

    images: rows, those of images that could not be read included.
    faults: rows with an error.
    labelled: rows of images whose class is known, without those with an error.
    correct: those of them with that label.
    scored: images of this run; the others were finished before.
    seconds: that it took to score them.
    """

    images: int
    faults: int
    labelled: int
    correct: int
    scored: int
    seconds: float
