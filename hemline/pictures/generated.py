"""Images that are drawn, not taken: the same ones everywhere, and of nobody's data."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]

_SELF_TEST = (2, 7)  # of the generated images: a ramp and rings, which pack well
NO_NOISE = 12  # of the generated images, the first ones: they pack well


def generated_images(shape: tuple[int, int, int]) -> Pixels:
    """Return uint8 (16, height, width, channels): ramps, shapes, flat areas, noise.

    They are always the same. With smooth, sharp, dark and bright parts they move most of a model's
    values; the first NO_NOISE pack well.
    """
    height, width, channels = shape
    random = np.random.default_rng(16)
    y, x = np.mgrid[0 : 1 : complex(height), 0 : 1 : complex(width)]
    away = np.hypot(y - 0.5, x - 0.5)
    planes = [
        x,
        y,
        (x + y) / 2,
        away < 0.3,
        np.abs(x - 0.5) < 0.15,
        np.abs(y - 0.5) < 0.15,
        (np.floor(8 * x) + np.floor(8 * y)) % 2,
        0.5 + 0.5 * np.cos(20 * away),
        np.zeros_like(x),
        np.ones_like(x),
        np.full_like(x, 0.5),
        (away < 0.4) & (away > 0.25),
    ]
    # colours fade by the channel, so that a model of colours sees some
    fade = np.linspace(1, 0.5, channels)
    drawn = np.stack([np.asarray(plane, float)[..., None] * fade for plane in planes])
    noise = random.random((16 - NO_NOISE, *shape))
    images: Pixels = np.round(255 * np.concatenate([drawn, noise])).astype(np.uint8)
    return images


def varied_images(shape: tuple[int, int, int], count: int, *, seed: int = 17) -> Pixels:
    """Return uint8 (count, height, width, channels): smooth colours, textures, sharp shapes.

    They are always the same, and each is different: for models without data.
    """
    height, width, channels = shape
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0 : 1 : complex(height), 0 : 1 : complex(width)]
    images = np.empty((count, *shape), np.uint8)
    for image in images:
        plane = np.zeros(shape)
        for _ in range(4):
            across, down = random.normal(0, random.choice([2, 6, 20]), 2)
            wave = np.cos(across * x + down * y + random.uniform(0, 6.3))
            plane += wave[..., None] * random.normal(0, 0.3, channels)
        for _ in range(3):
            (top, left), size = random.random(2), random.uniform(0.1, 0.5)
            inside = (np.abs(y - top) < size) & (np.abs(x - left) < size * random.uniform(0.3, 1))
            plane[inside] = random.uniform(-1, 1, channels)
        image[...] = np.clip(127.5 + 127.5 * plane, 0, 255)
    return images


def noise_images(shape: tuple[int, int, int], count: int) -> Pixels:
    """Return uint8 (count, height, width, channels): noise, each image as bright and strong."""
    random = np.random.default_rng(18)
    middle, spread = random.uniform(0, 255, (count, 1)), random.uniform(5, 128, (count, 1))
    values = random.normal(middle, spread, (count, int(np.prod(shape))))
    return np.clip(values, 0, 255).astype(np.uint8).reshape(count, *shape)


def self_test_images(shape: tuple[int, int, int]) -> Pixels:
    """Return uint8 (2, height, width, channels): enough to see a wrong build on a device."""
    return generated_images(shape)[list(_SELF_TEST)]
