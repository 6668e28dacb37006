"""Pictures of images: tiles with lines of text, and galleries of images with their predictions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import numpy.typing as npt

from hemline.data.image_rows import ImageRows
from hemline.figures import GRAY, GREEN, RED, SUBTITLE_SIZE, Heading, drawn, fitted, place

_SMALL = 7.0  # points, of the letters below an image
_LINE, _GAP = 0.13, 0.09  # inches from one of their lines to the next, and between images
_SIDE = 1.3  # inches, width of an image
_NOTE = 0.2  # inches that a note below them takes
COLUMNS = 6
_SEED = 1  # of the sample, so that two evaluations show the same images
Pixels = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line below an image.

    text: cut where it is too long.
    end: follows the text, and is never cut.
    """

    text: str
    end: str = ""
    colour: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """An image with lines of text below it.

    image: uint8, (height, width, 1 or 3).
    lines: from top to bottom.
    heat: laid over it, float32 0 … 1 (rows, columns); None for nothing.
    """

    image: Pixels
    lines: tuple[Line, ...]
    heat: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gallery:
    """Images with their labels and predictions.

    pixels: uint8 (n, height, width, channels).
    labels: true classes, uint8 (n,).
    probabilities: of every class, float64 (n, classes).
    names: of the classes, as pictures show them.
    images: name of each image.
    """

    pixels: ImageRows
    labels: npt.NDArray[np.uint8]
    probabilities: npt.NDArray[np.float64]
    names: tuple[str, ...]
    images: tuple[str, ...]

    @property
    def predicted(self) -> Indices:
        """Return the index of the predicted class of each image, (n,)."""
        indices: Indices = self.probabilities.argmax(axis=1)
        return indices

    def worst(self, count: int) -> Indices:
        """Return `count` misclassified images, of as many pairs of classes as possible.

        The most frequent pair comes first, in each pair the most confident prediction.
        """
        wrong = np.flatnonzero(self.predicted != self.labels)
        wrong = wrong[np.argsort(-self.probabilities[wrong].max(axis=1), kind="stable")]
        pairs = len(self.names) * self.predicted[wrong] + self.labels[wrong]
        turn, images = _turns(pairs), np.bincount(pairs, minlength=1)[pairs]
        chosen = np.lexsort((-images, turn))[:count]
        worst: Indices = wrong[chosen[np.lexsort((turn[chosen], pairs[chosen], -images[chosen]))]]
        return worst

    def tile(self, at: int, heat: npt.NDArray[np.float32] | None = None) -> Tile:
        """Return one image with its prediction, and its true class where that is another."""
        predicted, true = int(self.predicted[at]), int(self.labels[at])
        scores = self.probabilities[at]
        text = f"{_percent(scores[predicted])} {self.names[predicted]}"
        if predicted == true:
            lines: tuple[Line, ...] = (Line(text=f"✓ {text}", colour=GREEN),)
        else:
            end = f" {_percent(scores[true])}"
            truth = Line(text=f"true: {self.names[true]}", end=end, colour=GRAY)
            lines = (Line(text=f"✗ {text}", colour=RED), truth)
        return Tile(image=self.pixels[at], lines=lines, heat=heat)

    def named_tile(self, at: int) -> Tile:
        """Return a tile with the name of its image below: the end of a path, which tells more."""
        tile = self.tile(at)
        name = PurePath(self.images[at]).name
        return replace(tile, lines=(*tile.lines, Line(text=name, colour=GRAY)))


def balanced_sample(labels: npt.NDArray[np.uint8], count: int) -> Indices:
    """Return positions of `count` labels at random, the same number of each class if possible."""
    shuffled = np.random.default_rng(_SEED).permutation(len(labels))
    turn = np.empty(len(labels), np.intp)
    turn[shuffled] = _turns(labels[shuffled])
    # the first image of each class, then the second of each, …
    first_turns = sorted(shuffled, key=lambda at: turn[at])[:count]
    return np.asarray(sorted(first_turns, key=lambda at: (labels[at], turn[at])), np.intp)


def _turns(groups: npt.NDArray[Any]) -> Indices:
    """Return how many of the same group come before each one, (n,)."""
    turns = np.empty(len(groups), np.intp)
    for group in np.unique(groups):
        own = np.flatnonzero(groups == group)
        turns[own] = np.arange(len(own))
    return turns


def draw_tiles(
    path: Path, heading: Heading, tiles: Sequence[Tile], *, columns: int = COLUMNS, note: str = ""
) -> None:
    """Draw images in rows, and a note below them all."""
    columns = min(columns, max(len(tiles), math.ceil((heading.width - _GAP) / (_SIDE + _GAP))))
    rows = -(-len(tiles) // columns)
    lines = max(len(tile.lines) for tile in tiles)
    tall = min(2.0, tiles[0].image.shape[0] / tiles[0].image.shape[1]) * _SIDE
    across, down = _SIDE + _GAP, tall + _LINE * lines + _GAP + 0.05
    below = _NOTE if note else 0.0
    width, height = max(columns * across + _GAP, heading.width), rows * down + _GAP + below
    with drawn(path, heading, width=width, height=height) as figure:
        whole = figure.get_figheight()
        shown = fitted(note, SUBTITLE_SIZE, width - 2 * _GAP)
        figure.text(_GAP / width, _GAP / whole, shown, fontsize=SUBTITLE_SIZE, color=GRAY)
        for at, tile in enumerate(tiles):
            left, top = _GAP + at % columns * across, height - at // columns * down
            show_image(place(figure, left, top, _SIDE, tall), tile)
            for number, line in enumerate(tile.lines):
                figure.text(
                    (left + _SIDE / 2) / width,
                    (top - tall - 0.04 - _LINE * number) / whole,
                    fitted(line.text, _SMALL, _SIDE - 0.03, end=line.end),
                    ha="center",
                    va="top",
                    fontsize=_SMALL,
                    color=line.colour,
                )


def show_image(axes: Any, tile: Tile) -> None:
    """Show pixels as they are, gray ones from black to white; in pale gray below a heat map."""
    style = {"cmap": "gray", "vmin": 0, "vmax": 255, "interpolation": "antialiased"}
    if tile.heat is None:
        axes.imshow(tile.image.squeeze(-1) if tile.image.shape[-1] == 1 else tile.image, **style)
        return
    drawing = axes.imshow(tile.image.mean(axis=-1), **style | {"vmin": -120, "vmax": 330})
    axes.imshow(
        tile.heat,
        cmap="YlOrRd",
        vmin=0,
        vmax=1,
        alpha=np.clip(1.2 * tile.heat, 0, 0.75),  # no evidence is no colour
        interpolation="bilinear",
        extent=drawing.get_extent(),
    )


def _percent(probability: float) -> str:
    percent = round(100 * probability)
    return {0: "<1 %", 100: ">99 %"}.get(percent, f"{percent} %")
