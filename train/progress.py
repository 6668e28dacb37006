"""Keep what training needs to go on after it was interrupted, one epoch back at most."""

from __future__ import annotations

import contextlib
import io
import logging
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import keras
import numpy as np

from hemline import schema
from hemline.card import Epoch
from hemline.errors import FileFormatError, HemlineError, NewerSchemaError
from hemline.files import sha256_of, write_bytes

log = logging.getLogger(__name__)

FOLDER = "progress"
_STATE = "state.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a training run got.

    run_sha256: of model, recipe, seed and data: only the same run is resumed.
    weights_file: name of the .npz beside this file.
    weights_sha256: of that file.
    history: one entry for each finished epoch.
    seconds: wall time spent so far.
    """

    KIND: ClassVar[str] = "progress"
    SCHEMA: ClassVar[int] = 1

    run_sha256: str
    weights_file: str
    weights_sha256: str
    history: tuple[Epoch, ...]
    seconds: float


def save_progress(
    folder: Path,
    model: keras.Model,
    *,
    run_sha256: str,
    history: tuple[Epoch, ...],
    seconds: float,
) -> None:
    """Write weights and optimizer state, then the file that names them, then remove older ones."""
    place = folder / FOLDER
    weights = place / f"epoch-{len(history)}.npz"
    packed = io.BytesIO()  # a zip that meets a full disk complains once more when it is collected
    np.savez(packed, *[np.asarray(variable.numpy()) for variable in _variables(model)])
    write_bytes(weights, packed.getvalue())
    state = Progress(
        run_sha256=run_sha256,
        weights_file=weights.name,
        weights_sha256=sha256_of(weights),
        history=history,
        seconds=seconds,
    )
    schema.save(place / _STATE, state)
    for old in place.glob("epoch-*.npz"):
        if old != weights:
            old.unlink(missing_ok=True)


def restore_progress(folder: Path, model: keras.Model, *, run_sha256: str) -> Progress | None:
    """Load the state of the same run into a compiled model, or return None to start anew.

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
        raise FileFormatError(f"cannot resume: {error}, or start anew with --restart") from error
    if state.run_sha256 != run_sha256:
        raise HemlineError(
            f"{place} holds an unfinished run of another recipe, seed or data: finish that one, "
            "or start anew with --restart"
        )
    weights = place / state.weights_file
    if not weights.exists() or sha256_of(weights) != state.weights_sha256:
        log.warning("%s was altered: training starts anew", weights)
        return None
    variables = _variables(model)
    try:
        with np.load(weights, allow_pickle=False) as arrays:
            for variable, name in zip(variables, arrays.files, strict=True):
                variable.assign(arrays[name])
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise HemlineError(f"cannot resume from {weights} ({error}): use --restart") from error
    return state


def clear_progress(folder: Path) -> None:
    """Remove the progress of a run."""
    place = folder / FOLDER
    (place / _STATE).unlink(missing_ok=True)
    for old in place.glob("epoch-*.npz"):
        old.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # it is not there, or something else lies in it
        place.rmdir()


def _variables(model: keras.Model) -> list[keras.Variable]:
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    return [*model.variables, *model.optimizer.variables]
