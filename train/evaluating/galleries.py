"""Pictures of images: samples, the worst mistakes, feature maps, Grad-CAM."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hemline.train.evaluating.drawing import (
    GRAY,
    GREEN,
    RED,
    Heading,
    Line,
    Tile,
    draw_tiles,
)
from hemline.train.evaluating.images import SplitImages
from hemline.train.evaluating.measures import Answers

if TYPE_CHECKING:
    import keras

_TILES = 30  # of a gallery: five rows
_EXPLAINED = 6  # images of each kind under Grad-CAM
_MAPS = 36  # channels that are shown of a layer
_BRIGHT = "bright (yellow): speaks for the answer below; dark (violet to black): does not"
_SEED = 1  # of the samples, so that two evaluations show the same images
Chosen = npt.NDArray[np.intp]


def draw_samples(
    path: Path, heading: Heading, split: SplitImages, answers: Answers, names: tuple[str, ...]
) -> None:
    """Draw a sample with as many images of each class, whatever was answered."""
    chosen = sample(split.labels, len(names), _TILES)
    draw_tiles(path, heading, [_tile(at, split, answers, names) for at in chosen])


def draw_mistakes(
    path: Path, heading: Heading, split: SplitImages, answers: Answers, names: tuple[str, ...]
) -> bool:
    """Draw the wrong answers that were given with the most confidence; False if there is none."""
    chosen = worst(split.labels, answers)[:_TILES]
    if len(chosen):
        draw_tiles(path, heading, [_tile(at, split, answers, names) for at in chosen])
    return bool(len(chosen))


def draw_feature_maps(
    path: Path, heading: Heading, split: SplitImages, model: keras.Model, layer: keras.Layer
) -> None:
    """Draw the output channels of a layer for one image, all on one scale."""
    from hemline.train.evaluating.activations import feature_maps
    from hemline.train.evaluating.channels import draw_channels

    at = sample(split.labels, int(split.labels.max()) + 1, 1)[0]
    maps = feature_maps(model, layer, split.pixels[at : at + 1])[0]
    shown = min(maps.shape[-1], _MAPS)
    title = f"{heading.title}: {layer.name}, {shown} of {maps.shape[-1]} channels"
    draw_channels(path, replace(heading, title=title), split.pixels[at], maps[..., :shown])


def draw_grad_cam(
    path: Path,
    heading: Heading,
    split: SplitImages,
    answers: Answers,
    names: tuple[str, ...],
    model: keras.Model,
    layer: keras.Layer,
) -> None:
    """Draw what speaks for the answer where, in right answers and in the worst mistakes."""
    from hemline.train.evaluating.activations import grad_cam

    right = np.flatnonzero(answers.predicted == split.labels)
    some = right[sample(split.labels[right], len(names), _EXPLAINED)] if len(right) else right
    chosen = np.concatenate([some, worst(split.labels, answers)[: 2 * _EXPLAINED - len(some)]])
    heats = grad_cam(model, layer, split.pixels[chosen], answers.predicted[chosen])
    tiles = []
    for at, heat in zip(chosen, heats, strict=True):
        tile = _tile(at, split, answers, names)
        tiles.append(Tile(image=tile.image, lines=()))
        tiles.append(Tile(image=tile.image, lines=tile.lines, heat=heat))
    title = f"{heading.title}: last convolution block ({layer.name})"
    draw_tiles(path, replace(heading, title=title), tiles, note=_BRIGHT)


def sample(labels: npt.NDArray[np.uint8], classes: int, count: int) -> Chosen:
    """Return positions of `count` images at random, as evenly over the classes as can be."""
    random = np.random.default_rng(_SEED)
    shuffled = random.permutation(len(labels))
    # the first image of each class, then the second of each, …
    turn = np.empty(len(labels), np.intp)
    for index in range(classes):
        own = shuffled[labels[shuffled] == index]
        turn[own] = np.arange(len(own))
    first_turns = sorted(shuffled, key=lambda at: turn[at])[:count]
    return np.asarray(sorted(first_turns, key=lambda at: (labels[at], turn[at])), np.intp)


def worst(labels: npt.NDArray[np.uint8], answers: Answers) -> Chosen:
    """Return positions of the wrong answers, the most confident first."""
    wrong = np.flatnonzero(answers.predicted != labels)
    confidence = answers.scaled[wrong].max(axis=1)
    return wrong[np.argsort(-confidence, kind="stable")]


def _tile(at: int, split: SplitImages, answers: Answers, names: tuple[str, ...]) -> Tile:
    answer, true = int(answers.predicted[at]), int(split.labels[at])
    told = f"{_score(answers.scaled[at, answer])} {names[answer]}"
    if answer == true:
        return Tile(image=split.pixels[at], lines=(Line(text=f"✓ {told}", colour=GREEN),))
    score = f" {_score(answers.scaled[at, true])}"
    truth = Line(text=f"true: {names[true]}", end=score, colour=GRAY)
    return Tile(image=split.pixels[at], lines=(Line(text=f"✗ {told}", colour=RED), truth))


def _score(probability: float) -> str:
    percent = round(100 * probability)
    return {0: "<1 %", 100: ">99 %"}.get(percent, f"{percent} %")
