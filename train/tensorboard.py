"""Write the figures of each epoch where TensorBoard finds them."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from hemline.card import Epoch
from hemline.errors import HemlineError

_FIGURES = {
    "loss/training": "loss",
    "loss/validation": "validation_loss",
    "accuracy/training": "accuracy",
    "accuracy/validation": "validation_accuracy",
    "learning rate": "learning_rate",
    "seconds": "seconds",
}


class EpochLog:
    """Scalars of one run in a folder; a resumed run adds to them."""

    def __init__(self, folder: Path) -> None:
        """Open the folder; raises HemlineError when nothing can be written there."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._writer = tf.summary.create_file_writer(str(folder))
            self._writer.init()
        except (OSError, tf.errors.OpError) as error:
            raise HemlineError(f"cannot write for TensorBoard into {folder}: {error}") from error

    def __call__(self, epoch: Epoch, epochs: int) -> None:
        """Write one epoch."""
        del epochs
        with self._writer.as_default(step=epoch.epoch):
            for tag, field in _FIGURES.items():
                tf.summary.scalar(tag, getattr(epoch, field))
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()
