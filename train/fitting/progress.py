"""Keep what training needs to go on after it was interrupted, one epoch back at most."""

from __future__ import annotations

import contextlib
import io
import logging
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import keras
import numpy as np
import numpy.typing as npt

from hemline.contract import schema
from hemline.contract.card import Epoch
from hemline.errors import FileFormatError, HemlineError, NewerSchemaError, remedy
from hemline.files import read_bytes, sha256_of, write_bytes

log = logging.getLogger(__name__)

FOLDER = "progress"
_STATE = "state.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """The weights that become the checkpoint if training ends now, and the epoch they are of."""

    epoch: int
    weights: list[npt.NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a training run got.

    run_sha256: of model, recipe, seed and data: only the same run is resumed.
    weights_file: name of the .npz beside this file.
    weights_sha256: of that file.
    kept_file: name of the .npz with the weights that would be kept now.
    kept_sha256: of that file.
    history: one entry for each finished epoch.
    seconds: wall time spent so far.
    """

    KIND: ClassVar[str] = "progress"
    SCHEMA: ClassVar[int] = 2

    run_sha256: str
    weights_file: str
    weights_sha256: str
    kept_file: str
    kept_sha256: str
    history: tuple[Epoch, ...]
    seconds: float


def save_progress(
    folder: Path,
    model: keras.Model,
    kept: Kept,
    *,
    run_sha256: str,
    history: tuple[Epoch, ...],
    seconds: float,
) -> None:
    """Write weights and optimizer state, then the file that names them, then remove older ones."""
    place = folder / FOLDER
    weights = place / f"epoch-{len(history)}.npz"
    _write_arrays(weights, [np.asarray(variable.numpy()) for variable in _variables(model)])
    kept_path = place / f"kept-{kept.epoch}.npz"
    if kept.epoch == len(history):  # older ones lie there already
        _write_arrays(kept_path, kept.weights)
    state = Progress(
        run_sha256=run_sha256,
        weights_file=weights.name,
        weights_sha256=sha256_of(weights),
        kept_file=kept_path.name,
        kept_sha256=sha256_of(kept_path),
        history=history,
        seconds=seconds,
    )
    schema.save(place / _STATE, state)
    for old in _weight_files(place):
        if old not in (weights, kept_path):
            old.unlink(missing_ok=True)


def read_progress(folder: Path, *, run_sha256: str) -> Progress | None:
    """Return how far the same run got, or None to start anew.

    Raises HemlineError when the folder holds the progress of a different run.
    """
    place = folder / FOLDER
    if not (place / _STATE).exists():
        return None
    try:
        state = schema.load(Progress, place / _STATE)
    except NewerSchemaError:
        raise
    except FileFormatError as error:
        raise FileFormatError(f"cannot resume: {error}", remedy=remedy("restart")) from error
    if state.run_sha256 != run_sha256:
        raise HemlineError(
            f"{place} contains an unfinished run with another recipe, seed or data",
            remedy=remedy("finish or restart"),
        )
    for name, sha256 in (
        (state.weights_file, state.weights_sha256),
        (state.kept_file, state.kept_sha256),
    ):
        if not (place / name).exists() or sha256_of(place / name) != sha256:
            log.warning("%s was modified: training starts over", place / name)
            return None
    return state


def unfinished_run(folder: Path) -> str | None:
    """Return what `run_sha256` the unfinished run in a folder has; None where there is none."""
    try:
        return schema.load(Progress, folder / FOLDER / _STATE).run_sha256
    except (OSError, HemlineError):
        return None  # `read_progress` says what is wrong with it


def packed_progress(folder: Path) -> dict[str, bytes]:
    """Return the files of an unfinished run, for another machine; empty where there is none."""
    try:
        state = schema.load(Progress, folder / FOLDER / _STATE)
    except (OSError, HemlineError):
        return {}
    names = (state.weights_file, state.kept_file, _STATE)  # in the order in which they are written
    return {name: read_bytes(folder / FOLDER / name) for name in names}


def unpack_progress(folder: Path, packed: dict[str, bytes]) -> None:
    """Write the files of an unfinished run into a folder, in place of what it has of one."""
    for name, content in packed.items():
        write_bytes(folder / FOLDER / name, content)
    for old in _weight_files(folder / FOLDER) if packed else ():
        if old.name not in packed:
            old.unlink(missing_ok=True)


def restore_weights(folder: Path, state: Progress, model: keras.Model) -> Kept:
    """Load weights and optimizer state into a compiled model; return the weights to keep.

    Raises HemlineError when they do not fit.
    """
    weights = folder / FOLDER / state.weights_file
    try:
        for variable, array in zip(_variables(model), _read_arrays(weights), strict=True):
            variable.assign(array)
        kept = folder / FOLDER / state.kept_file
        epoch = int(kept.stem.rpartition("-")[2])
        return Kept(epoch=epoch, weights=_read_arrays(kept))
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise HemlineError(
            f"cannot resume from {weights} ({error})", remedy=remedy("restart")
        ) from error


def clear_progress(folder: Path) -> None:
    """Remove the progress of a run."""
    place = folder / FOLDER
    (place / _STATE).unlink(missing_ok=True)
    for old in _weight_files(place):
        old.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # it is not there, or something else lies in it
        place.rmdir()


def _weight_files(place: Path) -> list[Path]:
    return [*place.glob("epoch-*.npz"), *place.glob("kept-*.npz")]


def _write_arrays(path: Path, arrays: list[npt.NDArray[Any]]) -> None:
    packed = io.BytesIO()  # a zip that meets a full disk complains once more when it is collected
    np.savez(packed, *arrays)
    write_bytes(path, packed.getvalue())


def _read_arrays(path: Path) -> list[npt.NDArray[Any]]:
    with np.load(path, allow_pickle=False) as arrays:
        return [arrays[name] for name in arrays.files]


def _variables(model: keras.Model) -> list[keras.Variable]:
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    return [*model.variables, *model.optimizer.variables]
