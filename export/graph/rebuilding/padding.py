"""Padding: what TensorFlow's mode SAME does, and what must be done in front."""

from __future__ import annotations

from hemline.export.graph.rebuilding.context import Context

Pads = tuple[int, int, int, int]  # top, left, bottom, right


def widths(pads: Pads) -> list[list[int]]:
    """Return the pads of a map (n, h, w, c) as TensorFlow counts them."""
    top, left, bottom, right = pads
    return [[0, 0], [top, bottom], [left, right], [0, 0]]


def same_pads(at: Context, sides: tuple[int, ...], kernel: tuple[int, ...]) -> Pads:
    """Return the pads that TensorFlow's mode SAME means."""
    strides, dilations = at.get("strides", [1, 1]), at.get("dilations", [1, 1])
    total = [
        max((-(-side // stride) - 1) * stride + dilation * (size - 1) + 1 - side, 0)
        for side, size, stride, dilation in zip(sides, kernel, strides, dilations, strict=True)
    ]
    top, left = (each // 2 for each in total)
    return top, left, total[0] - top, total[1] - left
