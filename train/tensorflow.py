"""Import TensorFlow and Keras without their start-up noise, only when something needs them."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from types import ModuleType

from hemline.errors import HemlineError


def quiet_keras() -> ModuleType:
    """Return keras on TensorFlow; raises HemlineError that names the extra when it is missing."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    logging.getLogger("absl").setLevel(logging.ERROR)
    try:
        with silenced(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what TensorFlow's own modules do is not ours to mend
            import keras
            import tensorflow  # noqa: F401 — imported here so that its noise is caught too
    except ImportError as error:
        raise HemlineError(
            f"training and export need TensorFlow ({error}): pip install 'hemline[train]'"
        ) from error
    if keras.config.backend() != "tensorflow":
        raise HemlineError("Keras runs on another backend here: unset KERAS_BACKEND")
    module: ModuleType = keras
    return module


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Keep what native code prints on stderr to itself, unless the block fails: then show it."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as kept:
        original = os.dup(2)
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except Exception:
            sys.stderr.flush()
            kept.seek(0)
            os.write(original, kept.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(original, 2)
            os.close(original)
