"""Place labels beside discs so that nothing overlaps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

_DIRECTIONS = 16
_RINGS = 14


class Box(NamedTuple):
    """A rectangle in pixels."""

    x0: float
    y0: float
    x1: float
    y1: float

    @staticmethod
    def around(x: float, y: float, width: float, height: float) -> Box:
        """Return the box with this centre."""
        return Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)

    @property
    def width(self) -> float:
        """Return the horizontal extent."""
        return self.x1 - self.x0

    @property
    def centre(self) -> tuple[float, float]:
        """Return the point in the middle."""
        return (self.x0 + self.x1) / 2, (self.y0 + self.y1) / 2

    def overlap(self, other: Box) -> float:
        """Return the shared area."""
        width = min(self.x1, other.x1) - max(self.x0, other.x0)
        height = min(self.y1, other.y1) - max(self.y0, other.y0)
        return max(0.0, width) * max(0.0, height)

    def outside(self, bounds: Box) -> float:
        """Return the area that lies outside `bounds`."""
        return self.width * (self.y1 - self.y0) - self.overlap(bounds)


def place(
    discs: Sequence[Box],
    sizes: Sequence[tuple[float, float]],
    bounds: Box,
    *,
    gap: float,
    obstacles: Sequence[Box] = (),
) -> list[Box]:
    """Return a box of each size near its disc, overlapping no disc, box, obstacle or border.

    Labels are placed one after the other, crowded discs first, each at the nearest free place on
    rings round its disc; where there is none, where it overlaps least.
    """
    order = sorted(range(len(discs)), key=lambda at: -_crowd(discs, at))
    placed: dict[int, Box] = {}
    for at in order:
        taken = np.array([*discs, *obstacles, *placed.values()])
        placed[at] = min(
            _places(discs[at], sizes[at], gap),
            key=lambda found: (_cost(found[1], taken, bounds), found[0]),
        )[1]
    return [placed[at] for at in range(len(discs))]


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Return places at least `gap` apart, in the same order, each group round its mean."""
    groups: list[tuple[float, list[int]]] = []
    for at in sorted(range(len(places)), key=places.__getitem__):
        middle, members = places[at], [at]
        while groups and middle - groups[-1][0] < gap * (len(members) + len(groups[-1][1])) / 2:
            before, others = groups.pop()
            members = [*others, *members]
            middle += (before - middle) * len(others) / len(members)
        groups.append((middle, members))
    found = {
        at: middle + gap * (rank - (len(members) - 1) / 2)
        for middle, members in groups
        for rank, at in enumerate(members)
    }
    return [found[at] for at in range(len(places))]


def _places(disc: Box, size: tuple[float, float], gap: float) -> Iterator[tuple[float, Box]]:
    """Yield (distance, box), beside the disc first, then further out."""
    x, y = disc.centre
    for ring in range(_RINGS):
        reach = disc.width / 2 + gap * (1 + 1.5 * ring)
        for step in range(_DIRECTIONS):
            angle = 2 * math.pi * step / _DIRECTIONS
            # the box's centre lies so that its edge, not its centre, is at this reach
            centre_x = x + math.cos(angle) * (reach + size[0] / 2)
            centre_y = y + math.sin(angle) * (reach + size[1] / 2)
            # right and above read best, so they win among equals
            preference = 0.1 * step
            yield reach + preference, Box.around(centre_x, centre_y, *size)


def _cost(box: Box, taken: npt.NDArray[np.float64], bounds: Box) -> float:
    widths = np.minimum(box.x1, taken[:, 2]) - np.maximum(box.x0, taken[:, 0])
    heights = np.minimum(box.y1, taken[:, 3]) - np.maximum(box.y0, taken[:, 1])
    overlap = widths.clip(0) @ heights.clip(0)
    return float(overlap) + 10 * box.outside(bounds)


def _crowd(discs: Sequence[Box], at: int) -> float:
    here = discs[at]
    return sum(
        1 / (1 + math.hypot(here.x0 - other.x0, here.y0 - other.y0))
        for number, other in enumerate(discs)
        if number != at
    )
