"""Checkpoints as artifacts of the runtime `keras`, which jobs run on a development machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hemline.contract.checkpoint import read_card
from hemline.contract.specs import LOGITS, OutputSpec, SupportedRuntime
from hemline.contract.stamp import Stamp, StampedFile
from hemline.errors import BackendError
from hemline.host import host_facts
from hemline.train.checkpoint import load_model


def read_checkpoint(folder: Path) -> StampedFile:
    """Return what a stamp would say of a checkpoint, and its path in place of the model's bytes.

    Raises FileFormatError when the folder is not a checkpoint, or was altered.
    """
    card = read_card(folder).model
    stamp = Stamp(
        name=folder.name,
        scheme="keras",
        format="keras",
        model=card.name,
        labels=card.labels,
        input=replace(card.input, dtype="uint8"),  # the session casts: a quarter of the memory
        outputs=(OutputSpec(size=len(card.labels), dtype="float32"),),
        supported_runtimes=(SupportedRuntime(runtime="keras", minimum="3"),),
        temperature=card.temperature,
        unknown_threshold=card.unknown_threshold,
        test_vectors=card.test_vectors,
        parent_sha256=card.sha256,
        payload_sha256=card.sha256,
        preprocessing=card.preprocessing,
    )
    return StampedFile(stamp, str(folder).encode())


class KerasSession:
    """One Keras model with constant weights; a large batch is run in parts, two at a time."""

    delegate = "TensorFlow"
    software = False
    arena_bytes = None

    def __init__(self, module: Any, model: bytes, options: Any) -> None:
        """Load a checkpoint; `model` is the path of its folder, `options` are SessionOptions.

        Raises BackendError for another number of threads than that of an earlier session in this
        process, which TensorFlow cannot change.
        """
        del module
        import tensorflow as tf

        now = tf.config.threading.get_intra_op_parallelism_threads() or host_facts().cores
        if now != options.threads:
            try:
                tf.config.threading.set_intra_op_parallelism_threads(options.threads)
            except RuntimeError as error:
                raise BackendError(
                    "TensorFlow cannot change its number of threads: use a job process for each "
                    "number"
                ) from error
        from hemline.train.predictor import Predictor

        folder = Path(model.decode())
        loaded = load_model(folder, read_card(folder))
        self.input_shape = (options.batch, *loaded.input_shape[1:])
        self.input_dtype = np.dtype(np.uint8)
        self.outputs = {LOGITS: (int(loaded.output_shape[-1]), np.dtype(np.float32))}
        self._predictor = Predictor(loaded, fixed=True)

    def run(
        self, tensor: npt.NDArray[np.uint8], names: Sequence[str] = (LOGITS,)
    ) -> list[npt.NDArray[np.float32]]:
        """Run one batch of pixels; return its logits (batch, classes)."""
        del names
        return [self._predictor.logits(tensor)]

    def close(self) -> None:
        """Free the model."""
        del self._predictor
