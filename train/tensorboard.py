"""Write the figures of each epoch where TensorBoard finds them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf

from hemline.contract.card import Epoch
from hemline.errors import HemlineError
from hemline.files import reason_of

_FIGURES = {
    "loss/training": "loss",
    "loss/validation": "validation_loss",
    "accuracy/training": "accuracy",
    "accuracy/validation": "validation_accuracy",
    "learning rate": "learning_rate",
    "seconds": "seconds",
}

# tf.summary.scalar writes the same, but only where TensorBoard itself is installed
_SCALAR = tf.compat.v1.SummaryMetadata(
    plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars"),
    data_class=1,  # DATA_CLASS_SCALAR: one number for each step
)


class EpochLog:
    """Scalars of one run in a folder; a resumed run adds to them."""

    def __init__(self, folder: Path) -> None:
        """Open the folder; raises HemlineError when nothing can be written there."""
        self._folder = folder
        with self._writing():
            folder.mkdir(parents=True, exist_ok=True)
            self._writer = tf.summary.create_file_writer(str(folder))
            self._writer.init()

    def __call__(self, epoch: Epoch, epochs: int) -> None:
        """Write one epoch; raises HemlineError when the disk is full."""
        del epochs
        with self._writing():
            with self._writer.as_default(step=epoch.epoch):
                for tag, field in _FIGURES.items():
                    tf.summary.write(tag, tf.constant(getattr(epoch, field)), metadata=_SCALAR)
            self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(tf.errors.OpError):  # a full disk was reported before
            self._writer.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise HemlineError(f"{self._where()}: {reason_of(error)}") from error
        except tf.errors.OpError as error:
            # the first line, after the name of the file in which it was met
            reason = error.message.splitlines()[0].rpartition("; ")[2]
            raise HemlineError(f"{self._where()}: {reason.lower()}") from error

    def _where(self) -> str:
        return f"cannot write TensorBoard files to {self._folder}"
