"""Place labels beside discs so that nothing overlaps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

_DIRECTIONS = 16
_RINGS = 14
Boxes = npt.NDArray[np.float64]  # (n, 4): the fields of boxes


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
    corners = np.array(discs)[:, :2]
    crowd = (1 / (1 + np.linalg.norm(corners[:, None] - corners, axis=-1))).sum(axis=1)
    placed: dict[int, Box] = {}
    for at in np.argsort(-crowd, kind="stable").tolist():
        width, height = sizes[at]
        places = _places(discs[at], width, height, gap)
        taken = np.array([*discs, *obstacles, *placed.values()])
        outside = width * height - overlap(places, np.array([bounds]))[:, 0]
        costs = overlap(places, taken).sum(axis=1) + 10 * outside
        placed[at] = Box(*places[costs.round(6).argmin()].tolist())
    return [placed[at] for at in range(len(discs))]


def overlap(boxes: Boxes, others: Boxes) -> Boxes:
    """Return the area that each box (n) shares with each other one (m): (n, m)."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    area: Boxes = (high - low).clip(0).prod(axis=-1)
    return area


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Return places at least `gap` apart, in the same order, each group round its mean.

    That is an isotonic regression of what is left without the gaps, by its max-min formula.
    """
    order, ranks = np.argsort(places, kind="stable"), range(len(places))
    sums = [0.0, *np.cumsum(np.asarray(places)[order] - gap * np.arange(len(places))).tolist()]
    found = np.empty(len(places))
    for at in ranks:
        ends = [
            [(sums[k + 1] - sums[j]) / (k + 1 - j) for k in ranks[at:]] for j in ranks[: at + 1]
        ]
        found[order[at]] = max(map(min, ends)) + gap * at
    return found.tolist()  # type: ignore[no-any-return]


def _places(disc: Box, width: float, height: float, gap: float) -> Boxes:
    """Return boxes beside a disc, then further out; right first, then above."""
    rings, steps = np.mgrid[:_RINGS, :_DIRECTIONS].reshape(2, -1)
    reach = (disc.x1 - disc.x0) / 2 + gap * (1 + 1.5 * rings)  # of the box's edge, not its centre
    angles = 2 * math.pi * steps / _DIRECTIONS
    x = (disc.x0 + disc.x1) / 2 + np.cos(angles) * (reach + width / 2)
    y = (disc.y0 + disc.y1) / 2 + np.sin(angles) * (reach + height / 2)
    return np.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], axis=-1)
