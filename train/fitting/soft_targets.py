"""Keep the teachers' predictions for each variant of an image that shifts and flips can make.

Distillation asks the teachers in each epoch, but there are few variants: 50 of an image for shifts
of 2 pixels and flips. Each is predicted once for all runs with the same teachers, images and
augmentation.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from hemline import files
from hemline.contract.checkpoint import MODEL_NAME
from hemline.data.datasets import Pixels, array_sha256
from hemline.errors import BusyError, HemlineError
from hemline.progress import say, tracked
from hemline.train.fitting.augmentation import variant, variant_count
from hemline.train.fitting.distillation import Teach
from hemline.train.recipes.recipe import Recipe
from hemline.user_folders import cache_folder_if_any

log = logging.getLogger(__name__)

_FOLDER, _FILE = "soft-targets", "predictions.npy"  # in the cache; in the folder of a variant
_BATCH = 250
_WAIT_SECONDS = 3600.0  # for a process that predicts the same variant
_SUM_ERROR = 0.02  # of float16 shares that add up to 1; a damaged file is further off

Table = npt.NDArray[np.float16]


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftTargets:
    """Predictions of the teachers: for each variant float16 (images, classes), mapped from disk."""

    tables: tuple[Table, ...]

    def of(self, chosen: tf.Tensor, variants: tf.Tensor) -> tf.Tensor:
        """Return float32 (batch, classes) for int32 positions of images and their variants."""

        def look_up(rows: npt.NDArray[np.int32], of: npt.NDArray[np.int32]) -> Table:
            pairs = zip(of.tolist(), rows.tolist(), strict=True)
            return np.stack([self.tables[number][row] for number, row in pairs])

        found = tf.numpy_function(look_up, [chosen, variants], tf.float16, stateful=False)
        shape = (chosen.shape[0], self.tables[0].shape[1])
        return tf.ensure_shape(tf.cast(found, tf.float32), shape)


def soft_targets(
    teach: Teach,
    images: Pixels,
    recipe: Recipe,
    *,
    teachers: Sequence[Path],
    precision: str,
    epochs: int,
) -> SoftTargets | None:
    """Return what `teach` predicts for each variant of uint8 images, from the cache or anew.

    Processes that need the same predictions share the work, and an interrupted one goes on.

    teachers, precision: what `teach` is made of.
    epochs: that are left. Returns None where more variants are missing, as asking the teachers in
        each step is less work then; where the augmentation makes variants without number; and
        where nothing can be kept.
    """
    count, cache = variant_count(recipe), cache_folder_if_any()
    if count is None or cache is None:
        return None
    key = {
        "teachers": sorted(files.sha256_of(folder / MODEL_NAME) for folder in teachers),
        "precision": precision,
        "temperature": recipe.distillation_temperature,
        "images": array_sha256(images),
        "augmentation": [recipe.shift, recipe.flip],
    }
    folder = cache / _FOLDER / files.fingerprint(key)[:16]
    paths = [folder / f"{number:03}" / _FILE for number in range(count)]
    missing = {
        number: path for number, path in enumerate(paths) if _read(path, len(images)) is None
    }
    if len(missing) > epochs:
        return None
    try:
        _write_missing(missing, images, recipe, teach)
    except HemlineError as error:
        log.warning("%s: the teachers predict again in each epoch", error)
    tables = tuple(table for path in paths if (table := _read(path, len(images))) is not None)
    if len(tables) < count:
        return None
    if missing:
        size = count * tables[0].nbytes
        say(f"the teachers' predictions ({size / 1e6:.0f} MB) are kept in {folder}")
    return SoftTargets(tables=tables)


def _write_missing(missing: dict[int, Path], images: Pixels, recipe: Recipe, teach: Teach) -> None:
    """Write the variants that no other process predicts, then those that such a one left."""
    shape = (None, *images.shape[1:])
    forward = tf.function(teach, input_signature=[tf.TensorSpec(shape, tf.float32)])

    def predictions(number: int) -> Table:
        parts = (images[at : at + _BATCH] for at in range(0, len(images), _BATCH))
        pixels = (variant(part, number, recipe).astype(np.float32) for part in parts)
        return np.concatenate([np.asarray(forward(each), np.float16) for each in pixels])

    for wait_seconds in (0.0, _WAIT_SECONDS):
        left = [number for number, path in missing.items() if _read(path, len(images)) is None]
        if not left:
            return
        for number in tracked(left, len(left), "predictions of the teachers"):
            path = missing[number]
            with (
                contextlib.suppress(BusyError),
                files.locked(path.parent, wait_seconds=wait_seconds),
            ):
                if _read(path, len(images)) is None:
                    with files.replacing(path) as partial:
                        np.save(partial, predictions(number))


def _read(path: Path, images: int) -> Table | None:
    """Return the predictions in a file; None where there are none, or not those of the images."""
    try:
        table: Table = np.asarray(np.load(path, mmap_mode="r"))
    except (OSError, ValueError):
        return None
    whole = table.dtype == np.float16 and table.ndim == 2 and len(table) == images
    sums = table.sum(axis=1, dtype=np.float32) if whole else np.zeros(1)
    return table if np.abs(sums - 1).max() < _SUM_ERROR else None
