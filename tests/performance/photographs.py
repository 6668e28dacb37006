"""How many validation images are known again as photographs: product-photo against stretch.

The photographs are made: an image is enlarged, tinted, inverted and laid somewhere on a background
of 762 × 1000 pixels. They have the borders, sizes and backgrounds of photographs, not their light.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from measurement import BUNDLE, Result, report
from PIL import Image

from hemline.contract.evaluation_set import load_split
from hemline.contract.manifest import read_manifest
from hemline.runtime import Classifier

_COUNT, _WIDTH, _HEIGHT = 500, 762, 1000
_LIGHT = 253.0

Paint = Callable[[np.ndarray, np.random.Generator, tuple[int, int, int]], np.ndarray]


def on(background: float) -> Paint:
    """Return what paints black things on a light background, light ones on a dark one."""

    def paint(amount: np.ndarray, _: np.random.Generator, __: tuple[int, int, int]) -> np.ndarray:
        thing = 0.0 if background > 127 else 255.0
        return np.repeat((background + (thing - background) * amount)[..., np.newaxis], 3, -1)

    return paint


def tinted(amount: np.ndarray, random: np.random.Generator, _: tuple[int, int, int]) -> np.ndarray:
    """Paint a thing of some colour on near white."""
    return _LIGHT * (1 - amount[..., np.newaxis] * random.uniform(0.7, 1, 3))


def noisy(
    amount: np.ndarray, random: np.random.Generator, place: tuple[int, int, int]
) -> np.ndarray:
    """Paint on near white, with the noise of a small sensor: 6 gray levels."""
    return on(250)(amount, random, place) + random.normal(0, 6, (_HEIGHT, _WIDTH, 3))


def shadowed(amount: np.ndarray, _: np.random.Generator, place: tuple[int, int, int]) -> np.ndarray:
    """Paint on near white, with a soft shadow below the object."""
    left, top, side = place
    y, x = np.mgrid[:_HEIGHT, :_WIDTH]
    across, down = (x - left - side / 2) / side, (y - top - side * 0.9) / (side / 4)
    light = 250 - 25 * np.exp(-2 * (across**2 + down**2))
    return np.repeat((light * (1 - amount))[..., np.newaxis], 3, -1)


BACKGROUNDS: dict[str, Paint] = {
    "near white": on(_LIGHT),
    "near white, the object in colour": tinted,
    "near white, noise of 6 gray levels": noisy,
    "near white, a soft shadow below the object": shadowed,
    "gray (190)": on(190),
    "dark gray (40)": on(40),
    "black": on(0),
}


def photograph(image: np.ndarray, paint: Paint, seed: int) -> np.ndarray:
    """Return uint8 (1000, 762, 3) with an image (28, 28) on it, 300 to 699 pixels high."""
    random = np.random.default_rng(seed)
    side = int(random.integers(300, 700))
    left = int(random.integers(0, _WIDTH - side + 1))
    top = int(random.integers(0, _HEIGHT - side + 1))
    amount = np.zeros((_HEIGHT, _WIDTH))
    enlarged = Image.fromarray(image).resize((side, side), Image.Resampling.LANCZOS)
    amount[top : top + side, left : left + side] = np.asarray(enlarged) / 255
    return np.clip(paint(amount, random, (left, top, side)), 0, 255).astype(np.uint8)


def main() -> None:
    """Photograph and classify, and write the results."""
    split = load_split(BUNDLE, "validation", read_manifest(BUNDLE).evaluation_sha256)
    chosen = np.random.default_rng(5).permutation(len(split.images))[:_COUNT]
    images, labels = split.images[chosen], split.labels[chosen]
    results = []
    ways = ("product-photo", "stretch")
    models = [Classifier.load(BUNDLE / "int8.tflite", preprocess=way) for way in ways]
    plain = np.mean(
        [p.index == y for p, y in zip(models[0].classify_batch(images), labels, strict=True)]
    )
    for name, paint in BACKGROUNDS.items():
        known = [0, 0]
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            picture = photograph(image[..., 0], paint, number)
            for at, model in enumerate(models):
                known[at] += int(model.classify(model.prepare(picture)).index == label)
        results.append(
            Result(
                claim=f"photographs on {name}: more accurate with product-photo than with stretch",
                value=100 * known[0] / _COUNT,
                unit="%",
                met=known[0] > known[1],
                detail=f"by stretch {100 * known[1] / _COUNT:.1f} %, unconverted "
                f"{100 * plain:.1f} % of {_COUNT} validation images",
            )
        )
    report("photographs", results)


if __name__ == "__main__":
    main()
