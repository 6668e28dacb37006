"""The SQLite file of a study, and its errors in one line each."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from hemline.errors import BusyError, FileFormatError, HemlineError, remedy

if TYPE_CHECKING:
    import optuna

BUSY_SECONDS = 30.0  # a worker holds the file for milliseconds


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Raise what SQLite, SQLAlchemy and Optuna raise in the block as one line on the file."""
    import optuna
    import sqlalchemy

    try:
        with warnings.catch_warnings():
            # of versions 4: what is tried here was called experimental then
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    except (optuna.exceptions.StorageInternalError, sqlalchemy.exc.SQLAlchemyError) as error:
        raise _in_one_line(path, _root(error)) from error
    except RuntimeError as error:
        if "schema" not in str(error):
            raise
        raise FileFormatError(
            f"{path} was written by another version of Optuna", remedy=remedy("another study")
        ) from error


@contextlib.contextmanager
def opened(path: Path) -> Iterator[optuna.storages.RDBStorage]:
    """Yield an SQLite file, made where there is none, as Optuna's storage."""
    import optuna
    import sqlalchemy

    optuna.logging.set_verbosity(optuna.logging.ERROR)  # the command reports by itself
    address = sqlalchemy.URL.create("sqlite", database=str(path)).render_as_string()
    with storage_errors(path):
        storage = optuna.storages.RDBStorage(
            address, engine_kwargs={"connect_args": {"timeout": BUSY_SECONDS}}
        )
        try:
            yield storage
        finally:
            storage.remove_session()
            storage.engine.dispose()


def _root(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return str(getattr(error, "orig", None) or error)


def _in_one_line(path: Path, reason: str) -> HemlineError:
    if "locked" in reason:
        return BusyError(
            f"{path} is locked by another program: end it and run the same command again"
        )
    if "not a database" in reason or "malformed" in reason:
        return FileFormatError(f"{path} is not a study ({reason})", remedy=remedy("another study"))
    return HemlineError(f"cannot use {path}: {reason}")
