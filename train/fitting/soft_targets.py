"""Keep the teachers' predictions for each variant of an image that shifts and flips can make.

Distillation asks the teachers in each epoch, but there are few variants: 50 of an image for shifts
of 2 pixels and flips. Each is predicted once for all runs with the same teachers, images and
augmentation.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from hemline import files
from hemline.contract.checkpoint import MODEL_NAME
from hemline.data.custom.cache_folders import SOFT_TARGETS, CacheFolder
from hemline.data.datasets import array_sha256
from hemline.data.image_rows import ImageRows
from hemline.errors import HemlineError
from hemline.progress import say, tracked
from hemline.train.fitting.augmentation import Variant, variants
from hemline.train.fitting.distillation import Teach
from hemline.train.recipes.recipe import Recipe
from hemline.user_folders import cache_folder_if_any

log = logging.getLogger(__name__)

_FILE = "predictions.npy"  # in the folder of a variant
_BATCH = 250
_WAIT_SECONDS = 3600.0  # for a process that predicts the same variant
_SUM_ERROR = 0.02  # of float16 shares that add up to 1; a damaged file is further off

Table = npt.NDArray[np.float16]


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftTargets:
    """Predictions of the teachers: for each variant float16 (images, classes), mapped from disk."""

    tables: tuple[Table, ...]

    def of(self, chosen: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
        """Return float32 (batch, classes) for int32 positions of images and variants."""

        def look_up(rows: npt.NDArray[np.int32], of: npt.NDArray[np.int32]) -> Table:
            pairs = zip(of.tolist(), rows.tolist(), strict=True)
            return np.stack([self.tables[number][row] for number, row in pairs])

        found = tf.numpy_function(look_up, [chosen, numbers], tf.float16, stateful=False)
        shape = (chosen.shape[0], self.tables[0].shape[1])
        return tf.ensure_shape(tf.cast(found, tf.float32), shape)


def soft_targets(
    teach: Teach,
    images: ImageRows,
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
    wanted, cache = variants(recipe), cache_folder_if_any()
    if wanted is None or cache is None:
        return None
    key = {
        "teachers": sorted(files.sha256_of(folder / MODEL_NAME) for folder in teachers),
        "precision": precision,
        "temperature": recipe.distillation_temperature,
        "images": array_sha256(images),
    }
    folder = cache / SOFT_TARGETS / files.fingerprint(key)[:16]
    paths = {
        each: folder / f"{each.rows:+}{each.columns:+}{'-mirrored' * each.mirrored}" / _FILE
        for each in wanted
    }
    missing = {each: path for each, path in paths.items() if _read(path, len(images)) is None}
    if len(missing) > epochs:
        return None
    try:
        if missing:
            _write(missing, images, teach)
    except HemlineError as error:
        log.warning("%s: the teachers predict again in each epoch", error)
    found = [table for path in paths.values() if (table := _read(path, len(images))) is not None]
    if len(found) < len(wanted):
        return None
    folder.touch()
    CacheFolder(path=folder).remove_others()
    if missing:
        size = sum(table.nbytes for table in found) / 1e6
        say(f"the teachers' predictions ({size:.0f} MB) are kept in {folder}")
    return SoftTargets(tables=tuple(found))


def _write(missing: dict[Variant, Path], images: ImageRows, teach: Teach) -> None:
    shape = (None, *images.shape[1:])
    forward = tf.function(teach, input_signature=[tf.TensorSpec(shape, tf.float32)])

    def predictions(variant: Variant) -> Table:
        parts = (images[at : at + _BATCH] for at in range(0, len(images), _BATCH))
        pixels = (variant.of(part).astype(np.float32) for part in parts)
        return np.concatenate([np.asarray(forward(each), np.float16) for each in pixels])

    # in any order, so that processes meet rarely
    order = np.random.default_rng().permutation(list(missing)).tolist()
    for variant in tracked(map(Variant._make, order), len(order), "predictions of the teachers"):
        path = missing[variant]
        with files.locked(path.parent, wait_seconds=_WAIT_SECONDS):
            if _read(path, len(images)) is None:
                with files.replacing(path) as partial:
                    np.save(partial, predictions(variant))


def _read(path: Path, images: int) -> Table | None:
    """Return the predictions in a file; None where there are none, or not those of the images."""
    try:
        table: Table = np.asarray(np.load(path, mmap_mode="r"))
    except (OSError, ValueError):
        return None
    whole = table.dtype == np.float16 and table.ndim == 2 and len(table) == images
    sums = table.sum(axis=1, dtype=np.float32) if whole else np.zeros(1)
    return table if np.abs(sums - 1).max() < _SUM_ERROR else None
