"""How a custom data set is read, and the images read from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hemline.data.datasets import Pixels
from hemline.data.image_rows import ImageRows
from hemline.errors import DataError, remedy
from hemline.host import free_bytes

LARGEST_SIDE = 256  # pixels, without an explicit size: more is a photograph
MOST_CLASSES = 256  # a label is one byte
FEWEST = 3  # different images of a class: one for training, validation and test each
# The images, their training part and TensorFlow's copy of it are in memory at once.
_COPIES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """How a custom data set is read.

    size: (height, width) that every image is resized to; None for the one that all have.
    channels: 1 for gray, 3 for colour; None for gray if every image is gray.
    labels: class names of an .npz, in the order of their numbers; None for those in the file.
    skip_broken: leave out files that cannot be read, instead of an error.
    fewest: different images that each class must have; to train on, 3.
    known_sha256: hashes that the parts had before; where these images had them in the order of
        older versions, which depended on their size, they get that order.
    """

    size: tuple[int, int] | None = None
    channels: int | None = None
    labels: tuple[str, ...] | None = None
    skip_broken: bool = False
    fewest: int = FEWEST
    known_sha256: dict[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomImages:
    """Images read: uint8 (n, height, width, channels), with classes uint8 (n,).

    labels: class names.
    names: of each image, for texts: its path inside the folder, or its position in the array.
    test_from: position of the first image of the test part; None if the data has none.
    validation_from: the same of the validation part, which comes before.
    broken: names of files that were left out because they cannot be read.
    contents: hash of each image in its own size; empty where they are not known.
    digests: hash of the pixels of each image; empty where they are not known.
    """

    labels: tuple[str, ...]
    images: ImageRows
    classes: Pixels
    names: tuple[str, ...]
    test_from: int | None
    validation_from: int | None = None
    broken: tuple[str, ...] = ()
    contents: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()

    @property
    def ends(self) -> tuple[int, int]:
        """Return where the images to train on end, and where those of the validation part do."""
        until = len(self.images) if self.test_from is None else self.test_from
        return until if self.validation_from is None else self.validation_from, until


def require_room(count: int, size: tuple[int, int], channels: int, *, where: str) -> None:
    """Raise DataError for more images than the free memory can hold during training."""
    free, needed = free_bytes(), count * size[0] * size[1] * channels
    if free is not None and _COPIES * needed > free:
        raise DataError(
            f"{where}: {count:,} images of {size[0]} × {size[1]} × {channels} values need "
            f"{needed / 1000000000.0:.1f} GB; training needs {_COPIES} times that, and "
            f"{free / 1000000000.0:.1f} GB of memory are free",
            remedy=remedy("smaller images"),
        )


def require_labels(labels: tuple[str, ...], *, where: str) -> None:
    """Raise DataError for class names that cannot be printed, too few or too many."""
    for label in labels:
        if not label.isprintable() or not label.strip():
            raise DataError(f"{where}: the name of class {label!r} cannot be printed: rename it")
    if len(labels) < 2:
        only = f"only one, {labels[0]!r}" if labels else "none"
        raise DataError(f"{where}: a classifier needs at least 2 classes, but there is {only}")
    if len(labels) > MOST_CLASSES:
        raise DataError(
            f"{where} has {len(labels):,} classes, but at most {MOST_CLASSES} are supported"
        )


def counted(count: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless it is 1."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def few(names: Sequence[str], most: int = 5) -> str:
    """Return the first names and how many more there are."""
    rest = f" and {len(names) - most:,} more" if len(names) > most else ""
    return f"{', '.join(map(shown, names[:most]))}{rest}"


def shown(name: str) -> str:
    """Return a name for a message: one line without control characters."""
    return name if name.isprintable() else ascii(name)
