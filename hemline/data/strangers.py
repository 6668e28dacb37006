"""Images of nothing that a model knows, to measure what it says of them.

Each set has two halves: a method is chosen on the first, and figures come from the second.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hemline.contract.specs import InputSpec
from hemline.data.datasets import DATASETS, Pixels, array_sha256
from hemline.data.fetch import FetchOptions, load_images
from hemline.data.sources.items import iterate
from hemline.errors import DataError, HemlineError, UnknownNameError, remedy
from hemline.pictures.generated import noise_images, varied_images
from hemline.pictures.preprocessing import Preprocess, model_pixels

_GENERATED_IMAGES = 1000
_MOST = 2000  # images of a set: more would not change a figure that is shown
_FEWEST = 20  # of a half: with fewer, one image is 5 points


@dataclass(frozen=True, slots=True, kw_only=True)
class Strangers:
    """A set of uint8 images (n, height, width, channels), in two halves.

    first: to choose on; an image is always in the same half, whatever else is in the set.
    second: to report.
    """

    name: str
    first: Pixels
    second: Pixels


def load_strangers(name: str, spec: InputSpec, preprocess: Preprocess) -> Strangers:
    """Return a generated set, those of a data set, or the images of a folder, an .npz or shards.

    They become the pixels that a model of this input sees. Raises UnknownNameError for no such set,
    DataError for images that cannot be read, or too few of them.
    """
    if name in GENERATED:
        found = GENERATED[name](spec, preprocess)
    elif name in DATASETS:
        pictures = load_images(name, FetchOptions()).test_images[:_MOST]
        found = _as_seen(pictures, spec, preprocess)
    elif Path(name).exists():
        step = -(-sum(1 for _ in iterate(name)) // _MOST) or 1  # they may be sorted
        items = itertools.islice(iterate(name), None, None, step)
        side = max(spec.height, spec.width)
        found = _as_seen((item.picture(side) for item in items), spec, preprocess)
    else:
        raise UnknownNameError(
            "set of strangers", name, (*GENERATED, *DATASETS), remedy=remedy("name strangers")
        )
    return _halved(name, found)


def own_classes(names: Iterable[str], labels: Iterable[str]) -> Iterator[str]:
    """Return a line for each set that has classes of the model, by the names of its classes."""
    for name in names:
        if name in DATASETS:
            classes = {*DATASETS[name].labels}
        else:
            files = () if name in GENERATED else Path(name).rglob("*")
            classes = {each.name for each in files if each.is_dir()}
        if shared := [label for label in labels if label in classes]:
            listed = ", ".join(shared[:5]) + (", …" if len(shared) > 5 else "")
            yield f"note: {name} has classes of the model ({listed}): strangers are of none"


def _halved(name: str, images: list[Pixels]) -> Strangers:
    """Divide images by their content, without copies."""
    halves: tuple[list[Pixels], list[Pixels]] = ([], [])
    for digest, image in {array_sha256(each): each for each in images}.items():
        halves[int(digest[0], 16) % 2].append(image)
    if min(map(len, halves)) < _FEWEST:
        raise DataError(
            f"{name} has {sum(map(len, halves))} different images: strangers are measured on at "
            f"least {4 * _FEWEST}"
        )
    return Strangers(name=name, first=np.stack(halves[0]), second=np.stack(halves[1]))


def _as_seen(pictures: Iterable[Pixels], spec: InputSpec, preprocess: Preprocess) -> list[Pixels]:
    return [model_pixels(each, spec, preprocess) for each in pictures]


def _digits(spec: InputSpec, preprocess: Preprocess) -> list[Pixels]:
    """Return handwritten digits, 8 × 8, that come with scikit-learn."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise HemlineError("digits need scikit-learn: pip install scikit-learn") from error
    pictures = np.round(load_digits().images * (255 / 16)).astype(np.uint8)
    return _as_seen(pictures, spec, preprocess)


# name: images that are the same every time, as a model of an input sees them
GENERATED: dict[str, Callable[[InputSpec, Preprocess], list[Pixels]]] = {
    "digits": _digits,
    "textures": lambda spec, _: list(varied_images(spec.shape, _GENERATED_IMAGES, seed=5)),
    "noise": lambda spec, _: list(noise_images(spec.shape, _GENERATED_IMAGES)),
}
