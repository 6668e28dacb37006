"""The images that every artifact is verified on, written into the bundle so that it can travel."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hemline.contract import schema
from hemline.contract.record import Accuracy, Conditions, pack_predictions
from hemline.data.image_rows import ImageRows
from hemline.errors import FileFormatError, remedy
from hemline.files import sha256_of
from hemline.pictures.npy import write_npy

FOLDER = "evaluation"
SPLITS = ("validation", "test")
_CONDITIONS = "conditions.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSplit:
    """One split: images uint8 (n, h, w, c) on disk, labels uint8 (n,), logits float32 (n, classes).

    labels are None where the images have none. logits are the reference: those of the model that
    everything was exported from or, for a file without it, those of the first runtime.
    """

    name: str
    images_path: Path
    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8] | None
    logits: npt.NDArray[np.float32]

    def accuracy(self, logits: npt.NDArray[np.float32]) -> Accuracy:
        """Compare logits of the first n images, float32 (n, classes), with labels and reference."""
        classes, count = logits.argmax(axis=1), len(logits)
        reference = self.logits[:count].argmax(axis=1)
        return Accuracy(
            split=self.name,
            images=count,
            correct=self._correct(classes),
            agreement=int((classes == reference).sum()),
            keras_correct=self._correct(reference),
            predictions=pack_predictions(classes),
        )

    def _correct(self, classes: npt.NDArray[np.intp]) -> int | None:
        if self.labels is None:
            return None
        return int((classes == self.labels[: len(classes)]).sum())


def save_split(
    bundle: Path,
    name: str,
    *,
    images: ImageRows,
    labels: npt.NDArray[np.uint8] | None,
    logits: npt.NDArray[np.float32],
) -> dict[str, str]:
    """Write one split's arrays; return file name (inside the bundle) to SHA-256.

    `labels` are None where they are not known: then there is no such file.
    """
    hashes = {}
    for part, array in (("images", images), ("labels", labels), ("logits", logits)):
        path = _path(bundle, name, part)
        if array is None:
            path.unlink(missing_ok=True)
            continue
        write_npy(path, array)
        hashes[f"{FOLDER}/{path.name}"] = sha256_of(path)
    return hashes


def load_split(bundle: Path, name: str, hashes: dict[str, str]) -> EvaluationSplit:
    """Read one split; raises FileFormatError when a file is missing or was altered."""
    arrays: dict[str, Any] = {"labels": load_labels(bundle, name, hashes)}
    for part in ("images", "logits"):
        path = _path(bundle, name, part)
        _require_unaltered(path, hashes.get(f"{FOLDER}/{path.name}"))
        arrays[part] = np.load(path, mmap_mode="r" if part == "images" else None)
    return EvaluationSplit(name=name, images_path=_path(bundle, name, "images"), **arrays)


def load_labels(bundle: Path, name: str, hashes: dict[str, str]) -> npt.NDArray[np.uint8] | None:
    """Read the labels of one split alone, as load_split does; None where the images have none."""
    path = _path(bundle, name, "labels")
    digest = hashes.get(f"{FOLDER}/{path.name}")
    if digest is None:
        return None
    _require_unaltered(path, digest)
    labels: npt.NDArray[np.uint8] = np.load(path)
    return labels


def has_labels(hashes: dict[str, str]) -> bool:
    """Return whether the test images of an evaluation set have labels."""
    return f"{FOLDER}/test-labels.npy" in hashes


def save_conditions(bundle: Path, conditions: Conditions) -> dict[str, str]:
    """Write when and where the reference was computed; return file name to SHA-256."""
    path = bundle / FOLDER / _CONDITIONS
    schema.save(path, conditions)
    return {f"{FOLDER}/{_CONDITIONS}": sha256_of(path)}


def load_conditions(bundle: Path, hashes: dict[str, str]) -> Conditions | None:
    """Return when and where the reference was computed, None where an older Hemline did it."""
    path, digest = bundle / FOLDER / _CONDITIONS, hashes.get(f"{FOLDER}/{_CONDITIONS}")
    if digest is None:
        return None
    _require_unaltered(path, digest)
    return schema.load(Conditions, path)


def _require_unaltered(path: Path, digest: str | None) -> None:
    if sha256_of(path) != digest:
        raise FileFormatError(f"{path} was modified", remedy=remedy("export again"))


def _path(bundle: Path, name: str, part: str) -> Path:
    return bundle / FOLDER / f"{name}-{part}.npy"
